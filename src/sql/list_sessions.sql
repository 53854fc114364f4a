-- list_sessions: of each session of a user the one row that stands for it, its live one or else its newest. Newest
-- sessions first, from the place on where a page ended; the live ones, or all.
WITH of_user AS (
    SELECT token.*,
        rotated_to IS NULL AND revoked_at IS NULL AND least(expires_at, session_expires_at) > clock_timestamp()
            AS is_live
    FROM refresh_tokens token
    WHERE user_id = $1
        AND (session_started_at, session_id)
            < (coalesce($2::timestamptz, 'infinity'), coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
)
SELECT DISTINCT ON (session_started_at, session_id)
    id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to, created_at,
    session_id, session_expires_at, revoked_reason, generation, rotated_at, session_started_at, reused_at
FROM of_user
WHERE is_live OR $4::boolean
ORDER BY session_started_at DESC, session_id DESC, is_live DESC, generation DESC, created_at DESC, id
LIMIT $5
