-- create: writes the first token of a session, unless it would be born expired.
WITH request AS MATERIALIZED (
    SELECT $1::uuid AS id, $2::uuid AS user_id, $3::text AS token_hash, $4::uuid AS active_org_id,
        $5::timestamptz AS expires_at, $6::timestamptz AS session_expires_at, clock_timestamp() AS now
)
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, session_expires_at)
SELECT id, user_id, token_hash, active_org_id, least(expires_at, session_expires_at), session_expires_at
FROM request
WHERE least(expires_at, session_expires_at) > now
RETURNING id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to, created_at,
    session_id, session_expires_at, revoked_reason, generation, rotated_at
