-- cleanup_expired: one batch. statement_timestamp() is stable, so that the index on expires_at serves.
WITH batch AS MATERIALIZED (
    SELECT id
    FROM refresh_tokens
    WHERE expires_at < statement_timestamp() - interval '1 day' * $1
    ORDER BY expires_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM refresh_tokens token
USING batch
WHERE token.id = batch.id
