-- verify_schema: after indexes.sql, one row for each thing about the table that is not as this version needs it.
-- $1 asks for how much: 0, what a table must have to be adopted; 1, all that the migrations make.
, column_of_step (step, name, type, not_null, has_default) AS (
    VALUES
        (0, 'id', 'uuid', true, false),
        (0, 'user_id', 'uuid', true, false),
        (0, 'token_hash', 'text', true, false),
        (0, 'active_org_id', 'uuid', true, false),
        (0, 'expires_at', 'timestamp with time zone', true, false),
        (0, 'revoked_at', 'timestamp with time zone', false, false),
        (0, 'rotated_to', 'uuid', false, false),
        (0, 'created_at', 'timestamp with time zone', NULL, true),
        (1, 'created_at', 'timestamp with time zone', true, true),
        (1, 'session_id', 'uuid', true, true),
        (1, 'session_expires_at', 'timestamp with time zone', false, false),
        (1, 'revoked_reason', 'text', false, false),
        (1, 'generation', 'integer', true, true),
        (1, 'rotated_at', 'timestamp with time zone', false, false),
        (1, 'session_started_at', 'timestamp with time zone', true, true),
        (1, 'reused_at', 'timestamp with time zone', false, false)
),
needed_column AS (
    SELECT name, type, not_null, has_default
    FROM column_of_step needed
    WHERE step <= $1
        AND NOT EXISTS (
            SELECT FROM column_of_step later
            WHERE later.name = needed.name AND later.step > needed.step AND later.step <= $1)
),
actual_column AS (
    SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS not_null, atthasdef AS has_default
    FROM pg_attribute, found
    WHERE attrelid = found.oid AND attnum > 0 AND NOT attisdropped
),
needed_constraint (step, name, definition) AS (
    VALUES
        (0, 'refresh_tokens_pkey', 'PRIMARY KEY (id)'),
        (0, 'refresh_tokens_token_hash_key', 'UNIQUE (token_hash)'),
        (1, 'refresh_tokens_revoked_reason_check', 'CHECK (((revoked_reason IS NULL) OR (revoked_at IS NOT NULL)))')
),
actual_constraint AS (
    SELECT conname AS name, contype, confrelid, pg_get_constraintdef(pg_constraint.oid) AS definition
    FROM pg_constraint, found
    WHERE conrelid = found.oid
),
needed_table (name, columns) AS (
    VALUES ('refresh_token_gates', '{gate,shut}'::text[]), ('refresh_token_cutoffs', '{user_id,org_id,revoked_at}')
)
SELECT format('column %s is missing', needed.name) AS problem
FROM needed_column needed
WHERE NOT EXISTS (SELECT FROM actual_column actual WHERE actual.name = needed.name)
UNION ALL
SELECT format('column %s has type %s and needs %s', needed.name, actual.type, needed.type)
FROM needed_column needed JOIN actual_column actual ON actual.name = needed.name
WHERE actual.type <> needed.type
UNION ALL
SELECT format('column %s must %s', needed.name, CASE WHEN needed.not_null THEN 'be NOT NULL' ELSE 'allow NULL' END)
FROM needed_column needed JOIN actual_column actual ON actual.name = needed.name
WHERE actual.not_null <> needed.not_null
UNION ALL
SELECT format('column %s needs a default', needed.name)
FROM needed_column needed JOIN actual_column actual ON actual.name = needed.name
WHERE needed.has_default AND NOT actual.has_default
UNION ALL
SELECT format('column %s is NOT NULL without a default, so that rows cannot be inserted without it', actual.name)
FROM actual_column actual
WHERE actual.not_null AND NOT actual.has_default
    AND NOT EXISTS (SELECT FROM column_of_step needed WHERE needed.name = actual.name)
UNION ALL
SELECT format('constraint %s %s is missing (of another name? ALTER TABLE refresh_tokens RENAME CONSTRAINT)',
    needed.name, needed.definition)
FROM needed_constraint needed
WHERE needed.step <= $1
    AND NOT EXISTS (SELECT FROM actual_constraint actual
        WHERE actual.name = needed.name AND actual.definition = needed.definition)
UNION ALL
SELECT format('foreign key %s makes spent tokens valid again or blocks clean-up: drop it', name)
FROM actual_constraint, found
WHERE contype = 'f' AND confrelid = found.oid
UNION ALL
SELECT format('no valid index begins with column %s: call build_indexes, or %s', array_to_string(columns, ', '), statement)
FROM missing_index
WHERE 1 <= $1
UNION ALL
SELECT format('table %s is missing, or another: it needs columns %s', needed.name, array_to_string(needed.columns, ', '))
FROM needed_table needed
WHERE 1 <= $1
    AND NOT needed.columns <@ ARRAY(
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = to_regclass(needed.name) AND attnum > 0 AND NOT attisdropped)
UNION ALL
SELECT 'trigger refresh_tokens_adopt_successor is missing or disabled, so that successors written by other software leave their session'
WHERE 1 <= $1
    AND NOT EXISTS (
        SELECT FROM pg_trigger, found
        WHERE tgrelid = found.oid AND tgname = 'refresh_tokens_adopt_successor' AND tgenabled IN ('O', 'A'))
