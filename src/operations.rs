//! What an operator or a start-up does: migrations and checks of schema, indexes, durability and pooler.
//!
//! These take a connection and a transaction of their own; no request waits for them.

pub(crate) mod durability;
pub(crate) mod indexes;
pub(crate) mod migrations;
pub(crate) mod pooler;
pub(crate) mod verify;
