-- What a job needs that only cleans up: a cron job, or a process that runs a Janitor and nothing else. It cannot make a
-- token, rotate one or revoke one so that anybody would notice; clean-up locks rows, for which PostgreSQL asks for UPDATE
-- on one column, and writes none.
--
-- Partitions of the archive are made and dropped by the tables' owner alone: create_archive_partitions, drop_archived_before.
--
-- As the tables' owner, after migrate(). CREATE ROLE refresh_tokens_cleanup NOLOGIN; before.
GRANT USAGE ON SCHEMA public TO refresh_tokens_cleanup;
GRANT SELECT, DELETE, UPDATE (reused_at) ON refresh_tokens TO refresh_tokens_cleanup;
GRANT SELECT, DELETE, UPDATE (revoked_at) ON refresh_token_cutoffs TO refresh_tokens_cleanup;
GRANT INSERT ON refresh_tokens_archive TO refresh_tokens_cleanup;
