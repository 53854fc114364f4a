//! Spans, events and counters of what the methods do: told here, documented in `observe`.
//!
//! Without the features, `off` has the same functions, which call what they are given and nothing else.

#[cfg(any(feature = "metrics", feature = "tracing"))]
mod calls;
#[cfg(not(any(feature = "metrics", feature = "tracing")))]
#[path = "telemetry/off.rs"]
mod calls;
#[cfg(feature = "tracing")]
mod events;
mod ids;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
#[cfg(any(feature = "metrics", feature = "tracing"))]
pub(crate) mod outcome;

pub(crate) use calls::{
    batch, conflict_retry, failed_before_start, locking, observed, observed_transaction, waiting_for_pool,
};
pub(crate) use ids::Ids;
