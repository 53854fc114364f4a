-- replayed: this server's clock, and up to which commit it has everything: on a primary, this one.
SELECT asked_at, CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() ELSE asked_at END AS complete_until
FROM (SELECT clock_timestamp() AS asked_at) AS clock
