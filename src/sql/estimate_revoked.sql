-- estimate_revoked: what was revoked, but not rotated, longer ago than $2, and did not expire longer ago than $1.
EXPLAIN SELECT 1 FROM refresh_tokens
WHERE rotated_to IS NULL AND revoked_at < statement_timestamp() - $2::interval
    AND expires_at >= statement_timestamp() - $1::interval
