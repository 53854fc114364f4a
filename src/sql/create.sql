-- create: writes the first token of a session, unless it would be born expired or its login is no longer good.
-- Of the cutoffs, that of the user, of the organisation, of the user in it, and of everybody count; the nil UUID is all.
-- The session begins with the authentication: a switch of organisation later on is judged by that instant, too.
WITH request AS MATERIALIZED (
    SELECT $1::uuid AS id, $2::uuid AS user_id, $3::text AS token_hash, $4::uuid AS active_org_id,
        $5::timestamptz AS expires_at, $6::timestamptz AS session_expires_at, $7::timestamptz AS authenticated_at,
        clock_timestamp() AS now
),
judged AS MATERIALIZED (
    SELECT request.*,
        authenticated_at IS NOT NULL AND EXISTS (
            SELECT 1
            FROM refresh_token_cutoffs cutoff
            WHERE (cutoff.user_id, cutoff.org_id) IN (
                    (request.user_id, '00000000-0000-0000-0000-000000000000'),
                    ('00000000-0000-0000-0000-000000000000', request.active_org_id),
                    (request.user_id, request.active_org_id),
                    ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000'))
                AND cutoff.revoked_at >= request.authenticated_at
        ) AS revoked_since
    FROM request
),
written AS (
    INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, created_at,
        session_expires_at, session_started_at)
    SELECT id, user_id, token_hash, active_org_id, least(expires_at, session_expires_at), now,
        session_expires_at, coalesce(authenticated_at, now)
    FROM judged
    WHERE least(expires_at, session_expires_at) > now
        AND coalesce(authenticated_at <= now, true)
        AND NOT revoked_since
    RETURNING $columns
)
SELECT judged.now, judged.revoked_since, written.*
FROM judged LEFT JOIN written ON true
