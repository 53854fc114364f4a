//! How much one run of clean-up may do.

use std::time::Duration;

use crate::values::CleanupCursor;

/// How much one run of clean-up may do, and how gently.
///
/// A run goes by batches, each a short transaction of its own, and ends when nothing is due or a budget is used up.
/// What it has done by then stays done; another run goes on.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use refresh_tokens::CleanupBudget;
///
/// let nightly = CleanupBudget::gentle().max_time(Duration::from_secs(3_600));
/// # let _ = nightly;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a budget does nothing until clean-up is called with it"]
pub struct CleanupBudget {
    pub(super) batch: u32,
    pub(super) max_rows: Option<u64>,
    pub(super) max_time: Option<Duration>,
    pub(super) pause: Duration,
    pub(super) after: Option<CleanupCursor>,
}

/// Enough to make round trips cheap, few enough to hold locks for milliseconds.
const BATCH: u32 = 1_000;

/// So few that who waits for the disk behind one hardly notices.
const GENTLE_BATCH: u32 = 500;
const GENTLE_PAUSE: Duration = Duration::from_millis(20);

/// Beyond it, a batch would be what it is there to avoid.
const MAX_BATCH: u32 = 10_000;

impl Default for CleanupBudget {
    fn default() -> Self {
        Self { batch: BATCH, max_rows: None, max_time: None, pause: Duration::ZERO, after: None }
    }
}

impl CleanupBudget {
    /// A budget for beside the others: batches of 500 rows and a pause of 20 ms between two, which is some 70 million rows an
    /// hour.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::CleanupBudget;
    /// # use std::time::Duration;
    /// let gentle = CleanupBudget::default().batch(500).pause(Duration::from_millis(20));
    /// assert_eq!(CleanupBudget::gentle(), gentle);
    /// ```
    pub fn gentle() -> Self {
        Self::default().batch(GENTLE_BATCH).pause(GENTLE_PAUSE)
    }

    /// The most rows that one transaction deletes or archives, and how many it looks at, those of one instant together.
    ///
    /// Defaults to 1,000; 0 counts as 1, and more than 10,000 as 10,000.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::CleanupBudget;
    /// assert_eq!(CleanupBudget::default().batch(1_000), CleanupBudget::default());
    /// ```
    pub fn batch(mut self, rows: u32) -> Self {
        self.batch = rows.clamp(1, MAX_BATCH);
        self
    }

    /// The most tokens that one run deletes or archives.
    ///
    /// Defaults to no limit. It is exact. Cutoffs do not count.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::CleanupBudget;
    /// let budget = CleanupBudget::default().max_rows(1_000_000);
    /// # let _ = budget;
    /// ```
    pub fn max_rows(mut self, rows: u64) -> Self {
        self.max_rows = Some(rows);
        self
    }

    /// How long one run goes on: it begins no batch once so much time has passed, but always makes one.
    ///
    /// Defaults to no limit.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::CleanupBudget;
    /// # use std::time::Duration;
    /// let budget = CleanupBudget::default().max_time(Duration::from_secs(60));
    /// # let _ = budget;
    /// ```
    pub fn max_time(mut self, time: Duration) -> Self {
        self.max_time = Some(time);
        self
    }

    /// How long it rests between two batches, holding nothing, so that others have the server's disk and processors.
    ///
    /// Defaults to no rest. Inside a transaction of yours there is none: it would only hold your locks for longer.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::CleanupBudget;
    /// # use std::time::Duration;
    /// let budget = CleanupBudget::default().pause(Duration::from_millis(20));
    /// # let _ = budget;
    /// ```
    pub fn pause(mut self, rest: Duration) -> Self {
        self.pause = rest;
        self
    }

    /// Goes on where a run ended: [`CleanupReport::next`](crate::CleanupReport::next) of it.
    ///
    /// Defaults to the start, from where whatever is due is found, too, after a walk over the rows that are kept before
    /// it.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// use refresh_tokens::{CleanupBudget, RetentionPolicy};
    ///
    /// let policy = RetentionPolicy::default();
    /// let mut budget = CleanupBudget::default().max_rows(10_000);
    /// while let Some(place) = tokens.cleanup(&policy, &budget)?.next {
    ///     budget = budget.resume_from(place); // after whatever else there is to do
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn resume_from(mut self, place: CleanupCursor) -> Self {
        self.after = Some(place);
        self
    }
}
