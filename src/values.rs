//! What goes into the methods and comes out of them. Nothing here has a connection or does I/O.

pub(crate) mod binding;
pub(crate) mod cleanup;
pub(crate) mod instant;
pub(crate) mod new_token;
pub(crate) mod redemption;
pub(crate) mod request;
pub(crate) mod revocation;
pub(crate) mod revoked_reason;
pub(crate) mod rotation;
#[cfg(feature = "secrets")]
pub(crate) mod secret;
pub(crate) mod session;
pub(crate) mod successor;
pub(crate) mod token;
pub(crate) mod token_hash;
