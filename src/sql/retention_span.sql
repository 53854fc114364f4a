-- retention_span: the next piece of a walk in the order of expiry: from the instant on to which it has come ($4) to that
-- of the row which comes after $5 others, rows of the same instant included. retention_due.sql or retention_preview.sql
-- goes on.
-- The walk ends with what expired longer ago than $1, or, where rotated ($2) or revoked ($3) tokens are due before that,
-- where nothing can be due that lives no longer than $6.
-- All is compared with statement_timestamp(), which is stable, and written out, so that the planner knows how little of
-- the index on expires_at it has to read.
WITH next AS MATERIALIZED (
    SELECT expires_at
    FROM refresh_tokens
    WHERE expires_at >= $4::timestamptz
        AND expires_at <= greatest(
            statement_timestamp() - $1::interval,
            CASE WHEN coalesce($2::interval, $3::interval) IS NOT NULL
                THEN coalesce(statement_timestamp() - least($2::interval, $3::interval) + $6::interval, 'infinity')
            END)
    ORDER BY expires_at
    OFFSET $5
    LIMIT 1
),
span AS MATERIALIZED (
    SELECT next.expires_at IS NULL AS is_last,
        coalesce(next.expires_at, greatest(
            statement_timestamp() - $1::interval,
            CASE WHEN coalesce($2::interval, $3::interval) IS NOT NULL
                THEN coalesce(statement_timestamp() - least($2::interval, $3::interval) + $6::interval, 'infinity')
            END)) AS until
    FROM (SELECT 1) AS one LEFT JOIN next ON true
)
