//! What takes the place of a token. Nothing here talks to the database.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::error::{InvalidInput, lifetime_in_range, not_nil, not_too_far};
use crate::values::token_hash::TokenHash;

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
/// let successor = Successor::expiring_at(Uuid::new_v4(), hash, Utc::now() + Duration::days(30));
/// let in_another_org = successor.active_org_id(Uuid::new_v4());
/// # let _ = in_another_org;
/// # Ok::<(), refresh_tokens::InvalidInput>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "its methods return the changed value"]
pub struct Successor {
    pub(crate) id: Uuid,
    pub(crate) token_hash: TokenHash,
    pub(crate) expiry: Expiry,
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
    /// let successor = refresh_tokens::Successor::expiring_at(uuid::Uuid::new_v4(), fresh_hash(), in_days(30));
    /// # let _ = successor;
    /// ```
    pub fn expiring_at(id: Uuid, token_hash: TokenHash, expires_at: DateTime<Utc>) -> Self {
        Self { id, token_hash, expiry: Expiry::At(expires_at), active_org_id: None }
    }

    /// A successor that is valid for so long from its birth on, by the database's clock.
    ///
    /// Like [`expiring_at`](Self::expiring_at), where the clock of this machine is not to be asked.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let presented = tokens.create(&new_token())?.token_hash;
    /// use chrono::TimeDelta;
    /// use refresh_tokens::{Binding, Rotation, Successor};
    ///
    /// let successor = Successor::with_lifetime(uuid::Uuid::new_v4(), fresh_hash(), TimeDelta::days(30));
    /// let Rotation::Rotated(token) = tokens.rotate(&presented, &successor, Binding::ANY)? else { panic!() };
    /// let lifetime = token.expires_at - token.created_at;
    /// assert!((lifetime - TimeDelta::days(30)).abs() < TimeDelta::seconds(1));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn with_lifetime(id: Uuid, token_hash: TokenHash, lifetime: TimeDelta) -> Self {
        Self { id, token_hash, expiry: Expiry::After(lifetime), active_org_id: None }
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
    pub fn active_org_id(mut self, org_id: Uuid) -> Self {
        self.active_org_id = Some(org_id);
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidInput> {
        not_nil("successor.id", self.id)?;
        if let Some(org_id) = self.active_org_id {
            not_nil("successor.active_org_id", org_id)?;
        }
        match self.expiry {
            Expiry::At(instant) => not_too_far("successor.expires_at", instant),
            Expiry::After(lifetime) => lifetime_in_range("successor.lifetime", lifetime),
        }
    }
}

/// When a successor expires, if its session does not end before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    At(DateTime<Utc>),
    /// So long after the database's clock at its birth.
    After(TimeDelta),
}

impl Expiry {
    pub(crate) fn instant(self) -> Option<DateTime<Utc>> {
        match self {
            Self::At(instant) => Some(instant),
            Self::After(_) => None,
        }
    }

    pub(crate) fn lifetime(self) -> Option<TimeDelta> {
        match self {
            Self::At(_) => None,
            Self::After(lifetime) => Some(lifetime),
        }
    }

    /// In microseconds, as the database compares.
    pub(crate) fn is_after(self, now: DateTime<Utc>) -> bool {
        self.instant().is_none_or(|instant| instant.timestamp_micros() > now.timestamp_micros())
    }
}
