-- revoke_seen: the rest of every pass: lock what was seen, in the one order of locks, and revoke it, for a reason.
-- Oldest first, so that what a later pass finds comes after all that an earlier one has locked.
-- The count of seen is the snapshot's: a row that changed while it was waited for may have had a successor.
-- ANY (ARRAY(…)) and not a join: whatever the planner expects, it looks the rows up by id.
, locked AS MATERIALIZED (
    SELECT id
    FROM refresh_tokens
    WHERE id = ANY (ARRAY(SELECT id FROM seen)) AND revoked_at IS NULL
    ORDER BY created_at, session_id, generation, id
    FOR UPDATE
),
revoked AS (
    UPDATE refresh_tokens
    SET revoked_at = clock_timestamp(), revoked_reason = $1
    WHERE id = ANY (ARRAY(SELECT id FROM locked))
    RETURNING session_id,
        rotated_to IS NULL AND $unexpired AS was_live
)
SELECT (SELECT count(*) FROM seen) AS seen, count(*) AS tokens, count(*) FILTER (WHERE was_live) AS live,
    coalesce(array_agg(DISTINCT session_id) FILTER (WHERE was_live), '{}') AS sessions
FROM revoked
