-- seen_in_session: the unrevoked rows of a session. revoke_seen.sql goes on.
WITH seen AS MATERIALIZED (
    SELECT id FROM refresh_tokens WHERE session_id = $2 AND revoked_at IS NULL
)
