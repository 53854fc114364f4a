-- Where clean-up moves tokens by a policy that says so. A partition is what was archived in one month, so that old months
-- are dropped whole; create_archive_partitions makes them ahead. Nothing that a verb decides by is read from here.
CREATE TABLE refresh_tokens_archive (
    id                 uuid        NOT NULL,
    user_id            uuid        NOT NULL,
    token_hash         text        NOT NULL,
    active_org_id      uuid        NOT NULL,
    expires_at         timestamptz NOT NULL,
    revoked_at         timestamptz,
    rotated_to         uuid,
    created_at         timestamptz NOT NULL,
    session_id         uuid        NOT NULL,
    session_expires_at timestamptz,
    revoked_reason     text,
    generation         integer     NOT NULL,
    rotated_at         timestamptz,
    session_started_at timestamptz NOT NULL,
    reused_at          timestamptz,
    archived_at        timestamptz NOT NULL
) PARTITION BY RANGE (archived_at);

-- For who asks what a user's sessions were. No unique index: the statement that archives a row deletes it from a table
-- that has one.
CREATE INDEX refresh_tokens_archive_user_id_idx ON refresh_tokens_archive (user_id);

COMMENT ON TABLE refresh_tokens_archive IS
    'Refresh tokens that clean-up moved here: a record of what was, which no token''s validity is judged by. The columns are those of refresh_tokens.';
COMMENT ON COLUMN refresh_tokens_archive.archived_at IS
    'Immutable. When the row was moved here, by the database''s clock; what partitions are made by.';
