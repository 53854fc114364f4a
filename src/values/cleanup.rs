//! What a run of clean-up did and where it ended, what is left for it, and what it archived.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::pg::data_types::PgTimestamp;

use crate::values::redemption::Durability;

/// What a run of clean-up has done, so far or in all.
///
/// Holds counts alone, so it can be logged as it is.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// use refresh_tokens::{CleanupBudget, CleanupEnd, RetentionPolicy};
///
/// let report = tokens.cleanup(&RetentionPolicy::default(), &CleanupBudget::default())?;
/// assert_eq!((report.tokens(), report.end), (0, Some(CleanupEnd::Complete)));
/// assert_eq!(report.to_string(), "0 tokens gone (0 expired, 0 rotated, 0 revoked), 0 cutoffs, in 1 batch");
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanupReport {
    /// Tokens that went because they had expired, whatever else became of them.
    pub expired: u64,
    /// Tokens that went before that, because they had been rotated.
    pub rotated: u64,
    /// Tokens that went before that, because they had been revoked.
    pub revoked: u64,
    /// Records of revocations that went ([`RetentionPolicy::keep_cutoffs_for`](crate::RetentionPolicy::keep_cutoffs_for)).
    pub cutoffs: u64,
    /// Statements that it took: each, but for a caller's transaction, a transaction.
    pub batches: u64,
    /// Why the run ended; `None` while it goes on.
    pub end: Option<CleanupEnd>,
    /// Where another run goes on, if this one did not come to the end.
    pub next: Option<CleanupCursor>,
    /// Whether it is committed: inside a transaction of yours, your COMMIT decides, and until then every row that
    /// went stays locked, so that it is not what bounded batches are for.
    pub durability: Durability,
}

/// Why a run of clean-up ended.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// use refresh_tokens::{CleanupBudget, CleanupEnd, RetentionPolicy};
///
/// let none = CleanupBudget::default().max_rows(0);
/// assert_eq!(tokens.cleanup(&RetentionPolicy::default(), &none)?.end, Some(CleanupEnd::RowBudget));
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CleanupEnd {
    /// Nothing more is due, but for rows that others had locked.
    Complete,
    /// [`CleanupBudget::max_rows`](crate::CleanupBudget::max_rows) is used up.
    RowBudget,
    /// [`CleanupBudget::max_time`](crate::CleanupBudget::max_time) is used up.
    TimeBudget,
    /// The callback said so, or the [`Janitor`](crate::Janitor) was stopped.
    Interrupted,
}

/// Where a run of clean-up has come to.
///
/// # Example
///
/// ```
/// use refresh_tokens::{CleanupBudget, CleanupCursor};
///
/// fn go_on(place: CleanupCursor) -> CleanupBudget {
///     CleanupBudget::default().resume_from(place)
/// }
/// # let _ = go_on;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupCursor(
    /// The expiry from which on it has not looked at everything.
    pub(crate) PgTimestamp,
);

impl CleanupCursor {
    /// Before every row: PostgreSQL's `-infinity`.
    pub(crate) const START: Self = Self(PgTimestamp(i64::MIN));
}

impl CleanupReport {
    pub(crate) const EMPTY: Self = Self {
        expired: 0,
        rotated: 0,
        revoked: 0,
        cutoffs: 0,
        batches: 0,
        end: None,
        next: None,
        durability: Durability::Committed,
    };

    /// Tokens that went, for whatever reason.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # use refresh_tokens::{CleanupBudget, RetentionPolicy};
    /// let report = tokens.cleanup(&RetentionPolicy::default(), &CleanupBudget::default())?;
    /// assert_eq!(report.tokens(), report.expired + report.rotated + report.revoked);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn tokens(&self) -> u64 {
        self.expired + self.rotated + self.revoked
    }
}

impl fmt::Display for CleanupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expired, rotated, revoked, cutoffs, batches, .. } = self;
        let plural = if *batches == 1 { "" } else { "es" };
        write!(
            f,
            "{} tokens gone ({expired} expired, {rotated} rotated, {revoked} revoked), {cutoffs} cutoffs, \
             in {batches} batch{plural}",
            self.tokens()
        )
    }
}

/// What clean-up by a policy has before it.
///
/// Cheap at any size: it reads at most 10,000 entries of an index, and the planner's statistics. For alerts,
/// [`behind`](Self::behind) is the figure: it grows where clean-up does not keep up, whatever the size.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// use chrono::TimeDelta;
/// use refresh_tokens::RetentionPolicy;
///
/// let backlog = tokens.retention_backlog(&RetentionPolicy::default())?;
/// assert!(backlog.behind < TimeDelta::days(1), "clean-up does not keep up: {backlog:?}");
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionBacklog {
    /// Tokens that have expired long enough ago, counted; no more than [`Self::MAX_COUNTED`] are.
    pub expired_counted: u64,
    /// The same by the planner's statistics, which ANALYZE takes: right to a few percent of the table.
    pub expired_estimate: u64,
    /// Rotated tokens that are due before their expiry, by the same statistics; 0 without
    /// [`keep_rotated_for`](crate::RetentionPolicy::keep_rotated_for).
    pub rotated_estimate: u64,
    /// Revoked tokens that are due before their expiry, by the same statistics; 0 without
    /// [`keep_revoked_for`](crate::RetentionPolicy::keep_revoked_for).
    pub revoked_estimate: u64,
    /// For how long the token has been due that expired first; zero where none is.
    pub behind: TimeDelta,
    /// Rows of the table, by the same statistics.
    pub table_rows: u64,
    /// Deleted and superseded rows that VACUUM has not yet made room of, by the server's count.
    pub dead_rows: u64,
    /// What the table takes of the disk, in bytes, without its indexes.
    pub table_bytes: u64,
    /// What its indexes take, in bytes.
    pub index_bytes: u64,
}

impl RetentionBacklog {
    /// The most expired tokens that are counted; what is more is left to the estimate.
    ///
    /// # Example
    ///
    /// ```
    /// assert_eq!(refresh_tokens::RetentionBacklog::MAX_COUNTED, 10_000);
    /// ```
    pub const MAX_COUNTED: u64 = 10_000;
}

/// A partition of `refresh_tokens_archive`: what was archived in one month (UTC).
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// tokens.create_archive_partitions(0)?;
/// let months = tokens.archive_partitions()?;
/// assert!(months[0].begins_at < months[0].ends_at);
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchivePartition {
    /// Its table, with the schema where the `search_path` does not lead there.
    pub name: String,
    /// It holds what was archived at or after this instant (UTC).
    pub begins_at: DateTime<Utc>,
    /// It holds what was archived before this instant (UTC).
    pub ends_at: DateTime<Utc>,
    /// How many rows it holds, by the server's last count (VACUUM or ANALYZE); 0 before the first one.
    pub rows: u64,
    /// What it takes of the disk in bytes, indexes included.
    pub bytes: u64,
}
