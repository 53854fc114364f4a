//! What the service answers, and how often.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::models::RefreshToken;
use crate::outcome::Refusal;
use crate::redemption::{BreachResponse, Redemption};
use crate::reuse::ReuseKind;
use crate::secret::{InvalidSecret, TokenSecret};

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
///     Refresh::Unrecognised(why) => println!("400 invalid_grant ({why})"),
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
    Unrecognised(InvalidSecret),
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

    /// A word for logs and metrics: one of [`RefreshCounts::OUTCOMES`].
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{Refresh, Refusal};
    ///
    /// assert_eq!(Refresh::Refused(Refusal::NotFound).as_str(), "not_found");
    /// ```
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Rotated(_) => "rotated",
            Self::Repeated(_) => "repeated",
            Self::Reused { kind, .. } => kind.as_str(),
            Self::Refused(refusal) => refusal.as_str(),
            Self::Unrecognised(why) => why.as_str(),
        }
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

/// How often each outcome was answered, by a service and its clones, since it was made.
///
/// Many `repeated` are slow networks; `reused_after_grace` beside them, a grace period that is too short; `malformed`, a
/// client that is broken. `reused_older_generation` is where to look for a thief.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let service = service(&database);
/// use refresh_tokens::Binding;
///
/// let _ = service.refresh("let me in", Binding::ANY)?;
/// assert_eq!(service.counts().of("malformed"), 1);
/// for (outcome, count) in service.counts().iter() {
///     println!("refresh_total{{outcome=\"{outcome}\"}} {count}");
/// }
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshCounts {
    counts: [u64; Self::OUTCOMES.len()],
}

impl RefreshCounts {
    /// The names of the outcomes.
    ///
    /// # Example
    ///
    /// ```
    /// assert!(refresh_tokens::RefreshCounts::OUTCOMES.contains(&"reused_older_generation"));
    /// ```
    pub const OUTCOMES: [&str; 12] = [
        "rotated",
        "repeated",
        "reused_after_grace",
        "reused_older_generation",
        "reused_session_ended",
        "not_found",
        "binding_mismatch",
        "revoked",
        "org_revoked",
        "expired",
        "malformed",
        "unknown_key",
    ];

    /// How often this outcome was answered; 0 for a name that is not in [`Self::OUTCOMES`].
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// assert_eq!(service(&database).counts().of("rotated"), 0);
    /// ```
    pub fn of(&self, outcome: &str) -> u64 {
        self.iter().find(|(name, _)| *name == outcome).map_or(0, |(_, count)| count)
    }

    /// Each outcome with its count.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// assert_eq!(service(&database).counts().iter().map(|(_, count)| count).sum::<u64>(), 0);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::OUTCOMES.into_iter().zip(self.counts)
    }
}

/// What is counted.
#[derive(Default)]
pub(super) struct Counters([AtomicU64; RefreshCounts::OUTCOMES.len()]);

impl Counters {
    pub(super) fn count(&self, outcome: &Refresh) {
        let name = outcome.as_str();
        if let Some(place) = RefreshCounts::OUTCOMES.iter().position(|known| *known == name) {
            self.0[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> RefreshCounts {
        RefreshCounts { counts: std::array::from_fn(|place| self.0[place].load(Ordering::Relaxed)) }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}
