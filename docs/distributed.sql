-- The tables for an engine that speaks PostgreSQL's protocol but lacks parts of its DDL: what `migrate` makes in an empty
-- database, without the trigger (PL/pgSQL), the archive (partitions) and the storage parameters. Apply it by your own
-- migration tool, each statement by itself, in a schema of the application's search_path, and do not call `migrate` there.

CREATE TABLE refresh_tokens (
    id                 uuid        NOT NULL,
    user_id            uuid        NOT NULL,
    token_hash         text        NOT NULL,
    active_org_id      uuid        NOT NULL,
    expires_at         timestamptz NOT NULL,
    revoked_at         timestamptz,
    rotated_to         uuid,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    session_id         uuid        NOT NULL DEFAULT gen_random_uuid(),
    session_expires_at timestamptz,
    revoked_reason     text,
    generation         integer     NOT NULL DEFAULT 0,
    rotated_at         timestamptz,
    session_started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reused_at          timestamptz,
    CONSTRAINT refresh_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT refresh_tokens_token_hash_key UNIQUE (token_hash),
    CONSTRAINT refresh_tokens_revoked_reason_check CHECK (revoked_reason IS NULL OR revoked_at IS NOT NULL)
);

CREATE INDEX refresh_tokens_user_id_idx    ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_session_id_idx ON refresh_tokens (session_id, generation);
CREATE INDEX refresh_tokens_expires_at_idx ON refresh_tokens (expires_at);

CREATE TABLE refresh_token_gates (
    gate smallint NOT NULL,
    shut bigint   NOT NULL DEFAULT 0,
    CONSTRAINT refresh_token_gates_pkey PRIMARY KEY (gate)
);

INSERT INTO refresh_token_gates (gate) SELECT generate_series(0, 255);

CREATE TABLE refresh_token_cutoffs (
    user_id    uuid        NOT NULL,
    org_id     uuid        NOT NULL,
    revoked_at timestamptz NOT NULL,
    CONSTRAINT refresh_token_cutoffs_pkey PRIMARY KEY (user_id, org_id)
);
