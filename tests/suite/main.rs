//! The tests on a real server: a schema for each, in parallel, one binary.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how a test fails")]

mod adoption;
mod batches;
mod common;
mod contention;
mod cutoffs;
mod end_session;
mod failover;
mod flaws;
mod grace;
mod group;
mod guest;
mod indexes;
mod input;
mod invariants;
mod lost_answers;
mod migrations;
mod model;
mod other_sessions;
mod pgbouncer;
mod plans;
mod redeem;
mod reference;
mod retention;
mod revocations;
mod secret_storm;
mod secret_text;
mod secrets;
mod service;
mod session_limits;
mod sessions;
mod store;
mod storm;
mod threats;
mod verbs;
