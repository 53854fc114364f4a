//! What the library reports, against the tables in which it is documented: real verbs, on a real server.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how a test fails")]

mod errors;
mod exchange;
mod figures;
mod files;
mod janitor;
mod locks;
mod one_by_one;
mod outcomes;
mod scene;
mod secrecy;
mod table;
mod upkeep;
mod watch;
