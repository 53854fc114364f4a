-- What a deployment needs that calls migrate(), build_indexes(), create_archive_partitions() and drop_archived_before(). It owns
-- the tables, so it can do everything with them; the application should not run as this role.
--
-- As a superuser, or as the schema's owner. CREATE ROLE refresh_tokens_owner NOLOGIN; before. Tables that are there
-- already, such as the Python service's, become its own with ALTER TABLE refresh_tokens OWNER TO refresh_tokens_owner.
GRANT USAGE, CREATE ON SCHEMA public TO refresh_tokens_owner;
