-- rotate_locked: spends the predecessor, whose row lock the transaction holds, and writes its successor.
-- The insert reads from the update, so there is no successor without a spent predecessor.
WITH request AS MATERIALIZED (
    SELECT $1::uuid AS id, $2::text AS token_hash, $3::uuid AS active_org_id, $4::timestamptz AS expires_at,
        $5::interval AS lifetime, $6::uuid AS predecessor_id, $7::timestamptz AS judged_at, clock_timestamp() AS now
),
spent AS (
    UPDATE refresh_tokens token
    SET rotated_to = request.id, rotated_at = request.now
    FROM request
    WHERE token.id = request.predecessor_id
        AND token.rotated_to IS NULL
        AND token.revoked_at IS NULL
        AND least(token.expires_at, token.session_expires_at) > coalesce(request.judged_at, request.now)
        AND coalesce(request.expires_at > request.now, true)
    RETURNING token.user_id, token.active_org_id, token.session_id, token.session_expires_at, token.session_started_at,
        token.generation
),
successor AS (
    INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at,
        session_id, session_expires_at, session_started_at, generation)
    SELECT request.id, spent.user_id, request.token_hash,
        coalesce(request.active_org_id, spent.active_org_id),
        least(coalesce(request.expires_at, request.now + request.lifetime), spent.session_expires_at),
        spent.session_id, spent.session_expires_at, spent.session_started_at, spent.generation + 1
    FROM request, spent
    RETURNING $columns
)
SELECT request.now, successor.*
FROM request LEFT JOIN successor ON true
