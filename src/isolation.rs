//! Transactions in READ COMMITTED, whatever the default of the session is.

use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::error::{Error, Result};

/// Where the work runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In a transaction of its own, in READ COMMITTED.
    Own,
    /// In a savepoint of the host's transaction, in whatever isolation level that has.
    Host,
}

/// Runs `work` in a transaction of its own, in READ COMMITTED, or in a savepoint of the one that is open.
///
/// A snapshot that was taken before a wait does not see what was committed during it.
pub(crate) fn read_committed<T>(
    conn: &mut PgConnection,
    work: impl Fn(&mut PgConnection, Scope) -> Result<T>,
) -> Result<T> {
    let own = conn.build_transaction().read_committed().run(|conn| work(conn, Scope::Own).map_err(Failure::Work));
    match own {
        Ok(value) => Ok(value),
        Err(Failure::Work(error)) => Err(error),
        Err(Failure::Diesel(DieselError::AlreadyInTransaction)) => conn.transaction(|conn| work(conn, Scope::Host)),
        Err(Failure::Diesel(error)) => Err(error.into()),
    }
}

enum Failure {
    Work(Error),
    Diesel(DieselError),
}

impl From<DieselError> for Failure {
    fn from(error: DieselError) -> Self {
        Self::Diesel(error)
    }
}
