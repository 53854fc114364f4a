-- retention_delete: the tail of retention_due.sql that deletes. ANY (ARRAY(…)) and not a join: whatever the planner
-- expects, it looks the rows up by id.
, taken AS (
    DELETE FROM refresh_tokens
    WHERE id = ANY (ARRAY(SELECT id FROM due))
    RETURNING expires_at, rotated_to
)
