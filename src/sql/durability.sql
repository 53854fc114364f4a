-- durability: the settings of this connection and server by which an acknowledged change can be lost.
SELECT
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('synchronous_standby_names') AS synchronous_standby_names,
    current_setting('fsync')::boolean AS fsync,
    current_setting('full_page_writes')::boolean AS full_page_writes,
    pg_is_in_recovery() AS is_standby,
    EXISTS (
        SELECT FROM pg_class
        WHERE relpersistence = 'u'
            AND oid IN (to_regclass('refresh_tokens'), to_regclass('refresh_token_cutoffs'),
                to_regclass('refresh_token_gates'), to_regclass('refresh_tokens_archive'))
    ) AS has_unlogged_table
