//! What the service answers.

use crate::service::counts::RefreshOutcome;
#[cfg(any(feature = "metrics", feature = "tracing"))]
use crate::telemetry::outcome::{Event, Outcome};
use crate::values::{BreachResponse, InvalidSecret, Redemption, RefreshToken, Refusal, ReuseKind, TokenSecret};

/// A token with its secret, for the client.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let service = service(&database);
/// # let (user_id, org_id) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
/// let issued = service.start_session(&refresh_tokens::Login::new(user_id, org_id))?;
/// let cookie = format!("refresh_token={}; HttpOnly; Secure; SameSite=Strict", issued.secret.expose());
/// # let _ = cookie;
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IssuedToken {
    /// What the client is given, and nobody else.
    pub secret: TokenSecret,
    /// Its row: the session, the user, the organisation it acts for, the expiry.
    pub token: RefreshToken,
}

/// The outcome of [`SessionService::refresh`](crate::SessionService::refresh).
///
/// Whatever is neither `Rotated` nor `Repeated` is `invalid_grant` to the client (RFC 6749 §5.2).
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let service = service(&database);
/// # let login = refresh_tokens::Login::new(uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
/// # let issued = service.start_session(&login)?;
/// # let presented = issued.secret.expose();
/// use refresh_tokens::{Binding, Refresh};
///
/// match service.refresh(presented, Binding::ANY)? {
///     Refresh::Rotated(issued) | Refresh::Repeated(issued) => println!("200 for {}", issued.token.user_id),
///     Refresh::Reused { token, kind, .. } => eprintln!("alert: session {}: {kind}", token.session_id),
///     Refresh::Refused(refusal) => println!("400 invalid_grant ({refusal})"),
///     Refresh::Unrecognized(why) => println!("400 invalid_grant ({why})"),
/// }
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a refusal is an Ok value: unless you match on it, a client is let in that should not be"]
pub enum Refresh {
    /// The first exchange of the token: here is its successor.
    Rotated(IssuedToken),
    /// A repeat within the grace period, while the successor is unused: the same successor, with the same secret. It acts for
    /// the organisation that the first exchange gave it.
    Repeated(IssuedToken),
    /// The token was spent, and this is no harmless repeat.
    Reused {
        /// The token that was presented.
        token: RefreshToken,
        /// What it looks like.
        kind: ReuseKind,
        /// What was done about it.
        response: BreachResponse,
    },
    /// It was refused for another reason, which is never [`Refusal::Reused`]; nothing was changed.
    Refused(Refusal),
    /// The text is no secret of this service; the database was not asked.
    Unrecognized(InvalidSecret),
}

impl Refresh {
    /// The successor, if there is one.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{Refresh, Refusal};
    ///
    /// assert!(Refresh::Refused(Refusal::NotFound).issued().is_none());
    /// ```
    pub fn issued(self) -> Option<IssuedToken> {
        match self {
            Self::Rotated(issued) | Self::Repeated(issued) => Some(issued),
            _ => None,
        }
    }

    /// Names what came of it, without the tokens: what [`SessionService::counts`](crate::SessionService::counts) counts by.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{Refresh, RefreshOutcome, Refusal};
    ///
    /// assert_eq!(Refresh::Refused(Refusal::NotFound).outcome(), RefreshOutcome::NotFound);
    /// ```
    pub fn outcome(&self) -> RefreshOutcome {
        match self {
            Self::Rotated(_) => RefreshOutcome::Rotated,
            Self::Repeated(_) => RefreshOutcome::Repeated,
            Self::Reused { kind: ReuseKind::SuccessorUnused, .. } => RefreshOutcome::ReusedSuccessorUnused,
            Self::Reused { kind: ReuseKind::SessionEnded, .. } => RefreshOutcome::ReusedSessionEnded,
            // The service reports reuse as `Reused`; of a refusal that a host made, the worst kind is assumed.
            Self::Reused { kind: ReuseKind::SuccessorUsed, .. } | Self::Refused(Refusal::Reused(_)) => {
                RefreshOutcome::ReusedSuccessorUsed
            }
            Self::Refused(Refusal::NotFound) => RefreshOutcome::NotFound,
            Self::Refused(Refusal::BindingMismatch(_)) => RefreshOutcome::BindingMismatch,
            Self::Refused(Refusal::Revoked(_)) => RefreshOutcome::Revoked,
            Self::Refused(Refusal::OrgRevoked(_)) => RefreshOutcome::OrgRevoked,
            Self::Refused(Refusal::Expired(_)) => RefreshOutcome::Expired,
            Self::Unrecognized(InvalidSecret::UnknownKey { .. }) => RefreshOutcome::UnknownKey,
            Self::Unrecognized(_) => RefreshOutcome::Malformed,
        }
    }

    /// A word for logs and metrics: that of its [`outcome`](Self::outcome).
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{Refresh, Refusal};
    ///
    /// assert_eq!(Refresh::Refused(Refusal::NotFound).as_str(), "not_found");
    /// ```
    pub fn as_str(&self) -> &'static str {
        self.outcome().as_str()
    }

    /// `secret` is that of the successor, if there is one.
    pub(super) fn of(redemption: Redemption, secret: TokenSecret) -> Self {
        match redemption {
            Redemption::Rotated { token, .. } => Self::Rotated(IssuedToken { secret, token }),
            Redemption::Repeated { token, .. } => Self::Repeated(IssuedToken { secret, token }),
            Redemption::Reused { token, kind, response, .. } => Self::Reused { token, kind, response },
            Redemption::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

#[cfg(any(feature = "metrics", feature = "tracing"))]
impl Outcome for Refresh {
    fn each(&self, _: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        emit(&match self {
            Self::Rotated(issued) | Self::Repeated(issued) => Event::done(self.as_str()).about(&issued.token),
            Self::Reused { token, kind, response } => Event::of_reuse(token, *kind, response),
            Self::Refused(refusal) => Event::of_refusal(refusal),
            Self::Unrecognized(_) => Event::refused(self.as_str()),
        });
    }
}
