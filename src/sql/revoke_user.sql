-- revoke_user: one pass over the tokens of a user, sparing the live token of the session of $2, if given.
-- seen is read from the snapshot alone: a row that changed while it was waited for may have had a successor.
-- ANY (ARRAY(…)) and not a join: whatever the planner expects, it looks the rows up by id.
WITH seen AS MATERIALIZED (
    SELECT id
    FROM refresh_tokens
    WHERE user_id = $1
        AND revoked_at IS NULL
        AND NOT (rotated_to IS NULL
            AND session_id IS NOT DISTINCT FROM (SELECT kept.session_id FROM refresh_tokens kept WHERE kept.id = $2))
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
    SET revoked_at = clock_timestamp(), revoked_reason = $3
    WHERE id = ANY (ARRAY(SELECT id FROM locked))
    RETURNING id
)
SELECT (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM revoked) AS revoked
