-- indexes_missing: the tail of indexes.sql that lists them.
SELECT format('refresh_tokens_%s_idx', name) AS name, statement, removal FROM missing_index ORDER BY name
