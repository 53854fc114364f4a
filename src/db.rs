//! How a statement, a transaction, a retry and the clock work on Diesel.
//!
//! Nothing here knows a method of the crate: what a statement is for is said in `protocol` and `retention`.

pub(crate) mod call;
pub(crate) mod clock;
pub(crate) mod fragments;
pub(crate) mod prepared;
pub(crate) mod retry;
pub(crate) mod statements;
pub(crate) mod transaction;

/// A count of the database's, which is never negative.
pub(crate) fn whole<T: TryFrom<i64> + Default>(rows: i64) -> T {
    T::try_from(rows).unwrap_or_default()
}
