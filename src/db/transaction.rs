//! Transactions of the library's own, or savepoints of the host's: which it is, and with which isolation.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::Bool;

use crate::db::retry::{self, STEP_RETRIES};
use crate::error::{Error, Result};
use crate::values::Durability;

/// Where the work runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In a transaction of its own.
    Own,
    /// In a savepoint of the host's transaction, in whatever isolation level that has.
    Host,
}

impl From<Scope> for Durability {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Own => Self::Committed,
            Scope::Host => Self::PendingYourCommit,
        }
    }
}

/// Which isolation a transaction of its own begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isolation {
    Default,
    ReadCommitted,
}

/// Runs `work` in a transaction of its own, or in a savepoint of the one that is open; an `Err` rolls it back, and
/// with it every lock that it took.
fn transaction<T, E: From<Error>>(
    conn: &mut PgConnection,
    isolation: Isolation,
    work: impl FnOnce(&mut PgConnection, Scope) -> Result<T, E>,
) -> Result<T, E> {
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
    let outcome = match builder.run(|conn| run(conn, Scope::Own)) {
        Err(Failure::AlreadyOpen) => conn.transaction(|conn| run(conn, Scope::Host)),
        Err(Failure::Library(error)) if is_done => Err(Failure::Commit(error)),
        outcome => outcome,
    };
    outcome.map_err(Failure::into_error)
}

/// [`transaction`] in READ COMMITTED, which a host's above it is refused: its snapshot may be from before the call,
/// so that tokens which exist cannot be seen.
pub(crate) fn read_committed<T>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection) -> Result<T>,
) -> Result<T> {
    atomically(conn, |conn, scope| {
        check_isolation(conn, scope)?;
        work(conn)
    })
}

/// [`transaction`] in READ COMMITTED, or in whatever the host's has, for work that is right in any.
///
/// All that is the library's own begins so: a snapshot from before a wait does not see what was committed during it, and
/// above this the server would roll back what row locks have ordered already.
pub(crate) fn atomically<T, E: From<Error>>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection, Scope) -> Result<T, E>,
) -> Result<T, E> {
    transaction(conn, Isolation::ReadCommitted, work)
}

/// [`transaction`] in the default of the connection: for one that is the host's.
pub(crate) fn in_default_isolation<T, E: From<Error>>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection, Scope) -> Result<T, E>,
) -> Result<T, E> {
    transaction(conn, Isolation::Default, work)
}

/// [`atomically`] for one step of a verb that goes step by step: made again by itself where the server rolled it
/// back in favour of another transaction, because the whole verb would forget what its earlier steps had done.
pub(crate) fn step<T>(
    conn: &mut PgConnection,
    mut work: impl FnMut(&mut PgConnection, Scope) -> Result<T>,
) -> Result<T> {
    // Of a host's transaction, nothing can be made again but all of it.
    let mut is_host = false;
    let mut run = || {
        let outcome = atomically(conn, |conn, scope| {
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
        check_isolation(conn, scope)?;
        work(conn, scope)
    })
}

fn check_isolation(conn: &mut PgConnection, scope: Scope) -> Result<()> {
    match scope {
        Scope::Own => Ok(()),
        Scope::Host => require_read_committed(conn),
    }
}

/// Refuses a transaction above READ COMMITTED.
pub(crate) fn require_read_committed(conn: &mut PgConnection) -> Result<()> {
    let condition = "current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')";
    if diesel::select(sql::<Bool>(condition)).get_result(conn)? { Ok(()) } else { Err(Error::IsolationTooHigh) }
}

/// How the work of a transaction ends it without a change.
pub(crate) enum Stop<V> {
    /// With a value for the caller.
    Return(V),
    Fail(Error),
}

impl<V, E: Into<Error>> From<E> for Stop<V> {
    fn from(error: E) -> Self {
        Self::Fail(error.into())
    }
}

/// [`atomically`], for work that may end without a change: `Ok(Err(value))` is what it returned by [`Stop::Return`], after
/// ROLLBACK. That also gives back the lock that PostgreSQL keeps on a row which no longer qualifies after the wait for it;
/// a breach response that held it would wait for another's gate.
pub(crate) fn unless_stopped<T, V>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection, Scope) -> Result<T, Stop<V>>,
) -> Result<Result<T, V>> {
    match atomically(conn, work) {
        Ok(made) => Ok(Ok(made)),
        Err(Stop::Return(value)) => Ok(Err(value)),
        Err(Stop::Fail(error)) => Err(error),
    }
}

/// Diesel wants an error that can be made of its own; `E` need not be.
#[derive(Debug)]
enum Failure<E> {
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
    fn into_error(self) -> E {
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
