//! What the tests, examples and benches of `refresh-tokens` share: a private PostgreSQL server, PgBouncer, a schema for
//! each test, sample values, and the reference's statements.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "a test without its database must fail loudly, and the errors are Diesel's"
)]

pub mod account;
pub mod binaries;
pub mod database;
pub mod doc;
pub mod effort;
pub mod faults;
pub mod modes;
pub mod pgbouncer;
pub mod race;
pub mod reference;
pub mod serializable;
pub mod server;
pub mod wire;

pub use database::{Database, shared_url};
pub use effort::{Effort, Sample};
pub use pgbouncer::PgBouncer;
pub use server::{Server, ServerError};
pub use wire::{Direction, Fault, Wire};
