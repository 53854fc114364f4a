-- seen_in_chain: the unrevoked rows of a token ($2) and all that descends from it. revoke_seen.sql goes on.
-- Seeded with all later generations of the session ($3, $4), which bridges a link that clean-up deleted and
-- ends the walk after few steps. Then forward along rotated_to; UNION, so that a cycle ends it.
WITH RECURSIVE chain AS (
    SELECT id, rotated_to, revoked_at FROM refresh_tokens WHERE id = $2
    UNION
    SELECT id, rotated_to, revoked_at FROM refresh_tokens WHERE session_id = $3 AND generation > $4
    UNION
    SELECT successor.id, successor.rotated_to, successor.revoked_at
    FROM chain
    CROSS JOIN LATERAL (
        SELECT id, rotated_to, revoked_at
        FROM refresh_tokens
        WHERE id = chain.rotated_to
        OFFSET 0 -- by the index, however long a walk the planner expects
    ) successor
),
seen AS MATERIALIZED (
    SELECT id FROM chain WHERE revoked_at IS NULL
)
