-- backlog: what clean-up by a policy has before it, without a scan of the table: what expired longer ago than $1,
-- counted to at most $2, the oldest of those, and what the server's statistics say of the table.
WITH due AS MATERIALIZED (
    SELECT expires_at
    FROM refresh_tokens
    WHERE expires_at < statement_timestamp() - $1::interval
    ORDER BY expires_at
    LIMIT $2
)
SELECT count(due.expires_at) AS counted,
    min(due.expires_at) + $1::interval AS due_since,
    statement_timestamp() AS now,
    greatest(pg_class.reltuples, 0)::bigint AS table_rows,
    coalesce(pg_stat_get_dead_tuples(pg_class.oid), 0) AS dead_rows,
    pg_table_size(pg_class.oid) AS table_bytes,
    pg_indexes_size(pg_class.oid) AS index_bytes
FROM pg_class LEFT JOIN due ON true
WHERE pg_class.oid = 'refresh_tokens'::regclass
GROUP BY pg_class.oid, pg_class.reltuples
