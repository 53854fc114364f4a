//! The proofs as code: how a token is issued, rotated, repeated, found to be reused, and revoked.
//!
//! ARCHITECTURE.md has the arguments. What runs here is handed a connection; it opens no pool, knows no secret, and is
//! observed by who calls it.

pub(crate) mod gate;
pub(crate) mod issue;
pub(crate) mod locked_token;
pub(crate) mod lookup;
pub(crate) mod redeem;
pub(crate) mod repeat;
pub(crate) mod reuse;
pub(crate) mod revoke;
pub(crate) mod rotate;
pub(crate) mod rotate_many;
