-- seen_in_chain: the unrevoked rows of a token and all that descends from it. revoke_seen.sql goes on.
-- session: the token and all later generations of its session, which bridges a link that clean-up deleted.
-- beyond: what rotated_to leads to from there, outside of it; UNION, so that a cycle ends the walk.
-- ANY (ARRAY(…)) and LIMIT 1 keep the planner's expectation small: for a long walk it would scan, or compile (jit).
WITH RECURSIVE session AS MATERIALIZED (
    SELECT id, rotated_to, revoked_at FROM refresh_tokens WHERE id = $2
    UNION
    SELECT id, rotated_to, revoked_at FROM refresh_tokens WHERE session_id = $3 AND generation > $4
),
beyond AS (
    SELECT id, rotated_to, revoked_at
    FROM refresh_tokens
    WHERE id = ANY (ARRAY(SELECT rotated_to FROM session EXCEPT SELECT id FROM session))
    UNION
    SELECT successor.id, successor.rotated_to, successor.revoked_at
    FROM beyond
    CROSS JOIN LATERAL (
        SELECT token.id, token.rotated_to, token.revoked_at
        FROM refresh_tokens token
        WHERE token.id = beyond.rotated_to
        LIMIT 1
    ) successor
),
seen AS MATERIALIZED (
    SELECT id FROM session WHERE revoked_at IS NULL
    UNION
    SELECT id FROM beyond WHERE revoked_at IS NULL
)
