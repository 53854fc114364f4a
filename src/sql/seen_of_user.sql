-- seen_of_user: the unrevoked rows of a user ($2), in one organisation ($5) if one is named. revoke_seen.sql goes on.
-- $3 and $4 name a token to keep and its session, if one is to be kept: that token while it has no successor, and then
-- its session as it is, so that a rotation of it whose answer was lost can still be sent again. A session without a token
-- is kept as it is.
WITH seen AS MATERIALIZED (
    SELECT refresh_tokens.id
    FROM refresh_tokens
    WHERE refresh_tokens.user_id = $2
        AND refresh_tokens.revoked_at IS NULL
        AND ($5::uuid IS NULL OR refresh_tokens.active_org_id = $5)
        AND NOT (refresh_tokens.session_id IS NOT DISTINCT FROM $4
            AND (refresh_tokens.id = $3 AND refresh_tokens.rotated_to IS NULL
                OR NOT EXISTS (SELECT 1 FROM refresh_tokens kept WHERE kept.id = $3 AND kept.rotated_to IS NULL)))
)
