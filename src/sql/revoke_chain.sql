-- revoke_chain: one pass over a token and all that descends from it.
-- Seeded with all later generations of the session ($2, $3), which bridges a link that clean-up deleted and
-- ends the walk after few steps. Then forward along rotated_to; UNION, so that a cycle ends it.
-- seen is read from the snapshot alone: a row that changed while it was waited for may have had a successor.
-- ANY (ARRAY(…)) and not a join: whatever the planner expects, it looks the rows up by id.
WITH RECURSIVE chain AS (
    SELECT id, rotated_to, revoked_at FROM refresh_tokens WHERE id = $1
    UNION
    SELECT id, rotated_to, revoked_at FROM refresh_tokens WHERE session_id = $2 AND generation > $3
    UNION
    SELECT successor.id, successor.rotated_to, successor.revoked_at
    FROM chain
    JOIN refresh_tokens successor ON successor.id = chain.rotated_to
),
seen AS MATERIALIZED (
    SELECT id FROM chain WHERE revoked_at IS NULL
),
locked AS MATERIALIZED (
    SELECT id
    FROM refresh_tokens
    WHERE id = ANY (ARRAY(SELECT id FROM seen)) AND revoked_at IS NULL
    ORDER BY session_id, generation, id
    FOR UPDATE
),
revoked AS (
    UPDATE refresh_tokens
    SET revoked_at = clock_timestamp(), revoked_reason = $4
    WHERE id = ANY (ARRAY(SELECT id FROM locked))
    RETURNING id
)
SELECT (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM revoked) AS revoked
