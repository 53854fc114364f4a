-- What an application needs that logs in, refreshes, lists and revokes: every verb but clean-up. It cannot delete a
-- token, nor change whose it is, its hash, its expiry or its session.
--
-- As the tables' owner, after migrate(). CREATE ROLE refresh_tokens_verbs NOLOGIN; before, and GRANT it to the
-- application's role; or put the application's role here. The schema is that of the tables.
GRANT USAGE ON SCHEMA public TO refresh_tokens_verbs;
GRANT SELECT, INSERT, UPDATE (rotated_to, rotated_at, revoked_at, revoked_reason, reused_at)
    ON refresh_tokens TO refresh_tokens_verbs;
GRANT SELECT, UPDATE (shut) ON refresh_token_gates TO refresh_tokens_verbs;
GRANT SELECT, INSERT, UPDATE (revoked_at) ON refresh_token_cutoffs TO refresh_tokens_verbs;
