#![doc = include_str!("../README.md")]

mod batch;
mod binding;
mod error;
mod gate;
mod group;
mod indexes;
mod input;
mod instant;
mod isolation;
mod issuance;
mod janitor;
mod login;
mod migrations;
mod models;
#[cfg(any(feature = "metrics", feature = "tracing"))]
pub mod observe;
#[cfg(not(any(feature = "metrics", feature = "tracing")))]
#[path = "observe/off.rs"]
mod observe;
mod outcome;
#[cfg(feature = "secrets")]
mod pepper;
mod pool;
mod pooler;
mod receipt;
mod redemption;
mod replica;
mod replication;
mod repository;
mod retention;
mod retry;
mod reuse;
mod revocation;
mod revoked_reason;
mod rotation;
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
mod secret;
#[cfg(feature = "secrets")]
mod service;
mod sessions;
mod statement;
mod successor;
mod token_hash;
mod transaction;

#[cfg(doc)]
#[doc = include_str!("../ARCHITECTURE.md")]
pub mod _architecture {}

#[cfg(doc)]
#[doc = include_str!("../RUNBOOK.md")]
pub mod _runbook {}

pub use batch::RotationRequest;
pub use binding::Binding;
pub use error::{Error, Result, Wait};
pub use group::{GroupConfig, GroupRotator};
pub use indexes::build_indexes;
pub use input::{InvalidInput, MAX_EXPIRY};
pub use janitor::{Janitor, JanitorConfig, JanitorStatistics};
pub use login::{NewRefreshToken, SessionLimit, SessionOptions};
pub use migrations::{drop_tables, migrate, verify_schema};
pub use models::{RefreshToken, TokenState};
pub use outcome::{Refusal, Rotation};
#[cfg(feature = "secrets")]
pub use pepper::{InvalidPepper, Pepper, Peppers};
pub use pool::{RefreshTokenStore, StoreConfig};
pub use pooler::verify_pooler;
pub use receipt::{RevocationReport, TokenRevocation};
pub use redemption::{BreachResponse, Durability, OnReuse, Redemption};
pub use replica::{AsOf, ReplicaReader};
pub use replication::{DurabilityRisk, verify_durability};
pub use repository::RefreshTokenRepository;
pub use retention::{
    ArchivePartition, CleanupBudget, CleanupCursor, CleanupEnd, CleanupReport, RetentionBacklog, RetentionPolicy,
};
pub use reuse::ReuseKind;
pub use revoked_reason::RevokedReason;
#[cfg(feature = "secrets")]
pub use secret::{InvalidSecret, TokenSecret};
#[cfg(feature = "secrets")]
pub use service::{
    IssuedToken, Login, PepperUsage, Refresh, RefreshCounts, RefreshOutcome, SessionPolicy, SessionService,
};
pub use sessions::{Session, SessionCursor, SessionPage, SessionQuery, SessionState};
pub use successor::Successor;
pub use token_hash::TokenHash;
pub use transaction::{LockedToken, TokenTransaction};
