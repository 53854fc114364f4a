-- retention_cutoffs: of the next $2 cutoffs after a place ($3, $4), deletes those that are older than $1. That of
-- everybody, which comes before the first place, stays: it is one row.
WITH visited AS MATERIALIZED (
    SELECT user_id, org_id
    FROM refresh_token_cutoffs
    WHERE (user_id, org_id) > ($3, $4)
    ORDER BY user_id, org_id
    LIMIT $2
),
due AS MATERIALIZED (
    SELECT cutoff.user_id, cutoff.org_id
    FROM visited
    JOIN refresh_token_cutoffs cutoff USING (user_id, org_id)
    WHERE cutoff.revoked_at < statement_timestamp() - $1::interval
    FOR UPDATE OF cutoff SKIP LOCKED
),
taken AS (
    DELETE FROM refresh_token_cutoffs cutoff
    USING due
    WHERE (cutoff.user_id, cutoff.org_id) = (due.user_id, due.org_id)
    RETURNING cutoff.user_id
),
last AS (
    SELECT user_id, org_id FROM visited ORDER BY user_id DESC, org_id DESC LIMIT 1
)
SELECT (SELECT count(*) FROM taken) AS taken, last.user_id AS last_user_id, last.org_id AS last_org_id
FROM (SELECT 1) AS one LEFT JOIN last ON true
