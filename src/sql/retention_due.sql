-- retention_due: after retention_span.sql: what is due in the span, at most $7 rows, locked. A tail takes it.
-- Due is what expired longer ago than $1, what was rotated longer ago than $2, and what was revoked, but not rotated,
-- longer ago than $3; NULL is never. SKIP LOCKED: it waits for nobody, and judges what it has locked.
, due AS MATERIALIZED (
    SELECT id, expires_at
    FROM refresh_tokens
    WHERE expires_at >= $4::timestamptz
        AND expires_at <= (SELECT until FROM span)
        AND (expires_at < statement_timestamp() - $1::interval
            OR CASE WHEN rotated_to IS NULL THEN revoked_at < statement_timestamp() - $3::interval
                ELSE rotated_at < statement_timestamp() - $2::interval END)
    ORDER BY expires_at
    LIMIT $7
    FOR UPDATE SKIP LOCKED
)
