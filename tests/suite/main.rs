//! The tests on a real server: a schema for each, in parallel, one binary.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how a test fails")]

// First, for its macro is in scope from there on.
#[macro_use]
mod modes;

mod adoption;
mod bad_input;
mod batches;
mod commit;
mod common;
mod contention;
mod cutoffs;
mod distributed;
mod durability;
mod end_session;
mod environment;
mod every_verb;
mod failover;
mod flaws;
mod forked;
mod grace;
mod group;
mod guest;
mod indexes;
mod input;
mod invariants;
mod killed_after_commit;
mod log_out;
mod lost_answers;
mod migrations;
mod model;
mod no_advisory_locks;
mod other_sessions;
mod pgbouncer;
mod plans;
mod redeem;
mod reference;
mod refusals;
mod replica;
mod retention;
mod revocations;
mod roles;
mod secret_storm;
mod secret_text;
mod secrets;
mod serializable;
mod service;
mod session_limits;
mod sessions;
mod store;
mod storm;
mod threats;
mod verbs;
mod what_is_held;
