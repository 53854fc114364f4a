//! Clean-up: what is due by a policy, taken within a budget; the archive and its partitions; what is left to do.
//!
//! Nothing here decides what is valid: a row is taken only when it is dead.

pub(crate) mod archive;
pub(crate) mod backlog;
pub(crate) mod budget;
pub(crate) mod policy;
pub(crate) mod sweep;
