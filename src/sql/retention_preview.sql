-- retention_preview: after retention_span.sql, in the place of retention_due.sql and its tail: the same rows, all of them,
-- read and not locked.
, taken AS MATERIALIZED (
    SELECT expires_at, rotated_to
    FROM refresh_tokens
    WHERE expires_at >= $4::timestamptz
        AND expires_at <= (SELECT until FROM span)
        AND (expires_at < statement_timestamp() - $1::interval
            OR CASE WHEN rotated_to IS NULL THEN revoked_at < statement_timestamp() - $3::interval
                ELSE rotated_at < statement_timestamp() - $2::interval END)
)
