//! What comes of an exchange with a breach response, and whether it is durable.

use std::fmt;

use crate::values::revocation::RevocationReport;
use crate::values::rotation::Refusal;
use crate::values::token::RefreshToken;

/// The breach response: what [`redeem`](crate::RefreshTokenRepository::redeem) ends when a token is reused.
///
/// # Example
///
/// ```
/// assert_eq!(refresh_tokens::OnReuse::default(), refresh_tokens::OnReuse::RevokeSession);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnReuse {
    /// The session, as [`revoke_session`](crate::RefreshTokenRepository::revoke_session) does (RFC 9700 §4.14.2).
    #[default]
    RevokeSession,
    /// The session by its live token alone, as [`end_session`](crate::RefreshTokenRepository::end_session) does: the
    /// same end, at a cost that does not grow with the session's history.
    EndSession,
    /// What descends from the reused token, as
    /// [`revoke_token_chain`](crate::RefreshTokenRepository::revoke_token_chain) does.
    RevokeChain,
    /// Every session of the user, as [`revoke_all_for_user`](crate::RefreshTokenRepository::revoke_all_for_user)
    /// does; logins that were authenticated before are refused too.
    RevokeUser,
    /// Nothing: the caller decides.
    ReportOnly,
}

/// The outcome of [`redeem`](crate::RefreshTokenRepository::redeem).
///
/// Whatever is neither `Rotated` nor `Repeated` is `invalid_grant` to the client (RFC 6749 §5.2).
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// # let presented = tokens.create(&new_token())?.token_hash;
/// use refresh_tokens::{Binding, BreachResponse, OnReuse, Redemption};
///
/// match tokens.redeem(&presented, &successor(), Binding::ANY, OnReuse::RevokeSession)? {
///     Redemption::Rotated { token, .. } | Redemption::Repeated { token, .. } => {
///         println!("200, valid until {}", token.expires_at);
///     }
///     Redemption::Reused { token, kind, response: BreachResponse::Revoked(report), .. } => {
///         eprintln!("alert: session {}: {kind}: {report}", token.session_id);
///     }
///     Redemption::Reused { .. } => println!("400 invalid_grant, once more"),
///     Redemption::Refused(refusal) => println!("400 invalid_grant ({refusal})"),
/// }
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a refusal is an Ok value: unless you match on it, a client is let in that should not be"]
pub enum Redemption {
    /// It was rotated.
    Rotated {
        /// The successor: give its secret to the client once it is durable.
        token: RefreshToken,
        /// Whether it is.
        durability: Durability,
    },
    /// It had been rotated before, by this very request, whose answer was lost (or is on its way elsewhere).
    Repeated {
        /// The successor that was made then, and is live.
        token: RefreshToken,
        /// Whether that is durable.
        durability: Durability,
    },
    /// It had been rotated already, by a request with another successor: a copy exists, or the client lost an answer.
    Reused {
        /// The token that was presented.
        token: RefreshToken,
        /// Which of the two is likely.
        kind: ReuseKind,
        /// What was done about it.
        response: BreachResponse,
        /// Whether that will stay.
        durability: Durability,
    },
    /// It was refused for another reason, which is never [`Refusal::Reused`]; nothing was changed.
    Refused(Refusal),
}

impl Redemption {
    /// The successor, if there is one.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{Redemption, Refusal};
    ///
    /// assert!(Redemption::Refused(Refusal::NotFound).successor().is_none());
    /// ```
    pub fn successor(self) -> Option<RefreshToken> {
        match self {
            Self::Rotated { token, .. } | Self::Repeated { token, .. } => Some(token),
            _ => None,
        }
    }

    /// A word for logs and metrics: `rotated`, `repeated`, that of [`ReuseKind::as_str`], or that of [`Refusal::as_str`].
    ///
    /// Counted separately, they tell a bad client from a thief.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{Redemption, Refusal};
    ///
    /// assert_eq!(Redemption::Refused(Refusal::NotFound).as_str(), "not_found");
    /// ```
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Rotated { .. } => "rotated",
            Self::Repeated { .. } => "repeated",
            Self::Reused { kind, .. } => kind.as_str(),
            Self::Refused(refusal) => refusal.as_str(),
        }
    }
}

/// What [`redeem`](crate::RefreshTokenRepository::redeem) did about reuse.
///
/// # Example
///
/// ```
/// use refresh_tokens::BreachResponse;
///
/// /// Replays of a dead token are noise; the first one is an incident.
/// fn is_incident(response: &BreachResponse) -> bool {
///     *response != BreachResponse::AlreadyHandled
/// }
/// assert!(is_incident(&BreachResponse::ReportedOnly));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreachResponse {
    /// The policy's revocation, with what it ended; all 0 where that had ended already.
    Revoked(RevocationReport),
    /// None: an earlier presentation of this token had it, at [`RefreshToken::reused_at`], whatever the policy was then.
    /// Nothing was changed.
    AlreadyHandled,
    /// None, by [`OnReuse::ReportOnly`]. Nothing was changed.
    ReportedOnly,
}

/// Whether an outcome can still be undone.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// # let presented = tokens.create(&new_token())?.token_hash;
/// use refresh_tokens::{Binding, Durability, OnReuse, Redemption};
///
/// let redemption = tokens.transaction(|tx| {
///     tx.redeem(&presented, &successor(), Binding::ANY, OnReuse::RevokeSession)
/// })?;
/// assert!(matches!(redemption, Redemption::Rotated { durability: Durability::PendingYourCommit, .. }));
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Durability {
    /// It is committed.
    Committed,
    /// It was called inside a transaction of yours: until that commits, nothing has happened, and if you roll it back
    /// (return an `Err` from Diesel's closure), neither rotation nor breach response ever will have.
    PendingYourCommit,
}

/// What the reuse of a token looks like, from what became of its session.
///
/// Nothing can tell a thief from a client by one presentation. Many of the first kind are a client that is slow to try
/// again, or a grace period that is too short; one of the second is worth a look.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// # let presented = tokens.create(&new_token())?.token_hash;
/// use refresh_tokens::{Binding, OnReuse, Redemption, ReuseKind};
///
/// let _lost = tokens.redeem(&presented, &successor(), Binding::ANY, OnReuse::RevokeSession)?;
/// let again = tokens.redeem(&presented, &successor(), Binding::ANY, OnReuse::RevokeSession)?;
/// let Redemption::Reused { kind, .. } = again else { panic!() };
/// assert_eq!(kind, ReuseKind::SuccessorUnused); // nobody has used the successor
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReuseKind {
    /// Its successor is live and unused: a client that did not get its answer and is late, or one who was overtaken
    /// by a thief.
    SuccessorUnused,
    /// Its successor was used: somebody holds a copy of what the session left behind.
    SuccessorUsed,
    /// Its session was revoked, has expired, or was deleted by clean-up: an old backup, or a thief who is too late.
    SessionEnded,
}

impl ReuseKind {
    /// A word for logs and metrics: `reused_successor_unused`, `reused_successor_used` or `reused_session_ended`.
    ///
    /// # Example
    ///
    /// ```
    /// assert_eq!(refresh_tokens::ReuseKind::SuccessorUnused.as_str(), "reused_successor_unused");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SuccessorUnused => "reused_successor_unused",
            Self::SuccessorUsed => "reused_successor_used",
            Self::SessionEnded => "reused_session_ended",
        }
    }
}

impl fmt::Display for ReuseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
