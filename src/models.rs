//! What goes into the table and what comes out of it. Nothing here talks to the database.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use uuid::Uuid;

use crate::input::{InvalidInput, MAX_EXPIRY, not_nil, not_too_far};
use crate::instant::{Instant, MaybeInstant};
use crate::revoked_reason::RevokedReason;
use crate::schema::refresh_tokens;
use crate::token_hash::TokenHash;

/// A row of `refresh_tokens`.
///
/// It is a copy of what was true when it was read. To decide whether a token may be used, ask the database:
/// [`rotate`](crate::RefreshTokenRepository::rotate) or
/// [`get_valid_by_hash`](crate::RefreshTokenRepository::get_valid_by_hash). An instant beyond what chrono can hold,
/// such as the `infinity` that other software wrote, is read as chrono's first or last.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// use refresh_tokens::{RefreshTokenRepository, TokenState};
///
/// let token = RefreshTokenRepository::new(&mut conn).create(&new_token())?;
/// assert_eq!(token.generation, 0);
/// assert_eq!(token.state(token.created_at), TokenState::Active);
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Identifiable)]
#[diesel(table_name = refresh_tokens, check_for_backend(Pg))]
#[non_exhaustive]
pub struct RefreshToken {
    /// The token's id, chosen by the caller.
    pub id: Uuid,
    /// The user it was issued to.
    pub user_id: Uuid,
    /// The hash of its secret; `Debug` does not show it.
    pub token_hash: TokenHash,
    /// The organisation it acts for.
    pub active_org_id: Uuid,
    /// From this instant (UTC) it is no longer valid.
    #[diesel(deserialize_as = Instant)]
    pub expires_at: DateTime<Utc>,
    /// When it was revoked (UTC).
    #[diesel(deserialize_as = MaybeInstant)]
    pub revoked_at: Option<DateTime<Utc>>,
    /// The successor it was rotated to.
    pub rotated_to: Option<Uuid>,
    /// When it was written (UTC, the database's clock).
    #[diesel(deserialize_as = Instant)]
    pub created_at: DateTime<Utc>,
    /// The session: all tokens that descend from one login. Key your own table of devices by it.
    pub session_id: Uuid,
    /// The absolute end of the session (UTC), if it has one.
    #[diesel(deserialize_as = MaybeInstant)]
    pub session_expires_at: Option<DateTime<Utc>>,
    /// Why it was revoked; `None` also where other software revoked it.
    pub revoked_reason: Option<RevokedReason>,
    /// How many rotations lie between the login and this token.
    pub generation: i32,
    /// When it was rotated (UTC).
    #[diesel(deserialize_as = MaybeInstant)]
    pub rotated_at: Option<DateTime<Utc>>,
    /// When its session began (UTC): when the user was authenticated, if
    /// [`NewSession::authenticated_at`] said so, or else when its first token was written.
    #[diesel(deserialize_as = Instant)]
    pub session_started_at: DateTime<Utc>,
    /// When the breach response to its reuse was given (UTC); it is given once.
    #[diesel(deserialize_as = MaybeInstant)]
    pub reused_at: Option<DateTime<Utc>>,
}

impl RefreshToken {
    /// The state of the row at an instant.
    ///
    /// For display and logs. A rotated token is [`TokenState::Rotated`] even if it was revoked or has expired
    /// since, because presenting it is reuse all the same; likewise a revoked one stays
    /// [`TokenState::Revoked`] after its expiry.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// use refresh_tokens::{RefreshTokenRepository, TokenState};
    ///
    /// let token = RefreshTokenRepository::new(&mut conn).create(&new_token())?;
    /// assert_eq!(token.state(token.expires_at), TokenState::Expired);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn state(&self, now: DateTime<Utc>) -> TokenState {
        if let Some(successor_id) = self.rotated_to {
            TokenState::Rotated { successor_id }
        } else if let Some(at) = self.revoked_at {
            let reason = self.revoked_reason;
            TokenState::Revoked { at, reason }
        } else if self.ends_at() <= now {
            TokenState::Expired
        } else {
            TokenState::Active
        }
    }

    /// Its own expiry or its session's end, whichever is first; they differ only in rows that others wrote.
    pub(crate) fn ends_at(&self) -> DateTime<Utc> {
        self.session_expires_at.map_or(self.expires_at, |end| end.min(self.expires_at))
    }
}

/// What a row's nullable columns mean, taken together.
///
/// # Example
///
/// ```
/// use refresh_tokens::TokenState;
///
/// fn label(state: &TokenState) -> &'static str {
///     match state {
///         TokenState::Active => "active",
///         TokenState::Rotated { .. } => "used",
///         TokenState::Revoked { .. } => "signed out",
///         _ => "expired",
///     }
/// }
/// assert_eq!(label(&TokenState::Expired), "expired");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenState {
    /// It may be rotated.
    Active,
    /// It was spent; presenting it again is reuse.
    Rotated {
        /// The token that took its place.
        successor_id: Uuid,
    },
    /// It was ended before its time.
    Revoked {
        /// When (UTC).
        at: DateTime<Utc>,
        /// Why; `None` where other software did it.
        reason: Option<RevokedReason>,
    },
    /// It came to its end unused.
    Expired,
}

/// The first token of a session, issued at login.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), refresh_tokens::InvalidInput> {
/// use chrono::{Duration, Utc};
/// use refresh_tokens::{NewRefreshToken, NewSession, TokenHash};
/// use uuid::Uuid;
///
/// let now = Utc::now();
/// let token = NewRefreshToken {
///     id: Uuid::new_v4(),
///     user_id: Uuid::new_v4(),
///     token_hash: TokenHash::new("5e884898da28047151d0e56f8dc62927")?,
///     active_org_id: Uuid::new_v4(),
///     expires_at: now + Duration::days(30),
///     session: NewSession::default().expires_at(now + Duration::days(365)),
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
    /// What holds for the session that begins with it; [`NewSession::default()`] for nothing special.
    pub session: NewSession,
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
/// use refresh_tokens::NewSession;
///
/// let everlasting = NewSession::default(); // ends when a token of it expires unused
/// let a_year = NewSession::default().expires_at(chrono::Utc::now() + chrono::Duration::days(365));
/// assert_ne!(everlasting, a_year);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewSession {
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) authenticated_at: Option<DateTime<Utc>>,
}

impl NewSession {
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
    /// use refresh_tokens::{NewRefreshToken, NewSession, RefreshTokenRepository};
    ///
    /// let in_an_hour = Utc::now() + Duration::hours(1);
    /// let token = RefreshTokenRepository::new(&mut conn).create(&NewRefreshToken {
    ///     expires_at: Utc::now() + Duration::days(30),
    ///     session: NewSession::default().expires_at(in_an_hour),
    ///     ..new_token()
    /// })?;
    /// assert!(token.expires_at <= in_an_hour);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    #[must_use = "it returns the changed value"]
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
    /// use refresh_tokens::{Error, NewRefreshToken, NewSession, RefreshTokenRepository};
    ///
    /// let mut tokens = RefreshTokenRepository::new(&mut conn);
    /// let authenticated_at = tokens.now()?;
    /// // … the password is right …
    /// let login = NewRefreshToken { session: NewSession::default().authenticated_at(authenticated_at), ..new_token() };
    /// tokens.revoke_all_for_user(login.user_id)?; // somewhere else, at this moment
    /// assert_eq!(tokens.create(&login), Err(Error::RevokedSinceLogin));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "it returns the changed value"]
    pub fn authenticated_at(mut self, instant: DateTime<Utc>) -> Self {
        self.authenticated_at = Some(instant.clamp(DateTime::UNIX_EPOCH, MAX_EXPIRY));
        self
    }
}

/// The token that takes the place of the one presented.
///
/// Keep it until the answer is there: after [`Error::ConnectionLost`](crate::Error::ConnectionLost) the same
/// rotation with the same successor returns what had been made (see
/// [`rotate`](crate::RefreshTokenRepository::rotate)).
///
/// # Example
///
/// ```
/// use chrono::{Duration, Utc};
/// use refresh_tokens::{Successor, TokenHash};
/// use uuid::Uuid;
///
/// let hash = TokenHash::new("6cb75f652a9b52798eb6cf2201057c73")?;
/// let successor = Successor::new(Uuid::new_v4(), hash, Utc::now() + Duration::days(30));
/// let in_another_org = successor.active_org_id(Uuid::new_v4());
/// # let _ = in_another_org;
/// # Ok::<(), refresh_tokens::InvalidInput>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    pub(crate) id: Uuid,
    pub(crate) token_hash: TokenHash,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) active_org_id: Option<Uuid>,
}

impl Successor {
    /// A successor with a fresh id, the hash of a fresh secret, and the instant (UTC) of its expiry.
    ///
    /// If the session ends earlier, the successor expires with it. The user is its predecessor's, and so is
    /// the organisation unless [`active_org_id`](Self::active_org_id) names another.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// let successor = refresh_tokens::Successor::new(uuid::Uuid::new_v4(), fresh_hash(), in_days(30));
    /// # let _ = successor;
    /// ```
    pub fn new(id: Uuid, token_hash: TokenHash, expires_at: DateTime<Utc>) -> Self {
        Self { id, token_hash, expires_at, active_org_id: None }
    }

    /// Switches the organisation that the session acts for.
    ///
    /// Defaults to the predecessor's. That the user belongs to it is for the caller to check.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// let other_org = uuid::Uuid::new_v4();
    /// let successor = successor().active_org_id(other_org);
    /// # let _ = successor;
    /// ```
    #[must_use = "it returns the changed value"]
    pub fn active_org_id(mut self, org_id: Uuid) -> Self {
        self.active_org_id = Some(org_id);
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidInput> {
        not_nil("successor.id", self.id)?;
        if let Some(org_id) = self.active_org_id {
            not_nil("successor.active_org_id", org_id)?;
        }
        not_too_far("successor.expires_at", self.expires_at)
    }
}
