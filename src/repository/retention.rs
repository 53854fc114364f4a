//! The verbs that delete, archive, and say what there is to delete.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::repository::RefreshTokenRepository;
use crate::retention::sweep::{Callback, Mode};
use crate::retention::{CleanupBudget, RetentionPolicy, archive, backlog, sweep};
use crate::telemetry::{Ids, observed};
use crate::values::{ArchivePartition, CleanupReport, RetentionBacklog};

impl RefreshTokenRepository<'_> {
    /// Deletes the tokens that expired more than so many days ago; how many.
    ///
    /// Here for code that comes from the [Python service](crate::guide::python_service): new code calls
    /// [`cleanup`](Self::cleanup), with a policy and a budget.
    ///
    /// It goes by batches of 1,000 rows, each in a short transaction of its own; called inside a transaction of
    /// yours, that holds them all. Rows that others have locked are left for the next time, so any number of
    /// workers may run it. A day is a calendar day of the session's time zone. With a budget, a policy for rotated and
    /// revoked tokens, or an archive: [`cleanup`](Self::cleanup).
    ///
    /// Reuse of a deleted token is [`Refusal::NotFound`](crate::Refusal::NotFound): keep rows for as long as you
    /// want to notice it. What is left of a chain stays revocable to its end.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a negative number of days or more than 36,500. After an
    /// error in a later batch, those before it stay deleted.
    ///
    /// # Locking
    ///
    /// The rows of one batch at a time; it waits for nobody (`SKIP LOCKED`).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// let deleted = tokens.cleanup_expired(30)?;
    /// println!("{deleted} tokens that expired more than 30 days ago are gone");
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn cleanup_expired(&mut self, older_than_days: i32) -> Result<usize> {
        let report =
            observed("cleanup_expired", Ids::NONE, || sweep::cleanup_expired(self.call.conn, older_than_days))?;
        Ok(usize::try_from(report.tokens()).unwrap_or(usize::MAX))
    }

    /// Deletes or archives what a policy says is due, within a budget.
    ///
    /// Any number of workers may run it at once, beside every other verb: each batch is a short transaction that waits
    /// for nobody, and no row goes twice. What one run leaves, because its budget was used up or the process died,
    /// another finds. Tokens first, then cutoffs.
    ///
    /// Its COMMITs do not wait for the disk (`synchronous_commit = off`, for these transactions alone), so that those of
    /// others are not held up. If the server crashes, the batches of the last moments may be undone: each as a whole, so
    /// that their rows are where they were, and due.
    ///
    /// Inside a transaction of yours, nothing of that can be had: all batches are part of it, pauses are left out, rows
    /// stay locked until your COMMIT, and the report says
    /// [`Durability::PendingYourCommit`](crate::Durability::PendingYourCommit).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) if a time of the policy is out of its range, before anything
    /// is read; [`Error::ArchiveNotPrepared`](crate::Error::ArchiveNotPrepared) if the archive has no partition for
    /// this month. After an error, the batches before it stay done.
    ///
    /// # Locking
    ///
    /// As [`cleanup_expired`](Self::cleanup_expired); of cutoffs, those of one batch.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// use std::time::Duration;
    /// use chrono::TimeDelta;
    /// use refresh_tokens::{CleanupBudget, RetentionPolicy};
    ///
    /// let policy = RetentionPolicy::default().keep_rotated_for(TimeDelta::days(7));
    /// let budget = CleanupBudget::gentle().max_time(Duration::from_secs(60));
    /// let report = tokens.cleanup(&policy, &budget)?;
    /// println!("{report}");
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn cleanup(&mut self, policy: &RetentionPolicy, budget: &CleanupBudget) -> Result<CleanupReport> {
        self.cleanup_with(policy, budget, |_| ControlFlow::Continue(()))
    }

    /// [`cleanup`](Self::cleanup) that tells a callback after each batch how far it is, and can be ended by it.
    ///
    /// The callback is called between two transactions, with nothing locked. After
    /// [`ControlFlow::Break`] the run ends, and its report says where another one goes on.
    ///
    /// # Errors
    ///
    /// As [`cleanup`](Self::cleanup).
    ///
    /// # Locking
    ///
    /// As [`cleanup`](Self::cleanup).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// use std::ops::ControlFlow;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use refresh_tokens::{CleanupBudget, CleanupEnd, RetentionPolicy};
    ///
    /// let stop = AtomicBool::new(false); // a handler of signals sets it
    /// let report = tokens.cleanup_with(&RetentionPolicy::default(), &CleanupBudget::default(), |so_far| {
    ///     println!("{so_far}");
    ///     if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    /// })?;
    /// assert_eq!(report.end, Some(CleanupEnd::Complete));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn cleanup_with(
        &mut self,
        policy: &RetentionPolicy,
        budget: &CleanupBudget,
        progress: impl FnMut(&CleanupReport) -> ControlFlow<()>,
    ) -> Result<CleanupReport> {
        let mut watch = Callback(progress);
        observed("cleanup", Ids::NONE, || sweep::sweep(self.call.conn, policy, budget, Mode::Take, &mut watch))
    }

    /// Counts what [`cleanup`](Self::cleanup) would delete or archive, and changes nothing: a dry run.
    ///
    /// It reads what clean-up would, and locks nothing. A budget of rows ends it after the batch that has used it up.
    /// Cutoffs are not counted. For a figure without reading it all: [`retention_backlog`](Self::retention_backlog).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) as [`cleanup`](Self::cleanup).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// use chrono::TimeDelta;
    /// use refresh_tokens::{CleanupBudget, RetentionPolicy};
    ///
    /// for days in [7, 14, 30] {
    ///     let policy = RetentionPolicy::default().keep_rotated_for(TimeDelta::days(days));
    ///     let report = tokens.preview_cleanup(&policy, &CleanupBudget::default())?;
    ///     println!("kept for {days} days: {report}");
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn preview_cleanup(&mut self, policy: &RetentionPolicy, budget: &CleanupBudget) -> Result<CleanupReport> {
        observed("preview_cleanup", Ids::NONE, || {
            let mut watch = Callback(|_: &CleanupReport| ControlFlow::Continue(()));
            sweep::sweep(self.call.conn, policy, budget, Mode::Preview, &mut watch)
        })
    }

    /// What clean-up by a policy has before it, at a glance: counts that are bounded, and estimates.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) as [`cleanup`](Self::cleanup).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// use refresh_tokens::RetentionPolicy;
    ///
    /// let backlog = tokens.retention_backlog(&RetentionPolicy::default())?;
    /// assert_eq!(backlog.expired_counted, 0);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn retention_backlog(&mut self, policy: &RetentionPolicy) -> Result<RetentionBacklog> {
        observed("retention_backlog", Ids::NONE, || backlog::backlog(self.call.conn, policy))
    }

    /// Makes the archive's partitions of this month and so many after it; the names of those that were missing.
    ///
    /// A month is one of UTC. Where all are there it only looks; to make one, the role must own
    /// `refresh_tokens_archive` and be allowed to make tables in its schema. Any number of processes may run it at
    /// once.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for more than 120 months;
    /// [`Error::SchemaMissing`](crate::Error::SchemaMissing) where there is no archive.
    ///
    /// # Locking
    ///
    /// `SHARE UPDATE EXCLUSIVE` on the archive while it makes one: nobody who archives or reads waits.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// assert_eq!(tokens.create_archive_partitions(2)?.len(), 3); // this month and the next two
    /// assert!(tokens.create_archive_partitions(2)?.is_empty());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn create_archive_partitions(&mut self, months_ahead: u32) -> Result<Vec<String>> {
        observed("create_archive_partitions", Ids::NONE, || archive::create_partitions(self.call.conn, months_ahead))
    }

    /// The archive's partitions, oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::SchemaMissing`](crate::Error::SchemaMissing) where there is no archive.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// for month in tokens.archive_partitions()? {
    ///     println!("{}: about {} rows, {} bytes", month.name, month.rows, month.bytes);
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn archive_partitions(&mut self) -> Result<Vec<ArchivePartition>> {
        observed("archive_partitions", Ids::NONE, || archive::partitions(self.call.conn))
    }

    /// Drops the archive's partitions that end by an instant, **and every row in them**; what they were.
    ///
    /// Whatever their size, that is a matter of milliseconds, and no row of the table is touched. Called with the
    /// instant of two years ago, it leaves what was archived in the last two years, and the rest of the month before.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) if the instant lies in the future of the database's clock;
    /// [`Error::SchemaMissing`](crate::Error::SchemaMissing) where there is no archive. After an error, partitions that were
    /// dropped before it stay dropped.
    ///
    /// # Locking
    ///
    /// `ACCESS EXCLUSIVE` on the archive, for one partition at a time: it waits for whoever reads or archives, and they
    /// for it. Give the connection a `lock_timeout`.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// use chrono::Months;
    ///
    /// let two_years_ago = tokens.now()? - Months::new(24);
    /// for month in tokens.drop_archived_before(two_years_ago)? {
    ///     println!("{} is gone", month.name);
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn drop_archived_before(&mut self, instant: DateTime<Utc>) -> Result<Vec<ArchivePartition>> {
        observed("drop_archived_before", Ids::NONE, || archive::drop_before(self.call.conn, instant))
    }
}
