-- wait_bounds: for each timeout that the server does not set, or not as low as $1 and $2 milliseconds, what sets it.
SELECT format('ALTER ROLE %I SET %s = %L', current_user, name, bound || 'ms') AS statement
FROM pg_settings JOIN (VALUES ('lock_timeout', $1), ('statement_timeout', $2)) AS needed (name, bound) USING (name)
WHERE setting::bigint NOT BETWEEN 1 AND bound
ORDER BY name
