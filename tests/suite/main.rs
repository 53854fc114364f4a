//! The tests on a real server: a schema for each, in parallel, one binary.

mod common;
mod flaws;
mod input;
mod invariants;
mod migrations;
mod verbs;
