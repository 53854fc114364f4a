-- rotate_many: as rotate, for many requests that have nothing in common: each is made or left alone by itself.
-- The query in the last place locks the token of one request, and is run for each, in the order of the arrays. LATERAL,
-- because a join of what was locked with what was asked for would compare each with each: the planner takes both for few.
-- An id or hash that is taken fails the statement.
WITH request AS MATERIALIZED (
    SELECT *
    FROM unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[], $5::uuid[], $6::uuid[], $7::uuid[])
        AS request (presented, successor_id, successor_hash, successor_expires_at, of_user_id, of_org_id, to_org_id)
),
locked AS MATERIALIZED (
    SELECT *
    FROM request
    CROSS JOIN LATERAL (
        $8
    ) token
),
spent AS (
    UPDATE refresh_tokens token
    SET rotated_to = locked.successor_id, rotated_at = clock_timestamp()
    FROM locked
    WHERE token.id = locked.id
        AND least(locked.expires_at, locked.session_expires_at) > clock_timestamp()
        AND locked.successor_expires_at > clock_timestamp()
        AND coalesce(locked.user_id = locked.of_user_id, true)
        AND coalesce(locked.active_org_id = locked.of_org_id, true)
        AND coalesce(locked.active_org_id = locked.to_org_id, true)
    RETURNING token.rotated_to, token.user_id, locked.successor_hash, token.active_org_id,
        locked.successor_expires_at, token.session_id, token.session_expires_at, token.session_started_at,
        token.generation
)
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at,
    session_id, session_expires_at, session_started_at, generation)
SELECT rotated_to, user_id, successor_hash, active_org_id, least(successor_expires_at, session_expires_at),
    session_id, session_expires_at, session_started_at, generation + 1
FROM spent
RETURNING id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to, created_at,
    session_id, session_expires_at, revoked_reason, generation, rotated_at, session_started_at, reused_at
