//! What an operator or a start-up does: migrations and checks of schema, indexes, durability and pooler.
//!
//! These take a connection and a transaction of their own; no request waits for them.

mod durability;
mod indexes;
mod migrations;
mod pooler;
mod verify;

pub use durability::{DurabilityRisk, verify_durability};
pub use indexes::build_indexes;
pub use migrations::{drop_tables, migrate};
pub(crate) use pooler::check_bounds;
pub use pooler::verify_pooler;
pub use verify::verify_schema;
