//! Every method of the repository, on the store.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::repository::RefreshTokenRepository;
use crate::retention::{CleanupBudget, RetentionPolicy};
use crate::store::RefreshTokenStore;
use crate::values::{
    ArchivePartition, Binding, CleanupReport, NewRefreshToken, OnReuse, Redemption, RefreshToken, RetentionBacklog,
    RevocationReport, Rotation, RotationRequest, SessionPage, SessionQuery, Successor, TokenHash, TokenRevocation,
};

/// Gives the store each verb of the repository, on a pooled connection.
macro_rules! pooled_methods {
    ($by:ident: $($method:ident($($arg:ident: $type:ty),*) -> $returned:ty, $example:literal;)*) => {
        impl RefreshTokenStore {
            $(
                #[doc = concat!("[`RefreshTokenRepository::", stringify!($method), "`](crate::RefreshTokenRepository::", stringify!($method), ") on a pooled connection.")]
                ///
                /// # Errors
                ///
                /// As there.
                ///
                /// # Example
                ///
                /// ```
                /// # use refresh_tokens_support::doc::*;
                /// # let database = database();
                /// # let store = store(&database);
                /// # let token = store.create(&new_token())?;
                #[doc = $example]
                /// # Ok::<(), refresh_tokens::Error>(())
                /// ```
                pub fn $method(&self, $($arg: $type),*) -> Result<$returned> {
                    self.$by(stringify!($method), |call| RefreshTokenRepository::of(call.reborrow()).$method($($arg),*))
                }
            )*
        }
    };
}

pooled_methods! {
    retrying_as:
    create(new: &NewRefreshToken) -> RefreshToken,
        "let token = store.create(&new_token())?;";
    get_by_hash(hash: &TokenHash) -> Option<RefreshToken>,
        "assert_eq!(store.get_by_hash(&token.token_hash)?.unwrap().id, token.id);";
    get_valid_by_hash(hash: &TokenHash, binding: Binding) -> Option<RefreshToken>,
        "assert!(store.get_valid_by_hash(&token.token_hash, refresh_tokens::Binding::user(token.user_id))?.is_some());";
    check_token_reuse(hash: &TokenHash) -> Option<RefreshToken>,
        "assert!(store.check_token_reuse(&token.token_hash)?.is_none());";
    rotate(presented: &TokenHash, successor: &Successor, binding: Binding) -> Rotation,
        "let outcome = store.rotate(&token.token_hash, &successor(), refresh_tokens::Binding::ANY)?;\nassert!(matches!(outcome, refresh_tokens::Rotation::Rotated(_)));";
    redeem(presented: &TokenHash, successor: &Successor, binding: Binding, on_reuse: OnReuse) -> Redemption,
        "# use refresh_tokens::{Binding, OnReuse, Redemption};\nlet outcome = store.redeem(&token.token_hash, &successor(), Binding::ANY, OnReuse::RevokeSession)?;\nassert!(matches!(outcome, Redemption::Rotated { .. }));";
    revoke_token_chain(token_id: Uuid) -> RevocationReport,
        "assert_eq!(store.revoke_token_chain(token.id)?.tokens, 1);";
    revoke_session(session_id: Uuid) -> RevocationReport,
        "assert_eq!(store.revoke_session(token.session_id)?.sessions, 1);";
    revoke_session_by_hash(presented: &TokenHash) -> RevocationReport,
        "assert_eq!(store.revoke_session_by_hash(&token.token_hash)?.sessions, 1);";
    end_session(session_id: Uuid) -> RevocationReport,
        "assert_eq!(store.end_session(token.session_id)?.tokens, 1);";
    end_session_by_hash(presented: &TokenHash) -> RevocationReport,
        "assert_eq!(store.end_session_by_hash(&token.token_hash)?.tokens, 1);";
    revoke(token_id: Uuid) -> TokenRevocation,
        "assert!(store.revoke(token.id)?.is_revoked());";
    revoke_by_hash(hash: &TokenHash) -> TokenRevocation,
        "assert!(store.revoke_by_hash(&token.token_hash)?.is_revoked());";
    revoke_all_for_user(user_id: Uuid) -> RevocationReport,
        "assert_eq!(store.revoke_all_for_user(token.user_id)?.live, 1);";
    revoke_all_for_user_except(user_id: Uuid, keep_token_id: Uuid) -> RevocationReport,
        "assert_eq!(store.revoke_all_for_user_except(token.user_id, token.id)?.tokens, 0);";
    revoke_all_for_user_except_session(user_id: Uuid, session_id: Uuid) -> RevocationReport,
        "assert_eq!(store.revoke_all_for_user_except_session(token.user_id, token.session_id)?.tokens, 0);";
    revoke_all_for_user_in_org(user_id: Uuid, org_id: Uuid) -> RevocationReport,
        "assert_eq!(store.revoke_all_for_user_in_org(token.user_id, token.active_org_id)?.live, 1);";
    get_active_tokens_for_user(user_id: Uuid) -> Vec<RefreshToken>,
        "assert_eq!(store.get_active_tokens_for_user(token.user_id)?.len(), 1);";
    list_sessions(query: &SessionQuery) -> SessionPage,
        "let page = store.list_sessions(&refresh_tokens::SessionQuery::of_user(token.user_id))?;\nassert_eq!(page.sessions.len(), 1);";
    preview_cleanup(policy: &RetentionPolicy, budget: &CleanupBudget) -> CleanupReport,
        "# use refresh_tokens::{CleanupBudget, RetentionPolicy};\nlet report = store.preview_cleanup(&RetentionPolicy::default(), &CleanupBudget::default())?;\nassert_eq!(report.tokens(), 0);";
    retention_backlog(policy: &RetentionPolicy) -> RetentionBacklog,
        "assert_eq!(store.retention_backlog(&refresh_tokens::RetentionPolicy::default())?.expired_counted, 0);";
    create_archive_partitions(months_ahead: u32) -> Vec<String>,
        "assert_eq!(store.create_archive_partitions(0)?.len(), 1);";
    archive_partitions() -> Vec<ArchivePartition>,
        "assert!(store.archive_partitions()?.is_empty());";
    now() -> DateTime<Utc>,
        "assert!(store.now()? > token.created_at);";
}

impl RefreshTokenStore {
    /// [`RefreshTokenRepository::rotate_many`](crate::RefreshTokenRepository::rotate_many) on a pooled connection.
    ///
    /// A request that ends in [`Error::Conflict`] by itself is made again by itself.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// # let presented = store.create(&new_token())?.token_hash;
    /// use refresh_tokens::{Rotation, RotationRequest};
    ///
    /// let outcomes = store.rotate_many(&[RotationRequest::new(presented, successor())])?;
    /// assert!(matches!(outcomes[0], Ok(Rotation::Rotated(_))));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn rotate_many(&self, requests: &[RotationRequest]) -> Result<Vec<Result<Rotation>>> {
        let mut outcomes =
            self.retrying_as("rotate_many", |call| RefreshTokenRepository::of(call.reborrow()).rotate_many(requests))?;
        for (request, outcome) in requests.iter().zip(&mut outcomes) {
            if *outcome == Err(Error::Conflict) {
                *outcome = self.rotate(&request.presented, &request.successor, request.binding);
            }
        }
        Ok(outcomes)
    }
}

// These go step by step, each a transaction: run again as a whole, they would forget what they had done. They make each
// step again by themselves.
pooled_methods! {
    with_as:
    revoke_all_for_org(org_id: Uuid) -> RevocationReport,
        "assert_eq!(store.revoke_all_for_org(token.active_org_id)?.live, 1);";
    revoke_all_for_everyone() -> RevocationReport,
        "assert_eq!(store.revoke_all_for_everyone()?.live, 1);";
    cleanup_expired(older_than_days: i32) -> usize,
        "assert_eq!(store.cleanup_expired(30)?, 0);";
    cleanup(policy: &RetentionPolicy, budget: &CleanupBudget) -> CleanupReport,
        "# use refresh_tokens::{CleanupBudget, RetentionPolicy};\nlet report = store.cleanup(&RetentionPolicy::default(), &CleanupBudget::default())?;\nassert_eq!(report.tokens(), 0);";
    cleanup_with(policy: &RetentionPolicy, budget: &CleanupBudget, progress: impl FnMut(&CleanupReport) -> ControlFlow<()>) -> CleanupReport,
        "# use std::ops::ControlFlow;\n# use refresh_tokens::{CleanupBudget, RetentionPolicy};\nlet report = store.cleanup_with(&RetentionPolicy::default(), &CleanupBudget::default(), |_| ControlFlow::Continue(()))?;\nassert_eq!(report.batches, 1);";
    drop_archived_before(instant: DateTime<Utc>) -> Vec<ArchivePartition>,
        "assert!(store.drop_archived_before(token.created_at)?.is_empty());";
}
