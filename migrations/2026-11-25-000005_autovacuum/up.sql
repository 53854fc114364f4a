-- By the server's defaults a fifth of the table dies before VACUUM comes: of 300 million rows, 60 million. A table that
-- was adopted keeps what its owner has set. It locks out nobody who reads or writes rows.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_class, unnest(reloptions) AS setting
        WHERE pg_class.oid = 'refresh_tokens'::regclass AND setting LIKE 'autovacuum%'
    ) THEN
        ALTER TABLE refresh_tokens SET (
            autovacuum_vacuum_scale_factor = 0.02,
            autovacuum_vacuum_insert_scale_factor = 0.02,
            autovacuum_analyze_scale_factor = 0.02
        );
    END IF;
END
$$;
