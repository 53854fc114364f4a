-- list_sessions: of each session of a user the one row that stands for it, its live one or else its newest. Newest
-- sessions first, from the place on where a page ended; the live ones, or all.
WITH of_user AS (
    SELECT token.*,
        $unspent AND $unexpired
            AS is_live
    FROM refresh_tokens token
    WHERE user_id = $1
        AND (session_started_at, session_id)
            < (coalesce($2::timestamptz, 'infinity'), coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
)
SELECT DISTINCT ON (session_started_at, session_id)
    $columns
FROM of_user
WHERE is_live OR $4::boolean
ORDER BY session_started_at DESC, session_id DESC, is_live DESC, generation DESC, created_at DESC, id
LIMIT $5
