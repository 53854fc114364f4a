//! What begins a session: its first token, and what holds for all of it. Nothing here talks to the database.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::{InvalidInput, MAX_EXPIRY, not_nil, not_too_far};
use crate::values::token_hash::TokenHash;

/// The first token of a session, issued at login.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), refresh_tokens::InvalidInput> {
/// use chrono::{Duration, Utc};
/// use refresh_tokens::{NewRefreshToken, SessionOptions, TokenHash};
/// use uuid::Uuid;
///
/// let now = Utc::now();
/// let token = NewRefreshToken {
///     id: Uuid::new_v4(),
///     user_id: Uuid::new_v4(),
///     token_hash: TokenHash::new("5e884898da28047151d0e56f8dc62927")?,
///     active_org_id: Uuid::new_v4(),
///     expires_at: now + Duration::days(30),
///     session: SessionOptions::default().expires_at(now + Duration::days(365)),
/// };
/// # let _ = token;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRefreshToken {
    /// Its id: a fresh UUID of any version.
    pub id: Uuid,
    /// The user who logged in.
    pub user_id: Uuid,
    /// The hash of the secret that the client is given.
    pub token_hash: TokenHash,
    /// The organisation it acts for.
    pub active_org_id: Uuid,
    /// From this instant (UTC) it is no longer valid: the idle lifetime of the session, counted from now.
    pub expires_at: DateTime<Utc>,
    /// What holds for the session that begins with it; [`SessionOptions::default()`] for nothing special.
    pub session: SessionOptions,
}

impl NewRefreshToken {
    pub(crate) fn check(&self) -> Result<(), InvalidInput> {
        not_nil("id", self.id)?;
        not_nil("user_id", self.user_id)?;
        not_nil("active_org_id", self.active_org_id)?;
        not_too_far("expires_at", self.expires_at)?;
        match self.session.expires_at {
            Some(end) => not_too_far("session.expires_at", end),
            None => Ok(()),
        }
    }

    /// Which argument the database refused, by its clock.
    pub(crate) fn refused_at(&self, now: DateTime<Utc>) -> InvalidInput {
        if self.session.authenticated_at.is_some_and(|instant| instant.timestamp_micros() > now.timestamp_micros()) {
            return InvalidInput::AuthenticatedInFuture;
        }
        let field = match self.session.expires_at {
            Some(end) if end < self.expires_at => "session.expires_at",
            _ => "expires_at",
        };
        InvalidInput::ExpiryNotInFuture { field }
    }
}

/// What holds for a whole session from its login on.
///
/// # Example
///
/// ```
/// use refresh_tokens::SessionOptions;
///
/// let everlasting = SessionOptions::default(); // ends when a token of it expires unused
/// let a_year = SessionOptions::default().expires_at(chrono::Utc::now() + chrono::Duration::days(365));
/// assert_ne!(everlasting, a_year);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "its methods return the changed value"]
pub struct SessionOptions {
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) authenticated_at: Option<DateTime<Utc>>,
    pub(crate) limit: Option<SessionLimit>,
}

impl SessionOptions {
    /// Sets the absolute end of the session (UTC), which no token of it outlives, however often it is rotated.
    ///
    /// Defaults to none.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// use chrono::{Duration, Utc};
    /// use refresh_tokens::{NewRefreshToken, SessionOptions, RefreshTokenRepository};
    ///
    /// let in_an_hour = Utc::now() + Duration::hours(1);
    /// let token = RefreshTokenRepository::new(&mut conn).create(&NewRefreshToken {
    ///     expires_at: Utc::now() + Duration::days(30),
    ///     session: SessionOptions::default().expires_at(in_an_hour),
    ///     ..new_token()
    /// })?;
    /// assert!(token.expires_at <= in_an_hour);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn expires_at(mut self, instant: DateTime<Utc>) -> Self {
        self.expires_at = Some(instant);
        self
    }

    /// Says when the user was authenticated (UTC, the database's clock), so that a newer revocation refuses the login.
    ///
    /// Take it with [`now`](crate::RefreshTokenRepository::now) **before** you check the credentials, in no transaction
    /// that has revoked the user's tokens: a password
    /// reset that comes between the check and [`create`](crate::RefreshTokenRepository::create) would otherwise miss
    /// the session that begins after it. It may lie far back, as where a single sign-on vouches for the user
    /// (`auth_time` of `OpenID` Connect Core 1.0 §2): what counts is whether the user, the organisation, the user in
    /// it, or everybody was revoked since. Of another clock, take the earlier of its instant and `now`; if it counts
    /// whole seconds, a login in the second of a revocation is refused. An instant before 1970 counts as 1970.
    ///
    /// Defaults to none: no revocation refuses the login.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// use refresh_tokens::{Error, NewRefreshToken, SessionOptions, RefreshTokenRepository};
    ///
    /// let mut tokens = RefreshTokenRepository::new(&mut conn);
    /// let authenticated_at = tokens.now()?;
    /// // … the password is right …
    /// let login = NewRefreshToken { session: SessionOptions::default().authenticated_at(authenticated_at), ..new_token() };
    /// tokens.revoke_all_for_user(login.user_id)?; // somewhere else, at this moment
    /// assert_eq!(tokens.create(&login), Err(Error::RevokedSinceLogin));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn authenticated_at(mut self, instant: DateTime<Utc>) -> Self {
        self.authenticated_at = Some(instant.clamp(DateTime::UNIX_EPOCH, MAX_EXPIRY));
        self
    }
    /// Sets how many live sessions the user may have with this one, and what happens to one too many.
    ///
    /// Exact however many log in at the same moment: they wait for each other at the user's gate. It counts every live
    /// session of the user; but a login without a limit waits for nobody, and is not held back by the limits of others.
    ///
    /// Defaults to none.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// use refresh_tokens::{Error, NewRefreshToken, SessionOptions, RefreshTokenRepository, SessionLimit};
    ///
    /// let mut tokens = RefreshTokenRepository::new(&mut conn);
    /// # let user_id = uuid::Uuid::new_v4();
    /// let mut log_in = |limit| {
    ///     tokens.create(&NewRefreshToken { user_id, session: SessionOptions::default().limit(limit), ..new_token() })
    /// };
    /// log_in(SessionLimit::refuse(1))?;
    /// assert_eq!(log_in(SessionLimit::refuse(1)), Err(Error::TooManySessions { max: 1 }));
    /// log_in(SessionLimit::end_oldest(1))?;
    /// assert_eq!(tokens.get_active_tokens_for_user(user_id)?.len(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn limit(mut self, limit: SessionLimit) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// How many live sessions a user may have, and what happens to one too many.
///
/// # Example
///
/// ```
/// use refresh_tokens::SessionLimit;
///
/// assert_eq!(SessionLimit::end_oldest(0), SessionLimit::end_oldest(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionLimit {
    pub(crate) max: u32,
    pub(crate) beyond: Beyond,
}

/// What happens to one session too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Beyond {
    EndOldest,
    Refuse,
}

impl SessionLimit {
    /// At most so many, this one included; those that began first are ended
    /// ([`RevokedReason::SessionLimit`](crate::RevokedReason::SessionLimit)). 0 counts as 1.
    ///
    /// # Example
    ///
    /// ```
    /// let one_device_at_a_time = refresh_tokens::SessionLimit::end_oldest(1);
    /// # let _ = one_device_at_a_time;
    /// ```
    pub const fn end_oldest(max: u32) -> Self {
        Self { max: if max == 0 { 1 } else { max }, beyond: Beyond::EndOldest }
    }

    /// At most so many, this one included; one more is [`Error::TooManySessions`](crate::Error::TooManySessions). 0 counts
    /// as 1.
    ///
    /// # Example
    ///
    /// ```
    /// let licences = refresh_tokens::SessionLimit::refuse(5);
    /// # let _ = licences;
    /// ```
    pub const fn refuse(max: u32) -> Self {
        Self { max: if max == 0 { 1 } else { max }, beyond: Beyond::Refuse }
    }
}
