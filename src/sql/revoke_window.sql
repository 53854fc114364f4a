-- revoke_window: of the next $2 rows from a place ($3, $4, $5) on, in the order of sessions and generations, revokes
-- ($1: why) those that could still be rotated, in one organisation ($6) if one is named, of sessions that had begun by
-- an instant ($7); one that begins in the future began by a clock that was set back since, so it is no later. A successor
-- comes after its predecessor in this order, so a walk that saw none has missed none.
-- SKIP LOCKED: it waits for nobody while it holds a lock. What it saw and did not get is for the next walk.
WITH visited AS MATERIALIZED (
    SELECT id, active_org_id, session_id, generation, session_started_at, rotated_to, revoked_at
    FROM refresh_tokens
    WHERE (session_id, generation, id) >= ($3, $4, $5)
    ORDER BY session_id, generation, id
    LIMIT $2
),
seen AS MATERIALIZED (
    SELECT id
    FROM visited
    WHERE $unspent
        AND ($6::uuid IS NULL OR active_org_id = $6)
        AND (session_started_at <= $7 OR session_started_at > clock_timestamp())
),
locked AS MATERIALIZED (
    SELECT id
    FROM refresh_tokens
    WHERE id = ANY (ARRAY(SELECT id FROM seen)) AND $unspent
    FOR UPDATE SKIP LOCKED
),
revoked AS (
    UPDATE refresh_tokens
    SET revoked_at = clock_timestamp(), revoked_reason = $1
    WHERE id = ANY (ARRAY(SELECT id FROM locked))
    RETURNING session_id, $unexpired AS was_live
),
ended AS (
    SELECT count(*) AS tokens, count(*) FILTER (WHERE was_live) AS live,
        count(DISTINCT session_id) FILTER (WHERE was_live) AS sessions
    FROM revoked
),
last AS (
    SELECT session_id, generation, id FROM visited ORDER BY session_id DESC, generation DESC, id DESC LIMIT 1
)
SELECT (SELECT count(*) FROM seen) AS seen, ended.tokens, ended.live, ended.sessions,
    ARRAY(SELECT id FROM seen EXCEPT SELECT id FROM locked) AS skipped,
    last.session_id AS last_session_id, last.generation AS last_generation, last.id AS last_id
FROM ended LEFT JOIN last ON true
