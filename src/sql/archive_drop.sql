-- archive_drop: the tail of archive_partitions.sql that writes the statement which drops the partition named $1, if it
-- is still there.
SELECT oid::regclass::text AS name, format('DROP TABLE %s', oid::regclass) AS statement
FROM partition
WHERE oid::regclass::text = $1
