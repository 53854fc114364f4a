-- archive_list: the tail of archive_partitions.sql that describes them, oldest first: those that end by $1, or all.
SELECT oid::regclass::text AS name, begins, ends, greatest(reltuples, 0)::bigint AS rows,
    pg_total_relation_size(oid) AS bytes
FROM partition
WHERE coalesce(ends <= $1::timestamptz, true)
ORDER BY begins
