//! What the library does, seen from outside: spans and events (feature `tracing`), counters, histograms and gauges
//! (feature `metrics`).
//!
//! A library reports to a facade, and the application chooses who listens: a subscriber of the crate `tracing`, a
//! recorder of the crate `metrics`. Without one, and without the features, nothing is measured. `RUNBOOK.md`
//! ([`_runbook`](crate::_runbook) in these docs) has the alerts; `examples/grafana.json` and `examples/alerts.yml` are
//! ready to be loaded, and `examples/prometheus.rs` shows the wiring.
//!
//! # Spans and events
//!
//! Their target is `refresh_tokens`. Each call of a verb is a span `verb`, level INFO, with the field `verb`, and of
//! `token_id`, `session_id`, `user_id` and `org_id` those that the caller gave; `otel.name` is the verb again, for
//! OpenTelemetry. Each outcome is an event in it, with the fields `verb`, `outcome` and `class` of the table below, the
//! ids of the token that it is about (of a rotation: the successor's), `seconds`, and where there are any, `figures` (a
//! receipt, a report of clean-up) and `error`. **No hash and no secret is ever in them**; ids are.
//!
//! | class | level | what it holds |
//! |---|---|---|
//! | `done` | INFO, or DEBUG where nothing was changed | what was asked for |
//! | `refused` | INFO | a token or login that is not let in, for an everyday reason; a group that was shut down |
//! | `alarm` | **WARN** | reuse, and a token that was presented by somebody else than it is bound to |
//! | `transient` | **WARN** | an error of which [`is_transient`](crate::Error::is_transient) is true |
//! | `failed` | **ERROR** | any other error |
//!
//! `tracing`'s own filters choose: `refresh_tokens=warn` is what a human should look at,
//! `refresh_tokens[verb{verb=redeem}]` one verb.
//!
#![cfg_attr(feature = "metrics", doc = include_str!("observe/metrics.md"))]

#[cfg(feature = "tracing")]
mod events;
#[cfg(feature = "metrics")]
mod metrics;
mod outcome;

#[cfg(feature = "metrics")]
use std::time::Duration;
use std::time::Instant;

use uuid::Uuid;

use crate::binding::Binding;
use crate::error::{Error, Result};
use crate::models::RefreshToken;

#[cfg(feature = "metrics")]
pub use metrics::{describe, record_group, record_janitor, record_pool};

use outcome::{Outcome, Seen};

/// What a call or an outcome is about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ids {
    token: Option<Uuid>,
    session: Option<Uuid>,
    user: Option<Uuid>,
    org: Option<Uuid>,
}

impl Ids {
    pub(crate) const NONE: Self = Self { token: None, session: None, user: None, org: None };

    pub(crate) const fn token(id: Uuid) -> Self {
        Self { token: Some(id), ..Self::NONE }
    }

    pub(crate) const fn session(id: Uuid) -> Self {
        Self { session: Some(id), ..Self::NONE }
    }

    pub(crate) const fn user(id: Uuid) -> Self {
        Self { user: Some(id), ..Self::NONE }
    }

    pub(crate) const fn org(id: Uuid) -> Self {
        Self { org: Some(id), ..Self::NONE }
    }

    pub(crate) const fn bound(binding: Binding) -> Self {
        Self { user: binding.user_id, org: binding.org_id, ..Self::NONE }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            token: self.token.or(other.token),
            session: self.session.or(other.session),
            user: self.user.or(other.user),
            org: self.org.or(other.org),
        }
    }
}

impl From<&RefreshToken> for Ids {
    fn from(token: &RefreshToken) -> Self {
        Self {
            token: Some(token.id),
            session: Some(token.session_id),
            user: Some(token.user_id),
            org: Some(token.active_org_id),
        }
    }
}

/// The one place through which every verb goes: its span, its time, and what came of it.
pub(crate) fn observed<T: Outcome>(verb: &'static str, ids: Ids, work: impl FnOnce() -> Result<T>) -> Result<T> {
    measured(verb, ids, work, |result, tell| match result {
        Ok(value) => value.each(verb, tell),
        Err(error) => tell(&Seen::of_error(error)),
    })
}

/// [`observed`] for a transaction around verbs and the host's own work, whose value and error are the host's.
pub(crate) fn observed_transaction<T, E>(
    verb: &'static str,
    library_error: impl FnOnce(&E) -> Option<&Error>,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    measured(verb, Ids::NONE, work, |result, tell| match result {
        Ok(_) => tell(&Seen::unchanged("done")),
        Err(error) => tell(&library_error(error).map_or(Seen::refused("rolled_back"), Seen::of_error)),
    })
}

fn measured<R>(
    verb: &'static str,
    ids: Ids,
    work: impl FnOnce() -> R,
    judge: impl FnOnce(&R, &mut dyn FnMut(&Seen<'_>)),
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
    judge(&result, &mut |seen| {
        #[cfg(feature = "tracing")]
        events::event(verb, seen, Some(took));
        #[cfg(feature = "metrics")]
        metrics::count(verb, seen);
    });
    result
}

/// A call that ended before it had a connection.
pub(crate) fn not_begun(verb: &'static str, error: &Error) {
    let seen = Seen::of_error(error);
    #[cfg(feature = "tracing")]
    events::event(verb, &seen, None);
    #[cfg(feature = "metrics")]
    metrics::count(verb, &seen);
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
pub(crate) fn made_again() {
    #[cfg(feature = "metrics")]
    metrics::made_again();
}

/// A group sends so many rotations together.
pub(crate) fn batch(rotations: usize) {
    #[cfg(feature = "metrics")]
    metrics::batch(rotations);
    #[cfg(not(feature = "metrics"))]
    let _ = rotations;
}
