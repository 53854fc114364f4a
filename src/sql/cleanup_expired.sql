-- cleanup_expired: one batch of at most $2, from the instant on at which the one before it ended ($3).
-- statement_timestamp() is stable, so that the index on expires_at serves; from $3 on, so that a batch does not
-- walk again over what those before it deleted. The instant is text, which holds the infinite ones too.
-- ANY (ARRAY(…)) and not a join: whatever the planner expects, it looks the rows up by id.
WITH batch AS MATERIALIZED (
    SELECT id
    FROM refresh_tokens
    WHERE expires_at < statement_timestamp() - interval '1 day' * $1
        AND expires_at >= $3::timestamptz
    ORDER BY expires_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM refresh_tokens
    WHERE id = ANY (ARRAY(SELECT id FROM batch))
    RETURNING expires_at
)
SELECT count(*) AS rows, coalesce(max(expires_at), $3::timestamptz)::text AS until FROM deleted
