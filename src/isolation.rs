//! Transactions of the library's own, or savepoints of the host's: which it is, and with which isolation.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::Bool;

use crate::error::{Error, Result};
use crate::retry::{self, STEP_RETRIES};

/// Where the work runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In a transaction of its own.
    Own,
    /// In a savepoint of the host's transaction, in whatever isolation level that has.
    Host,
}

/// Which isolation a transaction of its own begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// The default of the connection: for a transaction that is the host's.
    Inherited,
    /// For all that is the library's: a snapshot from before a wait does not see what was committed during it, and above
    /// this the server would roll back what row locks have ordered already.
    ReadCommitted,
}

/// Runs `work` in a transaction of its own, or in a savepoint of the one that is open; an `Err` rolls it back, and
/// with it every lock that it took.
pub(crate) fn transaction<T, E>(
    conn: &mut PgConnection,
    isolation: Isolation,
    work: impl FnOnce(&mut PgConnection, Scope) -> Result<T, E>,
) -> Result<T, Failure<E>> {
    // Diesel's builder is the one place that says whether a transaction is open.
    let mut work = Some(work);
    let mut is_done = false;
    let mut run = |conn: &mut PgConnection, scope| match work.take() {
        Some(work) => work(conn, scope).map_err(Failure::Work).inspect(|_| is_done = true),
        None => Err(Failure::Library(DieselError::AlreadyInTransaction)),
    };
    let mut builder = conn.build_transaction();
    if isolation == Isolation::ReadCommitted {
        builder = builder.read_committed();
    }
    match builder.run(|conn| run(conn, Scope::Own)) {
        Err(Failure::AlreadyOpen) => conn.transaction(|conn| run(conn, Scope::Host)),
        Err(Failure::Library(error)) if is_done => Err(Failure::Commit(error)),
        outcome => outcome,
    }
}

/// [`transaction`] in READ COMMITTED, which a host's above it is refused: its snapshot may be from before the call,
/// so that tokens which exist cannot be seen.
pub(crate) fn read_committed<T>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection) -> Result<T>,
) -> Result<T> {
    in_any_isolation(conn, |conn, scope| {
        check(conn, scope)?;
        work(conn)
    })
}

/// [`transaction`] in READ COMMITTED, or in whatever the host's has, for work that is right in any.
pub(crate) fn in_any_isolation<T>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection, Scope) -> Result<T>,
) -> Result<T> {
    transaction(conn, Isolation::ReadCommitted, work).map_err(Failure::into_error)
}

/// [`in_any_isolation`] for one step of a verb that goes step by step: made again by itself where the server rolled it
/// back in favour of another transaction, because the whole verb would forget what its earlier steps had done.
pub(crate) fn step<T>(
    conn: &mut PgConnection,
    mut work: impl FnMut(&mut PgConnection, Scope) -> Result<T>,
) -> Result<T> {
    // Of a host's transaction, nothing can be made again but all of it.
    let mut is_host = false;
    let mut run = || {
        let outcome = in_any_isolation(conn, |conn, scope| {
            is_host = scope == Scope::Host;
            work(conn, scope)
        });
        match outcome {
            Err(Error::Conflict) if is_host => Ok(Err(Error::Conflict)),
            outcome => outcome.map(Ok),
        }
    };
    retry::on_conflict(STEP_RETRIES, &mut run)?
}

/// [`step`] that a host's transaction above READ COMMITTED is refused.
pub(crate) fn read_committed_step<T>(
    conn: &mut PgConnection,
    mut work: impl FnMut(&mut PgConnection, Scope) -> Result<T>,
) -> Result<T> {
    step(conn, |conn, scope| {
        check(conn, scope)?;
        work(conn, scope)
    })
}

fn check(conn: &mut PgConnection, scope: Scope) -> Result<()> {
    match scope {
        Scope::Own => Ok(()),
        Scope::Host => sees_what_is_committed(conn),
    }
}

/// Refuses a transaction above READ COMMITTED.
pub(crate) fn sees_what_is_committed(conn: &mut PgConnection) -> Result<()> {
    let condition = "current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')";
    if diesel::select(sql::<Bool>(condition)).get_result(conn)? { Ok(()) } else { Err(Error::IsolationTooHigh) }
}

/// Diesel wants an error that can be made of its own; `E` need not be.
#[derive(Debug)]
pub(crate) enum Failure<E> {
    /// What `work` returned.
    Work(E),
    /// BEGIN or a savepoint failed.
    Library(DieselError),
    /// COMMIT failed.
    Commit(DieselError),
    /// There is a transaction already.
    AlreadyOpen,
}

impl<E: From<Error>> Failure<E> {
    pub(crate) fn into_error(self) -> E {
        match self {
            Self::Work(error) => error,
            Self::Library(error) => Error::from(error).into(),
            Self::Commit(error) => Error::of_commit(error).into(),
            Self::AlreadyOpen => Error::from(DieselError::AlreadyInTransaction).into(),
        }
    }
}

impl<E> From<DieselError> for Failure<E> {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::AlreadyInTransaction => Self::AlreadyOpen,
            error => Self::Library(error),
        }
    }
}
