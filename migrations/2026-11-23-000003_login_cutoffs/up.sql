-- What orders a login against a revocation that runs at the same moment.

-- A user's gate is the exclusive or of the bytes of the user's id. A login that says when its user was authenticated
-- passes it (FOR SHARE) and then reads the cutoffs; a revocation shuts it (UPDATE) before it looks for tokens. A fixed
-- number of rows, so that a revocation of everybody can shut all of them, whoever logs in for the first time.
CREATE TABLE refresh_token_gates (
    gate smallint NOT NULL,
    shut bigint   NOT NULL DEFAULT 0,
    CONSTRAINT refresh_token_gates_pkey PRIMARY KEY (gate)
) WITH (fillfactor = 50);

INSERT INTO refresh_token_gates (gate) SELECT generate_series(0, 255);

COMMENT ON TABLE refresh_token_gates IS
    'Locks: a login, a switch of organisation or a revocation holds that of its user, exclusively, until COMMIT.';
COMMENT ON COLUMN refresh_token_gates.gate IS
    'Immutable. The exclusive or of the 16 bytes of a user''s id.';
COMMENT ON COLUMN refresh_token_gates.shut IS
    'Mutable. How often a revocation has shut it; written so that an older snapshot meets a conflict.';

CREATE TABLE refresh_token_cutoffs (
    user_id    uuid        NOT NULL,
    org_id     uuid        NOT NULL,
    revoked_at timestamptz NOT NULL,
    CONSTRAINT refresh_token_cutoffs_pkey PRIMARY KEY (user_id, org_id)
);

COMMENT ON TABLE refresh_token_cutoffs IS
    'The last revocation of a user, an organisation, a member or everybody: logins authenticated before it are refused.';
COMMENT ON COLUMN refresh_token_cutoffs.user_id IS
    'Immutable. The user; the nil UUID for all.';
COMMENT ON COLUMN refresh_token_cutoffs.org_id IS
    'Immutable. The organisation; the nil UUID for all.';
COMMENT ON COLUMN refresh_token_cutoffs.revoked_at IS
    'Mutable, only to later instants. When the last such revocation was called, by the database''s clock.';
