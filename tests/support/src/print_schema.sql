-- print_schema: the lines of Diesel's table! macro for refresh_tokens, comments included.
SELECT line
FROM (
    SELECT 0 AS place, format(E'    /// %s\n    refresh_tokens (id) {', obj_description('refresh_tokens'::regclass)) AS line
    UNION ALL
    SELECT attnum,
        format(E'        /// %s\n        %s -> %s,', col_description(attrelid, attnum), attname,
            format(CASE WHEN attnotnull THEN '%s' ELSE 'Nullable<%s>' END,
                initcap(typname)))
    FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
    WHERE attrelid = 'refresh_tokens'::regclass AND attnum > 0 AND NOT attisdropped
) lines
ORDER BY place
