//! Every way to fail, and what a caller may get wrong.
//!
//! Only `recognized` reads Diesel's errors, and only `connect` those of the pool: what the server, libpq or r2d2 says is
//! turned into a variant there, and nowhere else.

mod connect;
mod input;
mod recognized;

use std::time::Duration;

pub use input::{InvalidInput, MAX_EXPIRY};
pub(crate) use input::{days_in_range, lifetime_in_range, not_nil, not_too_far, retention_in_range};

/// The result of every verb.
///
/// # Example
///
/// ```
/// use refresh_tokens::{RefreshTokenRepository, Result};
///
/// fn sessions(tokens: &mut RefreshTokenRepository<'_>, user_id: uuid::Uuid) -> Result<usize> {
///     Ok(tokens.get_active_tokens_for_user(user_id)?.len())
/// }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a verb failed.
///
/// A refused token is not an error: it is [`Rotation::Refused`](crate::Rotation::Refused), or `None`.
/// No variant carries a token hash, nor the server's detail text, which may quote one.
///
/// # Example
///
/// ```
/// use refresh_tokens::Error;
///
/// fn status(error: &Error) -> u16 {
///     match error {
///         Error::InvalidInput(_) => 400,
///         _ if error.is_transient() => 503, // Retry-After, and alert when it lasts
///         _ => 500,
///     }
/// }
/// assert_eq!(status(&Error::ConnectionLost), 503);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A token with this id exists. You meet it when an id is not random, or when a
    /// [`create`](crate::RefreshTokenRepository::create) is sent again after [`Error::ConnectionLost`] and the
    /// first one had been committed.
    #[error("a refresh token with this id exists already: generate a fresh UUID for every token")]
    DuplicateId,

    /// A token with this hash exists: the secret was not fresh, or the same request was sent twice.
    #[error("a refresh token with this hash exists already: generate a fresh secret for every token")]
    DuplicateHash,

    /// An argument was refused; nothing was written.
    #[error(transparent)]
    InvalidInput(#[from] InvalidInput),

    /// The user, the organisation, the user in it, or everybody was revoked since the login was authenticated
    /// ([`SessionOptions::authenticated_at`](crate::SessionOptions::authenticated_at)), or since the session began that was to
    /// switch to the organisation; nothing was written. Have the user log in again.
    #[error(
        "tokens of this user or organisation were revoked after the user was authenticated: have the user log in again"
    )]
    RevokedSinceLogin,

    /// The user has as many live sessions as [`SessionLimit::refuse`](crate::SessionLimit::refuse) allows; nothing was
    /// written. Have the user end one ([`list_sessions`](crate::RefreshTokenRepository::list_sessions)).
    #[error("the user has {max} live sessions already, as many as the limit allows: end one of them first")]
    TooManySessions {
        /// The limit.
        max: u32,
    },

    /// A wait reached its bound; the transaction was rolled back.
    ///
    /// You meet it under contention for one token or user, or when the server is overloaded.
    #[error("gave up {0}: rolled back, try again")]
    Busy(Wait),

    /// The server chose this transaction as the victim of a deadlock, or could not serialize it (REPEATABLE READ and
    /// SERIALIZABLE); or a [`LockedToken`](crate::LockedToken) was to switch the organisation while somebody else held
    /// the user's gate. Roll the transaction back and run it again, from its start.
    #[error("the server gave way to a concurrent transaction: rolled back, run the whole transaction again")]
    Conflict,

    /// No pooled connection became free in time.
    #[error("no pooled connection became free within {waited:?}: enlarge the pool or shed load")]
    PoolExhausted {
        /// The bound of the wait, [`StoreConfig::pool_timeout`](crate::StoreConfig::pool_timeout).
        waited: Duration,
    },

    /// As many callers of a [`GroupRotator`](crate::GroupRotator) wait as may; nothing was sent.
    ///
    /// Answer 503 with a `Retry-After`: more come than the database carries.
    #[error("{max} callers wait in the group already: shed load, or allow more with GroupConfig::max_queue")]
    QueueFull {
        /// [`GroupConfig::max_queue`](crate::GroupConfig::max_queue).
        max: usize,
    },

    /// The [`GroupRotator`](crate::GroupRotator) was shut down; nothing was sent.
    #[error("the group was shut down")]
    GroupShutDown,

    /// The operating system's random generator has nothing to give; nothing was sent.
    #[cfg(feature = "secrets")]
    #[error("the operating system gave no random bytes")]
    RandomnessUnavailable,

    /// No connection could be made.
    #[error("cannot connect to PostgreSQL: {message}")]
    Unreachable {
        /// What libpq or the server said of the attempt; never a part of the URL that holds the password.
        message: String,
    },

    /// The server takes no writes: it is a standby, a maintenance has set `default_transaction_read_only`, or the role has
    /// it; nothing was written. Look-ups work.
    ///
    /// Where it lasts, the URL leads to a standby: name all hosts in it, with `target_session_attrs=read-write`.
    #[error("PostgreSQL is read-only at present: {message}")]
    ReadOnly {
        /// The statement that it refused.
        message: String,
    },

    /// The server's disk is full; nothing was written. Look-ups work, and so does everything once there is room.
    #[error("PostgreSQL's disk is full: {message}")]
    DiskFull {
        /// Which file could not grow.
        message: String,
    },

    /// The connection's role lacks a right; nothing was written.
    ///
    /// A role without `USAGE` on the schema does not see the table at all: that is [`Error::SchemaMissing`].
    #[error("{message}: grant the role what the crate's roles/verbs.sql, cleanup.sql or migration.sql says")]
    PermissionDenied {
        /// On what.
        message: String,
    },

    /// The database URL leads to a pooler that lends one connection's server process to others between statements, such
    /// as PgBouncer in transaction mode, and the store was not told: statements would run that other clients prepared.
    ///
    /// You meet it at [`connect`](crate::RefreshTokenStore::connect) and in [`verify_pooler`](crate::verify_pooler); and
    /// from a verb on a connection of the host's where the server process knows another statement by the name, or none,
    /// which ends the luckier ones of such accidents.
    #[error(
        "a pooler in transaction mode is between this process and PostgreSQL: set StoreConfig::transaction_pooler(true), which uses no prepared statements, or connect to PostgreSQL itself"
    )]
    TransactionPooler,

    /// Through a pooler in transaction mode the store sets no timeouts, and the server has none, or longer ones than
    /// [`StoreConfig`](crate::StoreConfig) asks for: with the statements that set them.
    #[error(
        "waits are not bounded as StoreConfig asks, and through a pooler in transaction mode only the server can bound them: {}; then RECONNECT in the pooler's console", .0.join("; ")
    )]
    MissingTimeouts(Vec<String>),

    /// The connection broke under a verb. Whether its transaction was committed is unknown.
    ///
    /// Send the same request again: [`rotate`](crate::RefreshTokenRepository::rotate) with the same successor
    /// returns the successor that it had made, a revocation only revokes what is left, and
    /// [`create`](crate::RefreshTokenRepository::create) says [`Error::DuplicateId`] if it had succeeded.
    #[error(
        "the connection to PostgreSQL was lost, and whether the change was committed is unknown: send the same request again"
    )]
    ConnectionLost,

    /// COMMIT was answered with an error that does not say whether it happened, such as CockroachDB's "result is
    /// ambiguous", or that of a trigger of the host's which is deferred to it. Send the same request again, as after
    /// [`ConnectionLost`](Self::ConnectionLost).
    #[error("COMMIT failed, and whether the change was committed is unknown: send the same request again: {message}")]
    CommitUnknown {
        /// The server's primary message, without its details.
        message: String,
    },

    /// A [`LockedToken`](crate::LockedToken) was to be rotated after its own transaction had revoked, rotated or
    /// deleted it by another way.
    #[error("the locked token was revoked, rotated or deleted by this very transaction after it had been locked")]
    LockedTokenSpent,

    /// A revocation was called inside a transaction of the host's in REPEATABLE READ or SERIALIZABLE, whose snapshot
    /// may be older than the tokens; nothing was changed.
    #[error(
        "a transaction in REPEATABLE READ or SERIALIZABLE cannot see every token that a revocation must end: revoke in a READ COMMITTED transaction, or outside of yours"
    )]
    IsolationTooHigh,

    /// An earlier statement of the transaction failed, and the closure returned `Ok` all the same.
    ///
    /// PostgreSQL answers COMMIT with a silent ROLLBACK then; this says so instead.
    #[error(
        "an earlier statement of this transaction failed, so it was rolled back although the closure returned Ok: return the first error from the closure"
    )]
    Aborted,

    /// The table, or a column of it, is not there for this connection.
    #[error(
        "table refresh_tokens is missing or older than this version needs: run refresh_tokens::migrate(&mut conn), or apply the SQL of the crate's migrations folder, in a schema of this connection's search_path"
    )]
    SchemaMissing,

    /// [`verify_schema`](crate::verify_schema) or [`migrate`](crate::migrate) found a table that is not as this version needs it; or
    /// a verb found `refresh_token_gates` without its 256 rows, which `verify_schema` does not read.
    #[error("table refresh_tokens is not as this version needs it: {}", .0.join("; "))]
    SchemaMismatch(Vec<String>),

    /// Tokens were to be archived, and the archive has no partition for this month; they stay where they are.
    #[error(
        "refresh_tokens_archive has no partition for this month: call create_archive_partitions, ahead of time and as the table's owner"
    )]
    ArchiveNotPrepared,

    /// A thread could not be started; nothing runs.
    #[error("the operating system gave no thread: {message}")]
    ThreadSpawn {
        /// What it said.
        message: String,
    },

    /// [`build_indexes`](crate::build_indexes) was called inside a transaction; nothing was built.
    #[error("an index cannot be built inside a transaction while others write: call build_indexes outside of yours")]
    InsideTransaction,

    /// A migration could not be applied or reverted; the database is as before.
    #[error("the migration was not carried out, and the database is as before: {message}")]
    Migration {
        /// Which migration, and what the server said.
        message: String,
    },

    /// A value that the database returned has no counterpart in Rust.
    ///
    /// You meet it where a column has another type than [`verify_schema`](crate::verify_schema) asks for, or in a query of the
    /// host's own inside [`transaction`](crate::RefreshTokenRepository::transaction).
    #[error(
        "a value that the database returned cannot be read: call refresh_tokens::verify_schema(&mut conn) to see whether a column of refresh_tokens has another type"
    )]
    UnreadableRow,

    /// Anything else the database answered.
    #[error("PostgreSQL refused: {message}")]
    Database {
        /// The server's primary message, without its details.
        message: String,
    },
}

/// What a verb waited for when it gave up with [`Error::Busy`].
///
/// # Example
///
/// ```
/// use refresh_tokens::{Error, Wait};
///
/// assert_eq!(Error::Busy(Wait::Lock).to_string(), "gave up waiting for a row lock: rolled back, try again");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Wait {
    /// `lock_timeout` ran out: another transaction holds the row.
    #[error("waiting for a row lock")]
    Lock,
    /// `statement_timeout` ran out.
    #[error("waiting for a statement to finish")]
    Statement,
    /// A revocation met new tokens in each of 100 passes.
    #[error("revoking tokens that are born faster than they can be revoked")]
    NewTokens,
    /// [`GroupConfig::queue_timeout`](crate::GroupConfig::queue_timeout) ran out before the request was sent.
    #[error("waiting for a turn in the group")]
    Queue,
}

impl Error {
    /// Whether the same call may succeed if it is made again, unchanged, a little later.
    ///
    /// True for [`Busy`](Self::Busy), [`Conflict`](Self::Conflict), [`PoolExhausted`](Self::PoolExhausted),
    /// [`QueueFull`](Self::QueueFull), [`Unreachable`](Self::Unreachable), [`ConnectionLost`](Self::ConnectionLost),
    /// [`CommitUnknown`](Self::CommitUnknown), [`ReadOnly`](Self::ReadOnly) and [`DiskFull`](Self::DiskFull).
    ///
    /// What it can know: Diesel passes on the SQLSTATE of serialization failures, read-only transactions and lost connections, so
    /// these are always recognised. Deadlocks, lock and statement timeouts arrive without their code and are
    /// recognised by the server's English message (so are [`DiskFull`](Self::DiskFull),
    /// [`PermissionDenied`](Self::PermissionDenied), [`SchemaMissing`](Self::SchemaMissing) and
    /// [`Aborted`](Self::Aborted)); where `lc_messages` is another language, they are [`Error::Database`] and this
    /// answers false. `ALTER ROLE … SET lc_messages = 'C'` (by a superuser) makes
    /// them recognisable. It cannot know how long an outage lasts: bound your retries.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{Error, InvalidInput};
    ///
    /// assert!(Error::Conflict.is_transient());
    /// assert!(!Error::from(InvalidInput::EmptyTokenHash).is_transient());
    /// ```
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy(_)
                | Self::Conflict
                | Self::PoolExhausted { .. }
                | Self::QueueFull { .. }
                | Self::Unreachable { .. }
                | Self::ConnectionLost
                | Self::ReadOnly { .. }
                | Self::DiskFull { .. }
                | Self::CommitUnknown { .. }
        )
    }

    /// Whether the change may have been committed although the call failed.
    ///
    /// True for [`ConnectionLost`](Self::ConnectionLost) and [`CommitUnknown`](Self::CommitUnknown). Every other error means that the verb changed
    /// nothing, but for those that go step by step: of
    /// [`cleanup_expired`](crate::RefreshTokenRepository::cleanup_expired),
    /// [`cleanup`](crate::RefreshTokenRepository::cleanup),
    /// [`drop_archived_before`](crate::RefreshTokenRepository::drop_archived_before),
    /// [`revoke_all_for_org`](crate::RefreshTokenRepository::revoke_all_for_org) and
    /// [`revoke_all_for_everyone`](crate::RefreshTokenRepository::revoke_all_for_everyone) the earlier steps stay.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::Error;
    ///
    /// assert!(Error::ConnectionLost.is_outcome_unknown());
    /// assert!(!Error::DuplicateId.is_outcome_unknown());
    /// ```
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::ConnectionLost | Self::CommitUnknown { .. })
    }
}
