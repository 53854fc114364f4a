//! What comes out of the table. Nothing here talks to the database.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use uuid::Uuid;

use crate::schema::refresh_tokens;
use crate::values::instant::{Instant, MaybeInstant};
use crate::values::revoked_reason::RevokedReason;
use crate::values::token_hash::TokenHash;

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
    /// [`SessionOptions::authenticated_at`](crate::SessionOptions::authenticated_at) said so, or else when its first token was
    /// written.
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
