//! What the library does, seen from outside: spans and events (feature `tracing`), counters, histograms and gauges
//! (feature `metrics`).
//!
//! A library reports to a facade, and the application chooses who listens: a subscriber of the crate `tracing`, a
//! recorder of the crate `metrics`. Without one, and without the features, nothing is measured. `RUNBOOK.md`
//! ([in this guide](crate::guide::runbook)) has the alerts; `examples/grafana.json` and `examples/alerts.yml` are
//! ready to be loaded, and `examples/prometheus.rs` shows the wiring.
//!
//! # Spans and events
//!
//! Their target is `refresh_tokens`. Each call of a verb is a span `verb`, level INFO, with the field `verb`, and of
//! `token_id`, `session_id`, `user_id` and `org_id` those that the caller gave; `otel.name` is the verb again, for
//! OpenTelemetry. Each outcome is an event in it, with the fields `verb`, `outcome` and `class` of the table below, the
//! ids of the token that it is about (of a rotation: the successor's), `seconds`, and where there are any, `figures` (the
//! report of a revocation or a clean-up) and `error`. **No hash and no secret is ever in them**; ids are.
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

#[cfg(feature = "metrics")]
mod gauges;

#[cfg(feature = "metrics")]
pub use gauges::{describe, record_group, record_janitor, record_pool};
