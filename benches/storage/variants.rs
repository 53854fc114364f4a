//! Ways to store the same rows: what is done to a migrated table before it is filled.

pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) ddl: &'static str,
    pub(crate) ids: Ids,
    /// The column by which the deletion of spent rows goes.
    pub(crate) age: &'static str,
    /// Has an index in which the sessions of a user, and of each the newest row, are found without reading all rows.
    pub(crate) skips: bool,
    /// Has an index of organisations.
    pub(crate) by_org: bool,
}

/// The version of the UUIDs that name tokens; they are the caller's to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    V4,
    V7,
}

/// What the migrations make. The first variant; all ratios are to it.
pub(crate) const TODAY: Variant =
    Variant { name: "today", ddl: "", ids: Ids::V4, age: "created_at", skips: false, by_org: false };

pub(crate) const VARIANTS: [Variant; 16] = [
    TODAY,
    Variant { name: "fillfactor 100", ddl: "ALTER TABLE refresh_tokens SET (fillfactor = 100)", ..TODAY },
    Variant { name: "fillfactor 90", ddl: "ALTER TABLE refresh_tokens SET (fillfactor = 90)", ..TODAY },
    Variant { name: "fillfactor 70", ddl: "ALTER TABLE refresh_tokens SET (fillfactor = 70)", ..TODAY },
    Variant {
        name: "user index of live rows",
        ddl: "DROP INDEX refresh_tokens_user_id_idx;
              CREATE INDEX ON refresh_tokens (user_id) WHERE rotated_to IS NULL AND revoked_at IS NULL",
        ..TODAY
    },
    Variant {
        name: "user index with session",
        ddl: "DROP INDEX refresh_tokens_user_id_idx;
              CREATE INDEX ON refresh_tokens (user_id, session_id, generation)",
        skips: true,
        ..TODAY
    },
    Variant {
        name: "user index with session, and no session index",
        ddl: "DROP INDEX refresh_tokens_user_id_idx;
              DROP INDEX refresh_tokens_session_id_idx;
              CREATE INDEX ON refresh_tokens (user_id, session_id, generation)",
        skips: true,
        ..TODAY
    },
    Variant {
        name: "user index with session, session index without generation",
        ddl: "DROP INDEX refresh_tokens_user_id_idx;
              DROP INDEX refresh_tokens_session_id_idx;
              CREATE INDEX ON refresh_tokens (user_id, session_id, generation);
              CREATE INDEX ON refresh_tokens (session_id)",
        skips: true,
        ..TODAY
    },
    Variant {
        name: "session index without generation",
        ddl: "DROP INDEX refresh_tokens_session_id_idx;
              CREATE INDEX ON refresh_tokens (session_id)",
        ..TODAY
    },
    Variant { name: "no expiry index", ddl: "DROP INDEX refresh_tokens_expires_at_idx", ..TODAY },
    Variant {
        name: "expiry index BRIN",
        ddl: "DROP INDEX refresh_tokens_expires_at_idx;
              CREATE INDEX ON refresh_tokens USING brin (expires_at)",
        ..TODAY
    },
    Variant { name: "and created_at", ddl: "CREATE INDEX ON refresh_tokens (created_at)", ..TODAY },
    Variant { name: "and created_at BRIN", ddl: "CREATE INDEX ON refresh_tokens USING brin (created_at)", ..TODAY },
    Variant { name: "and rotated_at", ddl: "CREATE INDEX ON refresh_tokens (rotated_at)", age: "rotated_at", ..TODAY },
    Variant { name: "and active_org_id", ddl: "CREATE INDEX ON refresh_tokens (active_org_id)", by_org: true, ..TODAY },
    Variant { name: "ids of version 7", ids: Ids::V7, ..TODAY },
];
