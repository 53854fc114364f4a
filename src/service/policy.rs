//! How long sessions live, how many a user may have, and how late a client may ask again.

use chrono::TimeDelta;

use crate::error::{InvalidInput, lifetime_in_range};
use crate::values::{OnReuse, SessionLimit};

/// The lifetimes and limits of a [`SessionService`](crate::SessionService).
///
/// All are judged in the database, by its clock. What changes here holds for tokens that are issued from then on.
///
/// # Example
///
/// ```
/// use chrono::TimeDelta;
/// use refresh_tokens::{SessionLimit, SessionPolicy};
///
/// let policy = SessionPolicy::default()
///     .idle_lifetime(TimeDelta::days(14))
///     .absolute_lifetime(TimeDelta::days(90))
///     .session_limit(SessionLimit::end_oldest(10));
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "its methods return the changed value"]
pub struct SessionPolicy {
    pub(super) idle_lifetime: TimeDelta,
    pub(super) absolute_lifetime: TimeDelta,
    pub(super) grace: TimeDelta,
    pub(super) limit: Option<SessionLimit>,
    pub(super) on_reuse: OnReuse,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        Self {
            idle_lifetime: TimeDelta::days(30),
            absolute_lifetime: TimeDelta::days(365),
            grace: TimeDelta::seconds(60),
            limit: None,
            on_reuse: OnReuse::default(),
        }
    }
}

impl SessionPolicy {
    /// How long a token may lie unused before its session ends.
    ///
    /// Defaults to 30 days. From a microsecond to 36,500 days.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::SessionPolicy;
    /// # use chrono::TimeDelta;
    /// assert_eq!(SessionPolicy::default().idle_lifetime(TimeDelta::days(30)), SessionPolicy::default());
    /// ```
    pub fn idle_lifetime(mut self, lifetime: TimeDelta) -> Self {
        self.idle_lifetime = lifetime;
        self
    }

    /// How long after its login a session ends, however much it is used: what a thief whom nobody notices has at most.
    ///
    /// Defaults to 365 days. From a microsecond to 36,500 days.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::SessionPolicy;
    /// # use chrono::TimeDelta;
    /// assert_eq!(SessionPolicy::default().absolute_lifetime(TimeDelta::days(365)), SessionPolicy::default());
    /// ```
    pub fn absolute_lifetime(mut self, lifetime: TimeDelta) -> Self {
        self.absolute_lifetime = lifetime;
        self
    }

    /// How long after its rotation a token that is presented again gets the same successor again, while nobody has used
    /// that one.
    ///
    /// Defaults to 60 seconds: a client's time-out of 30, and its second try. From zero, which makes every second
    /// presentation reuse, to 36,500 days. A thief and a client who present a token within this time of each other
    /// share its successor; whoever of the two refreshes next after it is over finds it spent.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::SessionPolicy;
    /// # use chrono::TimeDelta;
    /// assert_eq!(SessionPolicy::default().grace(TimeDelta::seconds(60)), SessionPolicy::default());
    /// let strict = SessionPolicy::default().grace(TimeDelta::zero());
    /// # let _ = strict;
    /// ```
    pub fn grace(mut self, grace: TimeDelta) -> Self {
        self.grace = grace;
        self
    }

    /// How many live sessions a user may have, and what happens to one too many.
    ///
    /// Defaults to no limit. See [`SessionOptions::limit`](crate::SessionOptions::limit).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::{SessionLimit, SessionPolicy};
    /// let policy = SessionPolicy::default().session_limit(SessionLimit::refuse(5));
    /// # let _ = policy;
    /// ```
    pub fn session_limit(mut self, limit: SessionLimit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The breach response: what is ended when a token is reused.
    ///
    /// Defaults to [`OnReuse::RevokeSession`].
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::{OnReuse, SessionPolicy};
    /// assert_eq!(SessionPolicy::default().on_reuse(OnReuse::RevokeSession), SessionPolicy::default());
    /// ```
    pub fn on_reuse(mut self, on_reuse: OnReuse) -> Self {
        self.on_reuse = on_reuse;
        self
    }

    pub(super) fn check(&self) -> Result<(), InvalidInput> {
        lifetime_in_range("idle_lifetime", self.idle_lifetime)?;
        lifetime_in_range("absolute_lifetime", self.absolute_lifetime)?;
        if self.grace.is_zero() { Ok(()) } else { lifetime_in_range("grace", self.grace) }
    }
}
