//! What stands in the place of `calls` without the features: nothing that is left after compilation.

use crate::error::{Error, Result};
use crate::telemetry::ids::Ids;

#[inline]
pub(crate) fn observed<T>(_: &'static str, _: Ids, work: impl FnOnce() -> Result<T>) -> Result<T> {
    work()
}

#[inline]
pub(crate) fn observed_transaction<T, E>(
    _: &'static str,
    _: impl FnOnce(&E) -> Option<&Error>,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    work()
}

#[inline]
pub(crate) fn locking<T>(_: &'static str, statement: impl FnOnce() -> T) -> T {
    statement()
}

#[inline]
pub(crate) fn waiting_for_pool<T>(take: impl FnOnce() -> T) -> T {
    take()
}

#[inline]
pub(crate) const fn failed_before_start(_: &'static str, _: &Error) {}

#[inline]
pub(crate) const fn conflict_retry() {}

#[inline]
pub(crate) const fn batch(_: usize) {}
