-- cleanup_expired: one batch. statement_timestamp() is stable, so that the index on expires_at serves.
-- ANY (ARRAY(…)) and not a join: whatever the planner expects, it looks the rows up by id.
WITH batch AS MATERIALIZED (
    SELECT id
    FROM refresh_tokens
    WHERE expires_at < statement_timestamp() - interval '1 day' * $1
    ORDER BY expires_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM refresh_tokens
WHERE id = ANY (ARRAY(SELECT id FROM batch))
