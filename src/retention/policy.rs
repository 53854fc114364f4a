//! What clean-up deletes, and what becomes of it.

use chrono::TimeDelta;
use diesel::pg::data_types::PgInterval;

use crate::error::{InvalidInput, days_in_range, lifetime_in_range, retention_in_range};

/// How long tokens are kept after they are of no more use, and whether they are archived then.
///
/// Three clocks run, each for its own kind of row:
///
/// | a row | goes | until then, presenting it is | and afterwards |
/// |---|---|---|---|
/// | that expired | [`keep_expired_for`](Self::keep_expired_for) after its expiry | [`Refusal::Expired`](crate::Refusal::Expired), or what it was before | [`Refusal::NotFound`](crate::Refusal::NotFound) |
/// | that was rotated | [`keep_rotated_for`](Self::keep_rotated_for) after that, or when it has expired long enough | reuse: noticed, answered by the breach response | `NotFound`: a thief with it gets nothing, and nobody is told |
/// | that was revoked unrotated: the last of its session | [`keep_revoked_for`](Self::keep_revoked_for) after that, or when it has expired long enough | [`Refusal::Revoked`](crate::Refusal::Revoked); an ended session with its reason in [`list_sessions`](crate::RefreshTokenRepository::list_sessions) | `NotFound`; the session is listed by what is left of it, or not at all |
/// | that is live | never | | |
///
/// Nothing that goes makes a token valid again, and what is left of a session stays revocable to its end. What is lost
/// is evidence: reuse is noticed for as long as the spent token is kept. A session that is refreshed every 15 minutes
/// leaves 2,880 rows a month; kept for a week after their rotation, they are 672.
///
/// # Example
///
/// ```
/// use chrono::TimeDelta;
/// use refresh_tokens::RetentionPolicy;
///
/// let policy = RetentionPolicy::default()    // what expired more than 30 days ago
///     .keep_rotated_for(TimeDelta::days(7))       // and, long before, what was spent a week ago
///     .longest_lifetime(TimeDelta::days(30)) // as the host issues them
///     .archive();
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a policy does nothing until clean-up is called with it"]
pub struct RetentionPolicy {
    expired: Expired,
    rotated: Option<TimeDelta>,
    revoked: Option<TimeDelta>,
    longest_lifetime: Option<TimeDelta>,
    cutoffs: Option<TimeDelta>,
    disposal: Disposal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expired {
    /// Calendar days of the session's time zone, as the reference counts them.
    Days(i32),
    For(TimeDelta),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposal {
    Delete,
    Archive,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        Self::expired_days(30)
    }
}

impl RetentionPolicy {
    /// What `cleanup_expired` does.
    pub(crate) fn expired_days(days: i32) -> Self {
        Self {
            expired: Expired::Days(days),
            rotated: None,
            revoked: None,
            longest_lifetime: None,
            cutoffs: None,
            disposal: Disposal::Delete,
        }
    }

    /// How long after its expiry a token is kept, whatever else became of it.
    ///
    /// Defaults to 30 days, which are calendar days of the session's time zone, as those of
    /// [`cleanup_expired`](crate::RefreshTokenRepository::cleanup_expired). From zero to 36,500 days.
    ///
    /// # Example
    ///
    /// ```
    /// # use chrono::TimeDelta;
    /// # use refresh_tokens::RetentionPolicy;
    /// let policy = RetentionPolicy::default().keep_expired_for(TimeDelta::days(90));
    /// # let _ = policy;
    /// ```
    pub fn keep_expired_for(mut self, keep: TimeDelta) -> Self {
        self.expired = Expired::For(keep);
        self
    }

    /// How long after its rotation a token is kept, if it does not go before because it expired.
    ///
    /// Defaults to no end of its own: until it has expired long enough. From an hour, because the same request sent
    /// again must find what it made, to 36,500 days; and at least the grace period, if you set one of more than an
    /// hour. Rows that were rotated before the table was adopted carry no instant of it, and wait for their expiry.
    ///
    /// # Example
    ///
    /// ```
    /// # use chrono::TimeDelta;
    /// # use refresh_tokens::RetentionPolicy;
    /// let policy = RetentionPolicy::default().keep_rotated_for(TimeDelta::days(7));
    /// # let _ = policy;
    /// ```
    pub fn keep_rotated_for(mut self, keep: TimeDelta) -> Self {
        self.rotated = Some(keep);
        self
    }

    /// How long after its revocation the last token of a session is kept, if it does not go before because it expired.
    ///
    /// Defaults to no end of its own: until it has expired long enough. From zero to 36,500 days. A row that was
    /// rotated and then revoked with its session counts as rotated.
    ///
    /// # Example
    ///
    /// ```
    /// # use chrono::TimeDelta;
    /// # use refresh_tokens::RetentionPolicy;
    /// let policy = RetentionPolicy::default().keep_revoked_for(TimeDelta::days(180));
    /// # let _ = policy;
    /// ```
    pub fn keep_revoked_for(mut self, keep: TimeDelta) -> Self {
        self.revoked = Some(keep);
        self
    }

    /// The longest lifetime that the host gives a token: how far clean-up has to look for rotated and revoked ones.
    ///
    /// Defaults to none: it looks at every row up to the last to expire. It walks in the order of expiry, which with
    /// one lifetime for all is the order in which tokens were made; told that lifetime, it stops at what is too young
    /// to be due, and a pass costs what there is to delete and not what there is to keep. A token that lives longer is
    /// deleted later, not never. From a microsecond to 36,500 days.
    ///
    /// # Example
    ///
    /// ```
    /// # use chrono::TimeDelta;
    /// # use refresh_tokens::RetentionPolicy;
    /// let policy = RetentionPolicy::default().keep_rotated_for(TimeDelta::days(7)).longest_lifetime(TimeDelta::days(30));
    /// # let _ = policy;
    /// ```
    pub fn longest_lifetime(mut self, lifetime: TimeDelta) -> Self {
        self.longest_lifetime = Some(lifetime);
        self
    }

    /// How long the record of a revocation is kept that refuses logins which were authenticated before it.
    ///
    /// Defaults to for ever: a row for each user, member or organisation that was ever revoked. From a day to 36,500
    /// days: longer than any session lives, and than any login takes between authentication and
    /// [`create`](crate::RefreshTokenRepository::create). That of everybody is always kept.
    ///
    /// # Example
    ///
    /// ```
    /// # use chrono::TimeDelta;
    /// # use refresh_tokens::RetentionPolicy;
    /// let policy = RetentionPolicy::default().keep_cutoffs_for(TimeDelta::days(400));
    /// # let _ = policy;
    /// ```
    pub fn keep_cutoffs_for(mut self, keep: TimeDelta) -> Self {
        self.cutoffs = Some(keep);
        self
    }

    /// Moves tokens into the table `refresh_tokens_archive` instead of deleting them, each in the statement that
    /// deletes it.
    ///
    /// Defaults to deleting. Partitions of the archive are made ahead by
    /// [`create_archive_partitions`](crate::RefreshTokenRepository::create_archive_partitions). What is archived cannot be presented,
    /// listed or revoked: it is there to be read. Cutoffs are not archived.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// use refresh_tokens::{CleanupBudget, RetentionPolicy};
    ///
    /// tokens.create_archive_partitions(2)?;
    /// tokens.cleanup(&RetentionPolicy::default().archive(), &CleanupBudget::default())?;
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn archive(mut self) -> Self {
        self.disposal = Disposal::Archive;
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidInput> {
        match self.expired {
            Expired::Days(days) => days_in_range(days)?,
            Expired::For(keep) => retention_in_range("keep_expired_for", keep, TimeDelta::zero())?,
        }
        let lower_bounds = [
            ("keep_rotated_for", self.rotated, TimeDelta::hours(1)),
            ("keep_revoked_for", self.revoked, TimeDelta::zero()),
            ("keep_cutoffs_for", self.cutoffs, TimeDelta::days(1)),
        ];
        for (field, keep, least) in lower_bounds {
            keep.map_or(Ok(()), |keep| retention_in_range(field, keep, least))?;
        }
        self.longest_lifetime.map_or(Ok(()), |lifetime| lifetime_in_range("longest_lifetime", lifetime))
    }

    pub(super) fn expired(&self) -> PgInterval {
        match self.expired {
            Expired::Days(days) => PgInterval::from_days(days),
            Expired::For(keep) => PgInterval::from_microseconds(keep.num_microseconds().unwrap_or(i64::MAX)),
        }
    }

    pub(super) fn rotated(&self) -> Option<TimeDelta> {
        self.rotated
    }

    pub(super) fn revoked(&self) -> Option<TimeDelta> {
        self.revoked
    }

    pub(super) fn lifetime(&self) -> Option<TimeDelta> {
        self.longest_lifetime
    }

    pub(super) fn cutoffs(&self) -> Option<TimeDelta> {
        self.cutoffs
    }

    pub(crate) fn disposal(&self) -> Disposal {
        self.disposal
    }
}
