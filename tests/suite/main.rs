//! The tests on a real server: a schema for each, in parallel, one binary.

mod verbs;
