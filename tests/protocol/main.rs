//! An exhaustive check of the protocol by which rotations, logins, revocations and clean-up meet on one table: not on
//! a server, but on a model of READ COMMITTED, in every order in which clients can take their steps.
//!
//! A step is a statement's snapshot, one of its row locks, a COMMIT or a ROLLBACK. Each configuration has a small table
//! and two to four clients, each of which calls one verb. `complete` shows that the protocol keeps its invariants;
//! `counterexamples`, that the model can see them broken: by the reference, and by the protocol without any one of its
//! cures. With `-- --nocapture` the tests print the size of each search, and the way to each flaw.
//!
//! What the model leaves out: transactions of a host that hold more locks than one verb takes, isolation above READ
//! COMMITTED, unique violations, the limit on passes, and the queue behind a lock (whoever waits may be next).

#![expect(clippy::panic, reason = "that is how a test fails")]

mod algorithm;
mod batch;
mod check;
mod client;
mod complete;
mod counterexamples;
mod database;
mod login;
mod model;
mod properties;
mod revocation;
mod rotation;
mod tables;
mod verb;
mod walk;
