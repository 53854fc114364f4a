-- rotate_many: as rotate, for many requests that have nothing in common: each is made or left alone by itself.
-- The query in the first place locks their tokens. What belongs to a token is found by its place in the arrays: a join of
-- what was locked with what was asked for would compare each with each, because the planner takes both for few.
-- An id or hash that is taken fails the statement.
WITH locked AS MATERIALIZED (
    $1
),
placed AS MATERIALIZED (
    SELECT locked.*, array_position($2::text[], locked.token_hash) AS place FROM locked
),
request AS MATERIALIZED (
    SELECT id, user_id, active_org_id, least(expires_at, session_expires_at) AS ends_at,
        ($3::uuid[])[place] AS successor_id, ($4::text[])[place] AS successor_hash,
        ($5::timestamptz[])[place] AS successor_expires_at, ($6::interval[])[place] AS lifetime,
        ($7::uuid[])[place] AS of_user_id, ($8::uuid[])[place] AS of_org_id, ($9::uuid[])[place] AS to_org_id
    FROM placed
),
spent AS (
    UPDATE refresh_tokens token
    SET rotated_to = request.successor_id, rotated_at = clock_timestamp()
    FROM request
    WHERE token.id = request.id
        AND request.ends_at > clock_timestamp()
        AND coalesce(request.successor_expires_at > clock_timestamp(), true)
        AND coalesce(request.user_id = request.of_user_id, true)
        AND coalesce(request.active_org_id = request.of_org_id, true)
        AND coalesce(request.active_org_id = request.to_org_id, true)
    RETURNING token.rotated_to, token.user_id, request.successor_hash, token.active_org_id,
        coalesce(request.successor_expires_at, clock_timestamp() + request.lifetime) AS successor_expires_at,
        token.session_id, token.session_expires_at, token.session_started_at,
        token.generation
)
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at,
    session_id, session_expires_at, session_started_at, generation)
SELECT rotated_to, user_id, successor_hash, active_org_id, least(successor_expires_at, session_expires_at),
    session_id, session_expires_at, session_started_at, generation + 1
FROM spent
RETURNING $columns
