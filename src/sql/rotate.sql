-- rotate: locks the presented token by the query in the first place, spends it, and writes its successor: all, or nothing.
-- Judged is what was locked, by a clock that is read after the wait for the lock. That is why each step reads from the
-- one before it and none from the table: in a small table, the planner might else look at an expiry before it waits.
-- A successor that switches the organisation is not for this statement, because its user's gate comes first.
WITH locked AS MATERIALIZED (
    $1
),
judged AS MATERIALIZED (
    SELECT locked.*, $2::timestamptz AS successor_expires_at, clock_timestamp() AS now FROM locked
),
spent AS (
    UPDATE refresh_tokens token
    SET rotated_to = $3, rotated_at = judged.now
    FROM judged
    WHERE token.id = judged.id
        AND least(judged.expires_at, judged.session_expires_at) > judged.now
        AND judged.successor_expires_at > judged.now
        AND coalesce(judged.user_id = $4::uuid, true)
        AND coalesce(judged.active_org_id = $5::uuid, true)
        AND coalesce(judged.active_org_id = $6::uuid, true)
    RETURNING token.rotated_to, token.user_id, token.active_org_id, judged.successor_expires_at,
        token.session_id, token.session_expires_at, token.session_started_at, token.generation
)
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at,
    session_id, session_expires_at, session_started_at, generation)
SELECT rotated_to, user_id, $7, active_org_id, least(successor_expires_at, session_expires_at),
    session_id, session_expires_at, session_started_at, generation + 1
FROM spent
RETURNING id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to, created_at,
    session_id, session_expires_at, revoked_reason, generation, rotated_at, session_started_at, reused_at
