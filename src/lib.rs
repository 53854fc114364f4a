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

pub use error::{Error, Result, Wait, input::InvalidInput, input::MAX_EXPIRY};
pub use group::{GroupRotator, config::GroupConfig};
pub use janitor::{Janitor, JanitorStatistics, config::JanitorConfig};
pub use operations::durability::{DurabilityRisk, verify_durability};
pub use operations::migrations::{drop_tables, migrate};
pub use operations::{indexes::build_indexes, pooler::verify_pooler, verify::verify_schema};
pub use protocol::locked_token::LockedToken;
pub use repository::replica::{AsOf, ReplicaReader};
pub use repository::{RefreshTokenRepository, transaction::TokenTransaction};
pub use retention::{budget::CleanupBudget, policy::RetentionPolicy};
#[cfg(feature = "secrets")]
pub use service::{
    SessionService, counts::RefreshCounts, counts::RefreshOutcome, login::Login, outcome::IssuedToken,
    outcome::Refresh, pepper::InvalidPepper, pepper::Pepper, pepper::Peppers, policy::SessionPolicy,
    usage::PepperUsage,
};
pub use store::{RefreshTokenStore, config::StoreConfig};
pub use values::cleanup::{ArchivePartition, CleanupCursor, CleanupEnd, CleanupReport, RetentionBacklog};
pub use values::new_token::{NewRefreshToken, SessionLimit, SessionOptions};
pub use values::redemption::{BreachResponse, Durability, OnReuse, Redemption, ReuseKind};
pub use values::revocation::{RevocationReport, TokenRevocation};
pub use values::rotation::{Refusal, Rotation};
#[cfg(feature = "secrets")]
pub use values::secret::{InvalidSecret, TokenSecret};
pub use values::session::{Session, SessionCursor, SessionPage, SessionQuery, SessionState};
pub use values::token::{RefreshToken, TokenState};
pub use values::{binding::Binding, request::RotationRequest, revoked_reason::RevokedReason};
pub use values::{successor::Successor, token_hash::TokenHash};
