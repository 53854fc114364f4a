-- Software that knows only the first eight columns inserts a successor and then sets rotated_to.
-- These two make its successors members of their predecessor's session, so that they cannot escape a
-- revocation of it: the UPDATE for rotations of the past, the trigger for those to come.

-- A rotation in flight must be in neither: it is over before this begins, or begins when the trigger is there.
LOCK TABLE refresh_tokens IN SHARE ROW EXCLUSIVE MODE;

-- Rows that more than one predecessor names (-1, for the time being) begin a session of their own, like logins:
-- then every walk ends, also beside a cycle.
UPDATE refresh_tokens
SET generation = -1
WHERE id IN (SELECT rotated_to FROM refresh_tokens GROUP BY rotated_to HAVING count(*) > 1);

WITH RECURSIVE lineage AS (
    SELECT id, user_id, rotated_to, session_id, session_started_at, 0 AS generation
    FROM refresh_tokens
    WHERE generation = -1
    UNION ALL
    SELECT id, user_id, rotated_to, session_id, session_started_at, 0
    FROM refresh_tokens login
    WHERE NOT EXISTS (SELECT FROM refresh_tokens parent WHERE parent.rotated_to = login.id)
    UNION ALL
    SELECT successor.id, successor.user_id, successor.rotated_to, lineage.session_id, lineage.session_started_at,
        lineage.generation + 1
    FROM lineage
    CROSS JOIN LATERAL (
        SELECT id, user_id, rotated_to
        FROM refresh_tokens
        WHERE id = lineage.rotated_to AND user_id = lineage.user_id AND generation = 0
        OFFSET 0 -- keeps the planner from scanning the table once a generation
    ) successor
)
UPDATE refresh_tokens token
SET session_id = lineage.session_id, session_started_at = lineage.session_started_at, generation = lineage.generation
FROM lineage
WHERE token.id = lineage.id AND lineage.generation > 0;

UPDATE refresh_tokens SET generation = 0 WHERE generation = -1;

-- The table is named through TG_TABLE_SCHEMA, so that no search_path can point the function elsewhere.
CREATE FUNCTION refresh_tokens_adopt_successor() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.rotated_at := clock_timestamp();
    EXECUTE format(
        'UPDATE %I.%I
         SET session_id = $1, session_started_at = $2, session_expires_at = $3, expires_at = least(expires_at, $3),
             generation = $4
         WHERE id = $5 AND user_id = $6 AND session_id <> $1',
        TG_TABLE_SCHEMA, TG_TABLE_NAME)
    USING NEW.session_id, NEW.session_started_at, NEW.session_expires_at, NEW.generation + 1,
        NEW.rotated_to, NEW.user_id;
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
