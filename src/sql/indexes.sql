-- indexes: those of refresh_tokens that the verbs need and that are not there, or not whole, each with the statement that
-- builds it while others write. A tail says what for.
WITH found AS (
    SELECT to_regclass('refresh_tokens') AS oid
),
needed_index (name, columns) AS (
    VALUES ('user_id', '{user_id}'::text[]), ('session_id', '{session_id,generation}'), ('expires_at', '{expires_at}')
),
actual_index AS (
    SELECT ARRAY(
        SELECT attname::text
        FROM unnest(indkey::int2[]) WITH ORDINALITY AS key (attnum, place)
        JOIN pg_attribute ON attrelid = indrelid AND pg_attribute.attnum = key.attnum
        ORDER BY place) AS columns
    FROM pg_index, found
    WHERE indrelid = found.oid AND indisvalid AND indpred IS NULL
),
missing_index AS (
    SELECT name, columns,
        format('CREATE INDEX CONCURRENTLY refresh_tokens_%s_idx ON refresh_tokens (%s)',
            name, array_to_string(columns, ', ')) AS statement,
        -- What a build that was broken off leaves behind. By name: regclass gives a number for what is gone meanwhile.
        (SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %I.%I', nspname, relname)
            FROM found, pg_index
            JOIN pg_class ON pg_class.oid = indexrelid
            JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE indrelid = found.oid AND NOT indisvalid
                AND relname = format('refresh_tokens_%s_idx', needed_index.name)) AS removal
    FROM needed_index
    WHERE NOT EXISTS (
        SELECT FROM actual_index WHERE actual_index.columns[1:cardinality(needed_index.columns)] = needed_index.columns)
)
