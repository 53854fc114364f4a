-- revoke_user: one pass over the tokens of a user, sparing the live token of the session of $2, if given.
-- seen is read from the snapshot alone: a row that changed while it was waited for may have had a successor.
WITH seen AS MATERIALIZED (
    SELECT id
    FROM refresh_tokens
    WHERE user_id = $1
        AND revoked_at IS NULL
        AND NOT (rotated_to IS NULL
            AND session_id IS NOT DISTINCT FROM (SELECT kept.session_id FROM refresh_tokens kept WHERE kept.id = $2))
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
    SET revoked_at = clock_timestamp(), revoked_reason = $3
    FROM locked
    WHERE token.id = locked.id
    RETURNING token.id
)
SELECT (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM revoked) AS revoked
