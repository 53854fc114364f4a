//! The tests on a real server: a schema for each, in parallel, one binary.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how a test fails")]

mod adoption;
mod common;
mod flaws;
mod guest;
mod input;
mod invariants;
mod lost_answers;
mod migrations;
mod model;
mod plans;
mod reference;
mod revocations;
mod secrets;
mod store;
mod verbs;
