//! The one place that reads Diesel's errors.
//!
//! What Diesel passes on without SQLSTATE is told apart by the server's English message.

use std::fmt::Display;

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};

use crate::error::{Error, Wait};

impl Error {
    /// What Diesel can name, a violated constraint or a conflict, was rolled back; of anything else only the server knows.
    pub(crate) fn of_commit(error: DieselError) -> Self {
        let is_unnamed = matches!(error, DieselError::DatabaseError(DatabaseErrorKind::Unknown, _));
        match Self::from(error) {
            Self::Database { message } if is_unnamed => Self::CommitUnknown { message },
            error => error,
        }
    }
}

impl Error {
    /// Of the statement that asks, before COMMIT, whether the transaction still stands.
    pub(crate) fn of_transaction(error: DieselError) -> Self {
        match Self::from(error) {
            Self::Database { message } if message.starts_with("current transaction is aborted") => Self::Aborted,
            error => error,
        }
    }

    /// Of an index that another process builds or drops at the same time.
    pub(crate) fn of_index(error: DieselError) -> Self {
        match Self::from(error) {
            Self::Database { message }
                if message.ends_with(" already exists") || message.ends_with(" does not exist") =>
            {
                Self::Busy(Wait::Lock)
            }
            error => error,
        }
    }

    /// Of a migration: Diesel keeps the type of this error to itself, so what may be sent again is told apart by its text.
    pub(crate) fn of_migration(name: &str, error: &dyn Display) -> Self {
        let text = error.to_string();
        let said = text.split_once(" with: ").map_or(&*text, |(_, said)| said);
        Self::of_text(said).unwrap_or_else(|| Self::Migration { message: format!("{name}: {text}") })
    }
}

/// What libpq says of a connection that has ended, and the server of a transaction that it rolled back.
const LOST: [&str; 5] = [
    "server closed the connection unexpectedly",
    "could not receive data from server",
    "could not send data to server",
    "no connection to the server",
    "terminating connection due to ",
];
const ROLLED_BACK: &str = "could not serialize access due to ";

impl Error {
    /// What may pass when it is tried again, by what was said of it alone.
    fn of_text(text: &str) -> Option<Self> {
        if LOST.iter().any(|lost| text.starts_with(lost)) {
            return Some(Self::ConnectionLost);
        }
        if text.starts_with(ROLLED_BACK) {
            return Some(Self::Conflict);
        }
        Some(from_message(text)).filter(Self::is_transient)
    }
}

/// Lets a closure given to [`transaction`](crate::RefreshTokenRepository::transaction) use `?` on the host's own
/// Diesel queries. Details that may quote a row are dropped.
///
/// # Example
///
/// ```
/// use diesel::result::Error as DieselError;
/// use refresh_tokens::Error;
///
/// assert_eq!(Error::from(DieselError::BrokenTransactionManager), Error::ConnectionLost);
/// ```
impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::DatabaseError(kind, info) => from_database(kind, &*info),
            DieselError::BrokenTransactionManager | DieselError::RollbackErrorOnCommit { .. } => Self::ConnectionLost,
            DieselError::DeserializationError(_) => Self::UnreadableRow,
            other => Self::Database { message: other.to_string() },
        }
    }
}

fn from_database(kind: DatabaseErrorKind, info: &dyn DatabaseErrorInformation) -> Error {
    match kind {
        DatabaseErrorKind::UniqueViolation => match info.constraint_name() {
            Some("refresh_tokens_pkey") => Error::DuplicateId,
            Some("refresh_tokens_token_hash_key") => Error::DuplicateHash,
            // Two made a table or an index of the same name at once.
            Some(name) if name.starts_with("pg_") => Error::Conflict,
            _ => from_message(info.message()),
        },
        DatabaseErrorKind::SerializationFailure => Error::Conflict,
        // The latter: it was lost under the statement before, and libpq has noticed only at this one.
        DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => Error::ConnectionLost,
        DatabaseErrorKind::ReadOnlyTransaction => Error::ReadOnly { message: info.message().to_owned() },
        _ => from_message(info.message()),
    }
}

/// How the server begins where a server process knows a statement of Diesel's that this connection has not prepared
/// there, or does not know one that it has.
pub(crate) const PREPARED_BY_ANOTHER: &str = "prepared statement \"__diesel_stmt_";

/// What Diesel passes on without SQLSTATE, told apart by the server's English message.
fn from_message(message: &str) -> Error {
    match message {
        "canceling statement due to lock timeout" => Error::Busy(Wait::Lock),
        "canceling statement due to statement timeout" => Error::Busy(Wait::Statement),
        "deadlock detected" | "tuple concurrently updated" => Error::Conflict,
        _ if message.starts_with("permission denied ") || message.starts_with("must be owner of ") => {
            Error::PermissionDenied { message: message.to_owned() }
        }
        _ if message.ends_with(": No space left on device") || is_short_write(message) => {
            Error::DiskFull { message: message.to_owned() }
        }
        _ if message.starts_with("could not obtain lock on ") => Error::Busy(Wait::Lock),
        _ if message.starts_with("no partition of relation \"refresh_tokens_archive\"") => Error::ArchiveNotPrepared,
        _ if is_missing_schema(message) => Error::SchemaMissing,
        _ if message.starts_with(PREPARED_BY_ANOTHER) => Error::TransactionPooler,
        _ => Error::Database { message: message.to_owned() },
    }
}

/// The last page before a disk is full.
fn is_short_write(message: &str) -> bool {
    message.starts_with("could not extend file ") && message.contains(": wrote only ")
}

fn is_missing_schema(message: &str) -> bool {
    message.ends_with(" does not exist")
        && (["refresh_tokens", "refresh_token_gates", "refresh_token_cutoffs", "refresh_tokens_archive"]
            .iter()
            .any(|table| message.starts_with(&format!("relation \"{table}\"")))
            || message.starts_with("column refresh_tokens.")
            || (message.starts_with("column \"") && message.contains(" of relation \"refresh_tokens\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_known_to_be_lost_takes_no_statement() {
        let message = Box::new("no connection to the server\n".to_owned());
        let error = DieselError::DatabaseError(DatabaseErrorKind::UnableToSendCommand, message);
        assert_eq!(Error::from(error), Error::ConnectionLost);
    }

    #[test]
    fn what_may_pass_is_told_by_its_text() {
        for (text, expected) in [
            ("server closed the connection unexpectedly\n\tThis probably", Some(Error::ConnectionLost)),
            ("could not receive data from server: Connection timed out\n", Some(Error::ConnectionLost)),
            ("could not send data to server: Broken pipe\n", Some(Error::ConnectionLost)),
            ("no connection to the server\n", Some(Error::ConnectionLost)),
            ("terminating connection due to administrator command", Some(Error::ConnectionLost)),
            ("terminating connection due to idle-session timeout", Some(Error::ConnectionLost)),
            ("could not serialize access due to concurrent update", Some(Error::Conflict)),
            ("deadlock detected", Some(Error::Conflict)),
            ("tuple concurrently updated", Some(Error::Conflict)),
            ("canceling statement due to lock timeout", Some(Error::Busy(Wait::Lock))),
            ("relation \"refresh_tokens\" already exists", None),
        ] {
            assert_eq!(Error::of_text(text), expected, "{text}");
        }
    }

    #[test]
    fn messages_without_sqlstate_are_told_apart() {
        for (message, expected) in [
            ("canceling statement due to lock timeout", Error::Busy(Wait::Lock)),
            ("could not obtain lock on row in relation \"refresh_tokens\"", Error::Busy(Wait::Lock)),
            ("canceling statement due to statement timeout", Error::Busy(Wait::Statement)),
            ("deadlock detected", Error::Conflict),
            ("tuple concurrently updated", Error::Conflict),
            ("no partition of relation \"refresh_tokens_archive\" found for row", Error::ArchiveNotPrepared),
            ("prepared statement \"__diesel_stmt_1\" already exists", Error::TransactionPooler),
            ("prepared statement \"__diesel_stmt_12\" does not exist", Error::TransactionPooler),
            ("relation \"refresh_tokens\" does not exist", Error::SchemaMissing),
            ("relation \"refresh_token_gates\" does not exist", Error::SchemaMissing),
            ("relation \"refresh_token_cutoffs\" does not exist", Error::SchemaMissing),
            ("relation \"refresh_tokens_archive\" does not exist", Error::SchemaMissing),
            ("column refresh_tokens.session_id does not exist", Error::SchemaMissing),
            ("column \"session_id\" of relation \"refresh_tokens\" does not exist", Error::SchemaMissing),
        ] {
            assert_eq!(from_message(message), expected, "{message}");
        }
        for message in ["permission denied for table refresh_tokens", "must be owner of table refresh_tokens"] {
            assert_eq!(from_message(message), Error::PermissionDenied { message: message.to_owned() });
        }
        for message in [
            "could not extend file \"base/5/16389\": No space left on device",
            "could not extend file \"base/5/16389\": wrote only 4096 of 8192 bytes at block 7",
        ] {
            assert_eq!(from_message(message), Error::DiskFull { message: message.to_owned() });
        }
        for other in [
            "integer out of range",
            // The host's own, whose names only begin alike.
            "relation \"refresh_tokens_of_the_host\" does not exist",
            "column \"session_id\" of relation \"refresh_tokens_of_the_host\" does not exist",
            "column refresh_tokens_of_the_host.session_id does not exist",
            "relation \"refresh_tokens\" already exists",
            "could not extend file \"base/5/16389\": Permission denied",
            "no partition of relation \"of_the_host\" found for row",
        ] {
            assert_eq!(from_message(other), Error::Database { message: other.to_owned() });
        }
    }

    struct Said {
        message: &'static str,
        constraint: Option<&'static str>,
    }

    impl DatabaseErrorInformation for Said {
        fn message(&self) -> &str {
            self.message
        }

        fn details(&self) -> Option<&str> {
            Some("Key (token_hash)=(…) is there.")
        }

        fn hint(&self) -> Option<&str> {
            None
        }

        fn table_name(&self) -> Option<&str> {
            None
        }

        fn column_name(&self) -> Option<&str> {
            None
        }

        fn constraint_name(&self) -> Option<&str> {
            self.constraint
        }

        fn statement_position(&self) -> Option<i32> {
            None
        }
    }

    fn said(kind: DatabaseErrorKind, message: &'static str, constraint: Option<&'static str>) -> DieselError {
        DieselError::DatabaseError(kind, Box::new(Said { message, constraint }))
    }

    #[test]
    fn a_constraint_is_told_by_its_name() {
        let message = "duplicate key value violates unique constraint";
        let other = Error::Database { message: message.to_owned() };
        for (constraint, expected) in [
            (Some("refresh_tokens_pkey"), Error::DuplicateId),
            (Some("refresh_tokens_token_hash_key"), Error::DuplicateHash),
            (Some("pg_type_typname_nsp_index"), Error::Conflict),
            (Some("of_the_host"), other.clone()),
            (None, other),
        ] {
            assert_eq!(Error::from(said(DatabaseErrorKind::UniqueViolation, message, constraint)), expected);
        }
    }

    /// The server has rolled back what it has a name for; of what it says otherwise, nobody knows.
    #[test]
    fn of_a_commit_only_what_has_no_name_is_unknown() {
        use DatabaseErrorKind::{
            CheckViolation, ClosedConnection, ForeignKeyViolation, SerializationFailure, UniqueViolation, Unknown,
        };
        let violation = "update or delete violates a constraint";
        let named = Error::Database { message: violation.to_owned() };
        let unnamed = "result is ambiguous: replica unavailable";
        for (kind, message, expected) in [
            (ForeignKeyViolation, violation, named.clone()),
            (CheckViolation, violation, named.clone()),
            (UniqueViolation, violation, named),
            (SerializationFailure, "could not serialize access", Error::Conflict),
            (ClosedConnection, "server closed the connection unexpectedly", Error::ConnectionLost),
            (Unknown, "deadlock detected", Error::Conflict),
            (Unknown, unnamed, Error::CommitUnknown { message: unnamed.to_owned() }),
        ] {
            let error = Error::of_commit(said(kind, message, None));
            assert_eq!(error, expected);
            assert_eq!(error.is_outcome_unknown(), matches!(kind, ClosedConnection) || message == unnamed, "{error:?}");
        }
    }
}
