//! How a statement, a transaction, a retry and the clock work on Diesel.
//!
//! Nothing here knows a method of the crate: what a statement is for is said in `protocol` and `retention`.

mod call;
mod clock;
mod fragments;
mod prepared;
pub(crate) mod retry;
mod statements;
mod transaction;

pub(crate) use call::Call;
pub(crate) use clock::{clock_timestamp, greatest, now};
pub(crate) use fragments::{live, spliced, unspent};
pub(crate) use prepared::Prepared;
pub(crate) use statements::{
    ChainPass, Create, EndSession, ListSessions, Rotate, RotateLocked, RotateMany, SessionPass,
};
pub(crate) use transaction::{
    Scope, Stop, atomically, in_default_isolation, read_committed, read_committed_step, require_read_committed, step,
    unless_stopped,
};

/// A count of the database's, which is never negative.
pub(crate) fn whole<T: TryFrom<i64> + Default>(rows: i64) -> T {
    T::try_from(rows).unwrap_or_default()
}
