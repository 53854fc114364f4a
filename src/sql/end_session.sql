-- end_session: revokes the one row of a session that is not spent. That is its newest: the link from each row to its
-- successor leads through the session to the last. So the cost is that of two look-ups, however long the history.
-- Of the session that is named, or else of the one that a hash belongs to. Seen is the snapshot's, as in revoke_seen.sql.
WITH newest AS MATERIALIZED (
    SELECT id, rotated_to, revoked_at
    FROM refresh_tokens
    WHERE session_id = coalesce($1::uuid, (SELECT session_id FROM refresh_tokens WHERE token_hash = $2))
    ORDER BY generation DESC
    LIMIT 1
),
seen AS MATERIALIZED (
    SELECT id FROM newest WHERE $unspent
),
locked AS MATERIALIZED (
    SELECT id
    FROM refresh_tokens
    WHERE id = (SELECT id FROM seen) AND $unspent
    FOR UPDATE
),
revoked AS (
    UPDATE refresh_tokens
    SET revoked_at = clock_timestamp(), revoked_reason = $3
    WHERE id = (SELECT id FROM locked)
    RETURNING session_id, $unexpired AS was_live
)
SELECT (SELECT count(*) FROM seen) AS seen, count(*) AS tokens, count(*) FILTER (WHERE was_live) AS live,
    coalesce(array_agg(session_id) FILTER (WHERE was_live), '{}') AS sessions
FROM revoked
