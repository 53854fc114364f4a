//! Clean-up: what is due by a policy, taken within a budget; the archive and its partitions; what is left to do.
//!
//! Nothing here decides what is valid: a row is taken only when it is dead.

pub(crate) mod archive;
pub(crate) mod backlog;
mod budget;
mod policy;
pub(crate) mod sweep;

pub use budget::CleanupBudget;
pub(crate) use policy::Disposal;
pub use policy::RetentionPolicy;
