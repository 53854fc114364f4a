-- retention_taken: the end of the statement: what was taken and why, the last of it, and how far the span reached.
SELECT count(*) FILTER (WHERE expires_at < statement_timestamp() - $1::interval) AS expired,
    count(*) FILTER (WHERE expires_at >= statement_timestamp() - $1::interval AND rotated_to IS NOT NULL) AS rotated,
    count(*) FILTER (WHERE expires_at >= statement_timestamp() - $1::interval AND rotated_to IS NULL) AS revoked,
    coalesce(max(expires_at), $4::timestamptz) AS last,
    (SELECT until FROM span) AS until,
    (SELECT is_last FROM span) AS is_last
FROM taken
