-- Drops the archive, and every row in it.
DROP TABLE refresh_tokens_archive;
