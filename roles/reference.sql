-- Beside verbs.sql, for the role of the Python service, whose successors a trigger makes members of their predecessor's
-- session, with the rights of who rotates.
GRANT UPDATE (session_id, session_started_at, session_expires_at, expires_at, generation)
    ON refresh_tokens TO refresh_tokens_verbs;
