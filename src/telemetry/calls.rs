//! Runs a method's body and tells what came of it.

#[cfg(feature = "metrics")]
use std::time::Duration;
use std::time::Instant;

use crate::error::{Error, Result};
#[cfg(feature = "tracing")]
use crate::telemetry::events;
use crate::telemetry::ids::Ids;
#[cfg(feature = "metrics")]
use crate::telemetry::metrics;
use crate::telemetry::outcome::{Event, Outcome};

/// The one place through which every verb goes: its span, its time, and what came of it.
pub(crate) fn observed<T: Outcome>(verb: &'static str, ids: Ids, work: impl FnOnce() -> Result<T>) -> Result<T> {
    measured(verb, ids, work, |result, emit| match result {
        Ok(value) => value.each(verb, emit),
        Err(error) => emit(&Event::of_error(error)),
    })
}

/// [`observed`] for a transaction around verbs and the host's own work, whose value and error are the host's.
pub(crate) fn observed_transaction<T, E>(
    verb: &'static str,
    library_error: impl FnOnce(&E) -> Option<&Error>,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    measured(verb, Ids::NONE, work, |result, emit| match result {
        Ok(_) => emit(&Event::unchanged("done")),
        Err(error) => emit(&library_error(error).map_or(Event::refused("rolled_back"), Event::of_error)),
    })
}

fn measured<R>(
    verb: &'static str,
    ids: Ids,
    work: impl FnOnce() -> R,
    judge: impl FnOnce(&R, &mut dyn FnMut(&Event<'_>)),
) -> R {
    #[cfg(feature = "tracing")]
    let _in_span = events::span(verb, ids).entered();
    #[cfg(not(feature = "tracing"))]
    let _ = ids;
    let began = Instant::now();
    let result = work();
    let took = began.elapsed();
    #[cfg(feature = "metrics")]
    metrics::time(verb, took);
    judge(&result, &mut |event| {
        #[cfg(feature = "tracing")]
        events::tell(verb, event, Some(took));
        #[cfg(feature = "metrics")]
        metrics::count(verb, event);
    });
    result
}

/// A call that ended before it had a connection.
pub(crate) fn failed_before_start(verb: &'static str, error: &Error) {
    let event = Event::of_error(error);
    #[cfg(feature = "tracing")]
    events::tell(verb, &event, None);
    #[cfg(feature = "metrics")]
    metrics::count(verb, &event);
}

/// A statement that waits for somebody's lock.
pub(crate) fn locking<T>(lock: &'static str, statement: impl FnOnce() -> T) -> T {
    #[cfg(feature = "metrics")]
    return timed(statement, |took| metrics::locked(lock, took));
    #[cfg(not(feature = "metrics"))]
    return {
        let _ = lock;
        statement()
    };
}

/// The wait for a pooled connection.
pub(crate) fn waiting_for_pool<T>(take: impl FnOnce() -> T) -> T {
    #[cfg(feature = "metrics")]
    return timed(take, metrics::had_connection);
    #[cfg(not(feature = "metrics"))]
    take()
}

#[cfg(feature = "metrics")]
fn timed<T>(work: impl FnOnce() -> T, note: impl FnOnce(Duration)) -> T {
    let began = Instant::now();
    let value = work();
    note(began.elapsed());
    value
}

/// A transaction that the server rolled back is run again.
pub(crate) fn conflict_retry() {
    #[cfg(feature = "metrics")]
    metrics::conflict_retry();
}

/// A group sends so many rotations together.
pub(crate) fn batch(rotations: usize) {
    #[cfg(feature = "metrics")]
    metrics::batch(rotations);
    #[cfg(not(feature = "metrics"))]
    let _ = rotations;
}
