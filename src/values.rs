//! What goes into the methods and comes out of them. Nothing here has a connection or does I/O.

mod binding;
mod cleanup;
mod instant;
mod new_token;
mod redemption;
mod request;
mod revocation;
mod revoked_reason;
mod rotation;
#[cfg(feature = "secrets")]
mod secret;
mod session;
mod successor;
mod token;
mod token_hash;

pub use binding::Binding;
pub use cleanup::{ArchivePartition, CleanupCursor, CleanupEnd, CleanupReport, RetentionBacklog};
pub(crate) use instant::{Instant, MaybeInstant};
pub(crate) use new_token::Beyond;
pub use new_token::{NewRefreshToken, SessionLimit, SessionOptions};
pub use redemption::{BreachResponse, Durability, OnReuse, Redemption, ReuseKind};
pub use request::RotationRequest;
pub use revocation::{RevocationReport, TokenRevocation};
pub use revoked_reason::RevokedReason;
pub use rotation::{Refusal, Rotation};
#[cfg(feature = "secrets")]
pub(crate) use secret::SecretBytes;
#[cfg(feature = "secrets")]
pub use secret::{InvalidSecret, TokenSecret};
pub use session::{Session, SessionCursor, SessionPage, SessionQuery, SessionState};
pub use successor::Successor;
pub use token::{RefreshToken, TokenState};
pub use token_hash::TokenHash;
