#![doc = include_str!("../docs/links.md")]
#![doc = include_str!("../README.md")]

mod db;
mod error;
mod group;
#[cfg(doc)]
pub mod guide;
mod janitor;
#[cfg(any(feature = "metrics", feature = "tracing"))]
pub mod observe;
mod operations;
mod protocol;
mod repository;
mod retention;
/// The table, for Diesel queries of the host's own; joins need the one that `diesel print-schema` prints for it.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// use refresh_tokens::schema::refresh_tokens::dsl;
///
/// let ended_early: i64 = dsl::refresh_tokens.filter(dsl::revoked_at.is_not_null()).count().get_result(&mut *conn)?;
/// assert_eq!(ended_early, 0);
/// # Ok::<(), diesel::result::Error>(())
/// ```
pub mod schema;
#[cfg(feature = "secrets")]
mod service;
mod store;
mod telemetry;
mod values;

pub use error::{Error, InvalidInput, MAX_EXPIRY, Result, Wait};
pub use group::{GroupConfig, GroupRotator};
pub use janitor::{Janitor, JanitorConfig, JanitorStatistics};
pub use operations::{
    DurabilityRisk, build_indexes, drop_tables, migrate, verify_durability, verify_pooler, verify_schema,
};
pub use protocol::locked_token::LockedToken;
pub use repository::replica::{AsOf, ReplicaReader};
pub use repository::{RefreshTokenRepository, transaction::TokenTransaction};
pub use retention::{CleanupBudget, RetentionPolicy};
#[cfg(feature = "secrets")]
pub use service::{
    InvalidPepper, IssuedToken, Login, Pepper, Peppers, Refresh, RefreshCounts, RefreshOutcome, SessionPolicy,
    SessionService, usage::PepperUsage,
};
pub use store::{RefreshTokenStore, StoreConfig};
pub use values::{
    ArchivePartition, Binding, BreachResponse, CleanupCursor, CleanupEnd, CleanupReport, Durability, NewRefreshToken,
    OnReuse, Redemption, RefreshToken, Refusal, RetentionBacklog, ReuseKind, RevocationReport, RevokedReason, Rotation,
    RotationRequest, Session, SessionCursor, SessionLimit, SessionOptions, SessionPage, SessionQuery, SessionState,
    Successor, TokenHash, TokenRevocation, TokenState,
};
#[cfg(feature = "secrets")]
pub use values::{InvalidSecret, TokenSecret};
