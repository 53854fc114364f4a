-- retention_archive: the tail of retention_due.sql that moves rows into the archive, in the one statement: a row is in
-- one of the two tables, whenever whatever dies.
, taken AS (
    DELETE FROM refresh_tokens
    WHERE id = ANY (ARRAY(SELECT id FROM due))
    RETURNING id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to, created_at,
        session_id, session_expires_at, revoked_reason, generation, rotated_at, session_started_at, reused_at
),
archived AS (
    INSERT INTO refresh_tokens_archive (id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to,
        created_at, session_id, session_expires_at, revoked_reason, generation, rotated_at, session_started_at,
        reused_at, archived_at)
    SELECT id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to,
        created_at, session_id, session_expires_at, revoked_reason, generation, rotated_at, session_started_at,
        reused_at, statement_timestamp()
    FROM taken
)
