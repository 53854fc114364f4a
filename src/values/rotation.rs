//! What a rotation answers.

use std::fmt;

use crate::values::token::RefreshToken;

/// The outcome of [`rotate`](crate::RefreshTokenRepository::rotate).
///
/// A refusal is an `Ok` value: an `Err` would make Diesel roll back the transaction around it, and with it a
/// breach response.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// # let presented = tokens.create(&new_token())?.token_hash;
/// use refresh_tokens::{Binding, Refusal, Rotation};
///
/// match tokens.rotate(&presented, &successor(), Binding::ANY)? {
///     Rotation::Rotated(token) | Rotation::Repeated(token) => assert_eq!(token.generation, 1),
///     Rotation::Refused(Refusal::Reused(stale)) => {
///         tokens.revoke_token_chain(stale.id)?;
///     }
///     Rotation::Refused(_) => {}
/// }
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a refusal is an Ok value: unless you match on it, a stolen token goes unnoticed"]
pub enum Rotation {
    /// The successor: give its secret to the client.
    Rotated(RefreshToken),
    /// The successor that this very request had made before: the answer was lost, and here it is again.
    Repeated(RefreshToken),
    /// Nothing was changed.
    Refused(Refusal),
}

impl Rotation {
    /// The successor, if there is one.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{Refusal, Rotation};
    ///
    /// assert!(Rotation::Refused(Refusal::NotFound).successor().is_none());
    /// ```
    pub fn successor(self) -> Option<RefreshToken> {
        match self {
            Self::Rotated(token) | Self::Repeated(token) => Some(token),
            Self::Refused(_) => None,
        }
    }
}

/// Why a presented token was refused, in the order in which it is decided.
///
/// The first that applies is given. Tell the client only `invalid_grant` (RFC 6749 §5.2), whichever it is.
///
/// # Example
///
/// ```
/// use refresh_tokens::Refusal;
///
/// /// Which refusals a security team wants to hear of.
/// fn is_suspicious(refusal: &Refusal) -> bool {
///     matches!(refusal, Refusal::Reused(_) | Refusal::BindingMismatch(_))
/// }
/// assert!(!is_suspicious(&Refusal::NotFound));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No row has this hash: it never existed, or retention deleted it.
    NotFound,
    /// It has been rotated already, by a request with another successor: it was copied, or the client lost an
    /// answer (RFC 9700 §4.14.2). Also where it was revoked or has expired since, or belongs to somebody else.
    Reused(RefreshToken),
    /// It belongs to another user or organisation than the [`Binding`](crate::Binding) says.
    BindingMismatch(RefreshToken),
    /// It was revoked. For a rotation that is sent again: it, or the successor that it had made, was.
    Revoked(RefreshToken),
    /// It is neither rotated nor revoked, but the organisation that its successor was to switch to, or the user in that organisation, was
    /// revoked after the session began. Without the switch it may be rotated; for the switch, have the user log in.
    OrgRevoked(RefreshToken),
    /// It expired, or its session did. For a rotation that is sent again: the successor that it had made did.
    Expired(RefreshToken),
}

impl Refusal {
    /// The row it is about: the presented token, or the successor where the variant says so.
    ///
    /// # Example
    ///
    /// ```
    /// assert!(refresh_tokens::Refusal::NotFound.token().is_none());
    /// ```
    pub fn token(&self) -> Option<&RefreshToken> {
        match self {
            Self::NotFound => None,
            Self::Reused(token)
            | Self::BindingMismatch(token)
            | Self::Revoked(token)
            | Self::OrgRevoked(token)
            | Self::Expired(token) => Some(token),
        }
    }

    /// A word for logs and metrics: `not_found`, `reused`, `binding_mismatch`, `revoked`,
    /// `org_revoked` or `expired`.
    ///
    /// # Example
    ///
    /// ```
    /// assert_eq!(refresh_tokens::Refusal::NotFound.as_str(), "not_found");
    /// ```
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Reused(_) => "reused",
            Self::BindingMismatch(_) => "binding_mismatch",
            Self::Revoked(_) => "revoked",
            Self::OrgRevoked(_) => "org_revoked",
            Self::Expired(_) => "expired",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
