-- seen_of_user: the unrevoked rows of a user ($2) but the live one of the session of $3, if that is given.
-- revoke_seen.sql goes on.
WITH seen AS MATERIALIZED (
    SELECT id
    FROM refresh_tokens
    WHERE user_id = $2
        AND revoked_at IS NULL
        AND NOT (rotated_to IS NULL
            AND session_id IS NOT DISTINCT FROM (SELECT kept.session_id FROM refresh_tokens kept WHERE kept.id = $3))
)
