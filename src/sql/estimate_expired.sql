-- estimate_expired: what expired longer ago than $1, and $2 (which is zero here).
EXPLAIN SELECT 1 FROM refresh_tokens WHERE expires_at < statement_timestamp() - $1::interval - $2::interval
