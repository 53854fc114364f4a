-- Software that knows only the first eight columns inserts a successor and then sets rotated_to.
-- These two make its successors members of their predecessor's session, so that they cannot escape a
-- revocation of it: the UPDATE for rotations of the past, the trigger for those to come.

WITH RECURSIVE lineage AS (
    SELECT login.id, login.rotated_to, login.session_id
    FROM refresh_tokens login
    WHERE NOT EXISTS (SELECT FROM refresh_tokens parent WHERE parent.rotated_to = login.id)
    UNION
    SELECT successor.id, successor.rotated_to, lineage.session_id
    FROM lineage
    JOIN refresh_tokens successor ON successor.id = lineage.rotated_to
),
numbered AS (
    SELECT lineage.id, lineage.session_id,
        row_number() OVER (PARTITION BY lineage.session_id ORDER BY token.created_at, token.id) - 1 AS generation
    FROM lineage
    JOIN refresh_tokens token ON token.id = lineage.id
)
UPDATE refresh_tokens token
SET session_id = numbered.session_id, generation = numbered.generation
FROM numbered
WHERE token.id = numbered.id AND numbered.generation > 0;

-- The table is named through TG_TABLE_SCHEMA, so that no search_path can point the function elsewhere.
CREATE FUNCTION refresh_tokens_adopt_successor() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.rotated_at := clock_timestamp();
    EXECUTE format(
        'UPDATE %I.%I SET session_id = $1, session_expires_at = $2, expires_at = least(expires_at, $2), generation = $3
         WHERE id = $4 AND user_id = $5 AND session_id <> $1',
        TG_TABLE_SCHEMA, TG_TABLE_NAME)
    USING NEW.session_id, NEW.session_expires_at, NEW.generation + 1, NEW.rotated_to, NEW.user_id;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION refresh_tokens_adopt_successor() IS
    'Makes a successor written by software that does not know session_id a member of its predecessor''s session.';

-- This library's own rotations set rotated_at themselves, so the function is not called for them.
CREATE TRIGGER refresh_tokens_adopt_successor
    BEFORE UPDATE OF rotated_to ON refresh_tokens
    FOR EACH ROW
    WHEN (NEW.rotated_to IS DISTINCT FROM OLD.rotated_to
        AND NEW.rotated_to IS NOT NULL
        AND NEW.rotated_at IS NOT DISTINCT FROM OLD.rotated_at)
    EXECUTE FUNCTION refresh_tokens_adopt_successor();
