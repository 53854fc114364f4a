-- retention_archive: the tail of retention_due.sql that moves rows into the archive, in the one statement: a row is in
-- one of the two tables, whenever whatever dies.
, taken AS (
    DELETE FROM refresh_tokens
    WHERE id = ANY (ARRAY(SELECT id FROM due))
    RETURNING $columns
),
archived AS (
    INSERT INTO refresh_tokens_archive ($columns, archived_at)
    SELECT $columns, statement_timestamp()
    FROM taken
)
