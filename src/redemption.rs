//! The whole exchange in one call: rotate, and answer reuse.

use diesel::prelude::*;

use crate::binding::Binding;
use crate::error::Result;
use crate::gate;
use crate::isolation::{Scope, read_committed_step};
use crate::models::RefreshToken;
use crate::outcome::{Refusal, Rotation};
use crate::receipt::RevocationReport;
use crate::reuse::{self, ReuseKind};
use crate::revocation::{OfUser, chain_passes, end_session_passes, session_passes, user_passes};
use crate::revoked_reason::RevokedReason;
use crate::rotation::{self, clock_timestamp};
use crate::schema::refresh_tokens;
use crate::successor::Successor;
use crate::token_hash::TokenHash;

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
///     Redemption::Reused { token, kind, response: BreachResponse::Revoked(receipt), .. } => {
///         eprintln!("alert: session {}: {kind}: {receipt}", token.session_id);
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

impl From<Scope> for Durability {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Own => Self::Committed,
            Scope::Host => Self::PendingYourCommit,
        }
    }
}

/// `reason` is the caller's, if it gave one.
pub(crate) fn redeem(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
    on_reuse: OnReuse,
    reason: Option<RevokedReason>,
) -> Result<Redemption> {
    let (rotation, scope) = rotation::rotate(conn, presented, successor, binding)?;
    answer_reuse(rotation, scope.into(), |token| respond(conn, token, on_reuse, reason))
}

/// What becomes of a rotation: where it was refused as reuse, the response is given.
pub(crate) fn answer_reuse(
    rotation: Rotation,
    durability: Durability,
    respond: impl FnOnce(&RefreshToken) -> Result<(ReuseKind, BreachResponse)>,
) -> Result<Redemption> {
    Ok(match rotation {
        Rotation::Rotated(token) => Redemption::Rotated { token, durability },
        Rotation::Repeated(token) => Redemption::Repeated { token, durability },
        Rotation::Refused(Refusal::Reused(token)) => {
            let (kind, response) = respond(&token)?;
            Redemption::Reused { token, kind, response, durability }
        }
        Rotation::Refused(refusal) => Redemption::Refused(refusal),
    })
}

/// What the reuse of `token` looks like, and what is done about it.
pub(crate) fn respond(
    conn: &mut PgConnection,
    token: &RefreshToken,
    on_reuse: OnReuse,
    reason: Option<RevokedReason>,
) -> Result<(ReuseKind, BreachResponse)> {
    // Before the response, which ends the session.
    let kind = reuse::classify(conn, token)?;
    Ok((kind, breach_response(conn, token, on_reuse, reason)?))
}

fn breach_response(
    conn: &mut PgConnection,
    token: &RefreshToken,
    on_reuse: OnReuse,
    reason: Option<RevokedReason>,
) -> Result<BreachResponse> {
    if on_reuse == OnReuse::ReportOnly {
        return Ok(BreachResponse::ReportedOnly);
    }
    if token.reused_at.is_some() {
        return Ok(BreachResponse::AlreadyHandled);
    }
    let reason = reason.unwrap_or(RevokedReason::ReuseDetected);
    // Made again by itself after a conflict: presented anew, the token may be gone.
    read_committed_step(conn, |conn, _| {
        gate::pass(conn, token.user_id)?;
        if !mark_reused(conn, token)? {
            return Ok(BreachResponse::AlreadyHandled);
        }
        let receipt = match on_reuse {
            OnReuse::RevokeChain => chain_passes(conn, token.id, token.session_id, token.generation, reason),
            OnReuse::RevokeUser => user_passes(conn, token.user_id, OfUser::All, reason),
            OnReuse::EndSession => end_session_passes(conn, Some(token.session_id), None, reason),
            OnReuse::RevokeSession | OnReuse::ReportOnly => session_passes(conn, token.session_id, reason),
        }?;
        Ok(BreachResponse::Revoked(receipt))
    })
}

/// False where another presentation was first, so that replays of a dead token cost no walk over its session.
fn mark_reused(conn: &mut PgConnection, token: &RefreshToken) -> Result<bool> {
    let marked = diesel::update(refresh_tokens::table.find(token.id))
        .filter(refresh_tokens::reused_at.is_null())
        .set(refresh_tokens::reused_at.eq(clock_timestamp().nullable()))
        .execute(conn)?;
    // Clean-up may have deleted it meanwhile: then nobody was first.
    Ok(marked > 0 || !diesel::select(diesel::dsl::exists(refresh_tokens::table.find(token.id))).get_result(conn)?)
}
