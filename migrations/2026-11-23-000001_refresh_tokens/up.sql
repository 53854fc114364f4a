-- The table: the eight columns that other software may know, in their order, then this library's own.
-- IF NOT EXISTS adopts a table of those eight columns; `migrate` checks their types first.
CREATE TABLE IF NOT EXISTS refresh_tokens (
    id            uuid        NOT NULL,
    user_id       uuid        NOT NULL,
    token_hash    text        NOT NULL,
    active_org_id uuid        NOT NULL,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    rotated_to    uuid,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT refresh_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT refresh_tokens_token_hash_key UNIQUE (token_hash)
);

-- rotated_to has no foreign key: ON DELETE SET NULL would make a spent token valid again,
-- and a plain one would make clean-up fail for ever on a chain whose middle expires first.
ALTER TABLE refresh_tokens
    ALTER COLUMN created_at SET NOT NULL,
    ADD COLUMN session_id         uuid        NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN session_expires_at timestamptz,
    ADD COLUMN revoked_reason     text,
    ADD COLUMN generation         integer     NOT NULL DEFAULT 0,
    ADD COLUMN rotated_at         timestamptz,
    ADD COLUMN session_started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN reused_at          timestamptz,
    ADD CONSTRAINT refresh_tokens_revoked_reason_check
        CHECK (revoked_reason IS NULL OR revoked_at IS NOT NULL),
    -- Room for the new version of a row on its own page, so that a rotation touches no index (HOT).
    SET (fillfactor = 80);

-- Rows that are there already began a session when they were written. A rewrite, and not an UPDATE of every row.
ALTER TABLE refresh_tokens
    ALTER COLUMN session_started_at TYPE timestamptz USING greatest('epoch', least(created_at, clock_timestamp()));

CREATE INDEX IF NOT EXISTS refresh_tokens_user_id_idx    ON refresh_tokens (user_id);
CREATE INDEX IF NOT EXISTS refresh_tokens_session_id_idx ON refresh_tokens (session_id, generation);
CREATE INDEX IF NOT EXISTS refresh_tokens_expires_at_idx ON refresh_tokens (expires_at);

COMMENT ON TABLE refresh_tokens IS
    'OAuth refresh tokens as hashes, never secrets. A row is spent by setting `rotated_to` or `revoked_at`, and never comes back.';
COMMENT ON COLUMN refresh_tokens.id IS
    'Immutable. Chosen by the caller.';
COMMENT ON COLUMN refresh_tokens.user_id IS
    'Immutable. The user the token was issued to; a successor inherits it.';
COMMENT ON COLUMN refresh_tokens.token_hash IS
    'Immutable. Hash of the secret that the client holds.';
COMMENT ON COLUMN refresh_tokens.active_org_id IS
    'Immutable. The organisation the token acts for; a successor may be given another.';
COMMENT ON COLUMN refresh_tokens.expires_at IS
    'Immutable. From this instant the token is no longer valid.';
COMMENT ON COLUMN refresh_tokens.revoked_at IS
    'Mutable once, from NULL: when the token was revoked.';
COMMENT ON COLUMN refresh_tokens.rotated_to IS
    'Mutable once, from NULL: id of the successor. Presenting the token afterwards is reuse.';
COMMENT ON COLUMN refresh_tokens.created_at IS
    'Immutable. When the row was written, by the database''s clock.';
COMMENT ON COLUMN refresh_tokens.session_id IS
    'Immutable. The session: all tokens that descend from one login. A successor inherits it.';
COMMENT ON COLUMN refresh_tokens.session_expires_at IS
    'Immutable. The absolute end of the session, which no token of it outlives; NULL for none.';
COMMENT ON COLUMN refresh_tokens.revoked_reason IS
    'Mutable once, with `revoked_at`: why the token was revoked; NULL when other software did it.';
COMMENT ON COLUMN refresh_tokens.generation IS
    'Immutable. How many rotations lie between the login and this token: 0 for the first token of a session.';
COMMENT ON COLUMN refresh_tokens.rotated_at IS
    'Mutable once, with `rotated_to`: when the token was rotated.';
COMMENT ON COLUMN refresh_tokens.session_started_at IS
    'Immutable. When the session began: when the user was authenticated, if that was told, or else when its first token was written. A successor inherits it.';
COMMENT ON COLUMN refresh_tokens.reused_at IS
    'Mutable once, from NULL: when the breach response to the token''s reuse was given.';
