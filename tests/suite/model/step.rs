//! A step of a sequence: a verb with its arguments, drawn from small pools so that they collide.

use std::fmt;

use chrono::{DateTime, Duration, Utc};
use refresh_tokens::TokenHash;
use uuid::Uuid;

use super::rules::Model;

/// A token, by the order of birth. It names an id as well as a hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(pub(super) u32);

impl Name {
    /// Never born.
    pub(super) const NOBODY: Self = Self(u32::MAX);

    pub(super) fn id(self) -> Uuid {
        Uuid::from_u128((0xA << 120) + u128::from(self.0))
    }

    /// The token of an id; `NOBODY` for an id that no step has given.
    pub(super) fn of(id: Uuid) -> Self {
        let number = id.as_u128().wrapping_sub(0xA << 120);
        u32::try_from(number).map_or(Self::NOBODY, Self)
    }

    pub(super) fn text(self) -> String {
        format!("hash of {self:?}")
    }

    pub(super) fn hash(self) -> TokenHash {
        TokenHash::new(self.text()).expect("it is valid")
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NOBODY => write!(f, "nobody"),
            Self(number) => write!(f, "t{number}"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct User(pub(super) u8);

impl User {
    pub(super) fn id(self) -> Uuid {
        Uuid::from_u128((0xB << 120) + u128::from(self.0))
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u{}", self.0)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Org(pub(super) u8);

impl Org {
    pub(super) fn id(self) -> Uuid {
        Uuid::from_u128((0xC << 120) + u128::from(self.0))
    }
}

impl fmt::Debug for Org {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "o{}", self.0)
    }
}

/// An expiry: this many days and a half from the start of the sequence, so that the seconds which a sequence
/// takes never decide about it. Negative is past.
pub(super) type Days = i64;

pub(super) fn instant(start: DateTime<Utc>, days: Days) -> DateTime<Utc> {
    start + Duration::hours(24 * days + 12)
}

/// Who acts on the table: this library, or the reference's statements beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Actor {
    Library,
    Reference,
}

/// How a rotation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `rotate`.
    Verb,
    /// `transaction`, `get_valid_for_rotation`, `rotate_to`.
    Guard,
    /// The reference's three statements in a transaction.
    Reference,
}

/// What a presenter must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) user: Option<User>,
    pub(super) org: Option<Org>,
}

/// A token that exists only when the step is reached: which one, among those that are then of a kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pick {
    Fresh,
    /// The successor that the presented token was rotated to.
    Made,
    Valid(u8),
    /// Rotated.
    Spent(u8),
    /// Rotated, and its parent is there.
    Middle(u8),
    /// Rotated to a token that is deleted, while one that descends from it is unrevoked.
    BeforeGap(u8),
    /// In the table.
    Present(u8),
    /// Ever born, also if deleted.
    Born(u8),
    Nobody,
}

/// `T` is `Pick` when drawn and `Name` when reached.
#[derive(Debug, Clone)]
pub(super) enum Step<T> {
    Create {
        by: Actor,
        id: T,
        hash: T,
        user: User,
        org: Org,
        days: Days,
        session_days: Option<Days>,
    },
    GetByHash(T),
    GetValidByHash(T, Bound),
    CheckTokenReuse(T),
    Rotate {
        by: Way,
        presented: T,
        id: T,
        hash: T,
        days: Days,
        org: Option<Org>,
        bound: Bound,
    },
    RevokeTokenChain(Actor, T),
    Revoke(Actor, T),
    RevokeByHash(Actor, T),
    RevokeAllForUser(Actor, User),
    RevokeAllForUserExcept(Actor, User, T),
    GetActiveTokensForUser(User),
    CleanupExpired(Actor, i32),
    /// No verb: time passes for one token, by raw SQL.
    Age(T, Days),
}

/// Whose transaction a step runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    Own,
    HostCommits,
    HostRollsBack,
}

#[derive(Debug, Clone)]
pub(super) struct Turn<T> {
    pub(super) frame: Frame,
    pub(super) step: Step<T>,
}

impl Turn<Pick> {
    pub(super) fn reach(&self, model: &Model) -> Turn<Name> {
        Turn { frame: self.frame, step: self.step.reach(model) }
    }
}

impl Step<Pick> {
    fn reach(&self, model: &Model) -> Step<Name> {
        let name = |pick: &Pick| model.pick(*pick, None);
        match self {
            Self::Create { by, id, hash, user, org, days, session_days } => Step::Create {
                by: *by,
                id: name(id),
                hash: name(hash),
                user: *user,
                org: *org,
                days: *days,
                session_days: *session_days,
            },
            Self::Rotate { by, presented, id, hash, days, org, bound } => {
                let presented = name(presented);
                Step::Rotate {
                    by: *by,
                    presented,
                    id: model.pick(*id, Some(presented)),
                    hash: model.pick(*hash, Some(presented)),
                    days: *days,
                    org: *org,
                    bound: *bound,
                }
            }
            Self::GetByHash(token) => Step::GetByHash(name(token)),
            Self::GetValidByHash(token, bound) => Step::GetValidByHash(name(token), *bound),
            Self::CheckTokenReuse(token) => Step::CheckTokenReuse(name(token)),
            Self::RevokeTokenChain(by, token) => Step::RevokeTokenChain(*by, name(token)),
            Self::Revoke(by, token) => Step::Revoke(*by, name(token)),
            Self::RevokeByHash(by, token) => Step::RevokeByHash(*by, name(token)),
            Self::RevokeAllForUser(by, user) => Step::RevokeAllForUser(*by, *user),
            Self::RevokeAllForUserExcept(by, user, keep) => Step::RevokeAllForUserExcept(*by, *user, name(keep)),
            Self::GetActiveTokensForUser(user) => Step::GetActiveTokensForUser(*user),
            Self::CleanupExpired(by, days) => Step::CleanupExpired(*by, *days),
            Self::Age(token, days) => Step::Age(name(token), *days),
        }
    }
}
