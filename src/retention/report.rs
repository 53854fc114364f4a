//! What a run of clean-up did, and where it ended.

use std::fmt;

use diesel::pg::data_types::PgTimestamp;

use crate::redemption::Durability;

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
    pub(super) PgTimestamp,
);

impl CleanupCursor {
    /// Before every row: PostgreSQL's `-infinity`.
    pub(super) const START: Self = Self(PgTimestamp(i64::MIN));
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
