-- archive_partitions: the partitions of the archive and their bounds; a tail says what for. An error where there is no
-- archive. The text of a bound is read under the time zone that it was written for.
WITH archive AS (
    SELECT pg_class.oid, nspname
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = 'refresh_tokens_archive'::regclass
),
bound AS (
    SELECT child.oid, child.reltuples, pg_get_expr(child.relpartbound, child.oid) AS text
    FROM archive
    JOIN pg_inherits ON inhparent = archive.oid
    JOIN pg_class child ON child.oid = inhrelid
),
partition AS (
    SELECT oid, reltuples,
        coalesce(substring(text FROM 'FROM \(''([^'']+)''\)')::timestamptz, '-infinity') AS begins,
        coalesce(substring(text FROM 'TO \(''([^'']+)''\)')::timestamptz, 'infinity') AS ends
    FROM bound
    WHERE text <> 'DEFAULT'
)
