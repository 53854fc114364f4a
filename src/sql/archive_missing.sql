-- archive_missing: the tail of archive_partitions.sql that writes the statements which make the partitions of this month
-- and the next $1, as far as they are not there. ATTACH, and not PARTITION OF, which would lock out whoever archives.
, month AS (
    SELECT starts AT TIME ZONE 'UTC' AS starts, (starts + interval '1 month') AT TIME ZONE 'UTC' AS ends,
        format('%I.%I', archive.nspname, 'refresh_tokens_archive') AS archive,
        format('%I.%I', archive.nspname, 'refresh_tokens_archive_' || to_char(starts, 'YYYY_MM')) AS name
    FROM archive,
        date_trunc('month', statement_timestamp() AT TIME ZONE 'UTC') AS this_month,
        generate_series(this_month, this_month + interval '1 month' * $1, interval '1 month') AS starts
)
SELECT name,
    format('CREATE TABLE %1$s (LIKE %2$s); ALTER TABLE %2$s ATTACH PARTITION %1$s FOR VALUES FROM (%3$L) TO (%4$L)',
        name, archive, starts, ends) AS statement
FROM month
WHERE NOT EXISTS (SELECT FROM partition WHERE begins < month.ends AND ends > month.starts)
ORDER BY starts
