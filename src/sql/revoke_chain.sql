-- revoke_chain: one pass over a token and all that descends from it.
-- Seeded with all later generations of the session ($2, $3), which bridges a link that clean-up deleted and
-- ends the walk after few steps. Then forward along rotated_to; UNION, so that a cycle ends it.
-- seen is read from the snapshot alone: a row that changed while it was waited for may have had a successor.
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
    SELECT token.id
    FROM seen
    JOIN refresh_tokens token ON token.id = seen.id
    WHERE token.revoked_at IS NULL
    ORDER BY token.session_id, token.generation, token.id
    FOR UPDATE OF token
),
revoked AS (
    UPDATE refresh_tokens token
    SET revoked_at = clock_timestamp(), revoked_reason = $4
    FROM locked
    WHERE token.id = locked.id
    RETURNING token.id
)
SELECT (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM revoked) AS revoked
