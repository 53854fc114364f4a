-- rotate: locks the presented token by the query in the first place, spends it, and writes its successor: all, or nothing.
-- The expiry is judged by what was locked, never by the table: so the clock is read after the wait for the lock, however
-- the statement is planned.
-- A successor that switches the organisation is not for this statement, because its user's gate comes first.
WITH locked AS MATERIALIZED (
    $1
),
spent AS (
    UPDATE refresh_tokens token
    SET rotated_to = $2, rotated_at = clock_timestamp()
    FROM locked
    WHERE token.id = locked.id
        AND least(locked.expires_at, locked.session_expires_at) > clock_timestamp()
        AND coalesce($3::timestamptz > clock_timestamp(), true)
        AND coalesce(locked.user_id = $4::uuid, true)
        AND coalesce(locked.active_org_id = $5::uuid, true)
        AND coalesce(locked.active_org_id = $6::uuid, true)
    RETURNING token.rotated_to, token.user_id, token.active_org_id,
        token.session_id, token.session_expires_at, token.session_started_at, token.generation
)
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at,
    session_id, session_expires_at, session_started_at, generation)
SELECT rotated_to, user_id, $7, active_org_id, least(coalesce($8::timestamptz, clock_timestamp() + $9::interval), session_expires_at),
    session_id, session_expires_at, session_started_at, generation + 1
FROM spent
RETURNING $columns
