//! The verbs of the library, as calls: each client of a configuration makes one.

use std::fmt;

use crate::database::{Org, Row, Scope, Session, Token, User};

/// What the breach response revokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnReuse {
    Session,
    /// But within the grace period, an unused successor is the answer to whoever presents its predecessor.
    SessionAfterGrace,
    Chain,
    User,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// With `org`, the session goes on in another organisation.
    Rotate {
        presented: Token,
        successor: Token,
        org: Option<Org>,
    },
    /// Locks in one statement and writes in another, with the host's work in between.
    RotateInGuard {
        presented: Token,
        successor: Token,
    },
    /// Each with its successor; `hosted`: in a transaction of the host's.
    RotateMany {
        requests: [(Token, Token); 2],
        hosted: bool,
    },
    /// Rotates; a token that was used before has its breach response, once.
    Redeem {
        presented: Token,
        successor: Token,
        on_reuse: OnReuse,
    },
    /// `told`: with the instant at which the user was authenticated.
    LogIn {
        token: Token,
        session: Session,
        user: User,
        org: Org,
        told: bool,
    },
    /// Ends the user's other sessions: at most one is allowed.
    LogInAlone {
        token: Token,
        session: Session,
        user: User,
        org: Org,
    },
    Revoke(Token),
    RevokeChain(Token),
    RevokeSession(Session),
    RevokeUser {
        user: User,
        keep: Option<Token>,
    },
    RevokeMember(User, Org),
    RevokeOrg(Org),
    RevokeEverybody,
    /// Of what has expired.
    CleanUp,
    /// Of what was rotated or revoked, too: however short a time ago, so whatever a policy says.
    CleanUpSpent,
}

impl Verb {
    /// The token that a client shows, and the one that it wants for it.
    pub(crate) fn exchange(self) -> Option<(Token, Token)> {
        match self {
            Self::Rotate { presented, successor, .. }
            | Self::RotateInGuard { presented, successor }
            | Self::Redeem { presented, successor, .. } => Some((presented, successor)),
            _ => None,
        }
    }

    /// Who cannot log in again with an earlier authentication.
    pub(crate) fn cuts_off(self, table: &[Row]) -> Option<Scope> {
        match self {
            Self::Redeem { on_reuse: OnReuse::User, .. } => self.user(table).map(Scope::User),
            Self::RevokeUser { user, .. } => Some(Scope::User(user)),
            Self::RevokeMember(user, org) => Some(Scope::Member(user, org)),
            Self::RevokeOrg(org) => Some(Scope::Org(org)),
            Self::RevokeEverybody => Some(Scope::Everybody),
            _ => None,
        }
    }

    /// Whether a row is of the target that the verb revokes, when it is called on this table.
    pub(crate) fn targets(self, table: &[Row], row: &Row) -> bool {
        let initial = |token| table.iter().find(|row| row.token == token);
        match self {
            Self::Rotate { .. }
            | Self::RotateInGuard { .. }
            | Self::RotateMany { .. }
            | Self::LogIn { .. }
            | Self::LogInAlone { .. }
            | Self::CleanUp
            | Self::CleanUpSpent => false,
            Self::Revoke(token) => row.token == token,
            Self::RevokeChain(start) | Self::Redeem { presented: start, on_reuse: OnReuse::Chain, .. } => {
                initial(start).is_some_and(|start| row.session == start.session && row.generation >= start.generation)
            }
            Self::Redeem { presented, on_reuse: OnReuse::Session | OnReuse::SessionAfterGrace, .. } => {
                initial(presented).is_some_and(|start| row.session == start.session)
            }
            Self::Redeem { presented, on_reuse: OnReuse::User, .. } => {
                initial(presented).is_some_and(|start| row.user == start.user)
            }
            Self::RevokeSession(session) => row.session == session,
            Self::RevokeUser { user, .. } => row.user == user,
            Self::RevokeMember(user, org) => row.user == user && row.org == org,
            Self::RevokeOrg(org) => row.org == org,
            Self::RevokeEverybody => true,
        }
    }

    /// Whose gate it passes or shuts, if it is that of one user.
    pub(crate) fn user(self, table: &[Row]) -> Option<User> {
        match self {
            Self::LogIn { user, .. }
            | Self::LogInAlone { user, .. }
            | Self::RevokeUser { user, .. }
            | Self::RevokeMember(user, _) => Some(user),
            Self::Rotate { presented, .. } | Self::Redeem { presented, .. } => {
                table.iter().find(|row| row.token == presented).map(|row| row.user)
            }
            verb => table.iter().find(|row| verb.targets(table, row)).map(|row| row.user),
        }
    }

    /// The session that a revocation of its user leaves alone.
    pub(crate) fn spares(self, table: &[Row]) -> Option<Session> {
        let Self::RevokeUser { keep: Some(keep), .. } = self else { return None };
        table.iter().find(|row| row.token == keep).map(|row| row.session)
    }
}

impl fmt::Debug for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rotate { presented, successor, org: None } => write!(f, "rotate {presented:?} to {successor:?}"),
            Self::Rotate { presented, successor, org: Some(org) } => {
                write!(f, "rotate {presented:?} to {successor:?} in {org:?}")
            }
            Self::RotateInGuard { presented, successor } => write!(f, "rotate {presented:?} to {successor:?} in guard"),
            Self::RotateMany { requests: [one, other], hosted } => {
                let host = if *hosted { " for a host" } else { "" };
                write!(f, "rotate {:?} to {:?} and {:?} to {:?}{host}", one.0, one.1, other.0, other.1)
            }
            Self::Redeem { presented, successor, on_reuse } => {
                write!(f, "redeem {presented:?} for {successor:?}, or lose {on_reuse:?}")
            }
            Self::LogIn { token, user, org, told: true, .. } => write!(f, "log in {user:?} {org:?} {token:?}, told"),
            Self::LogIn { token, user, org, told: false, .. } => write!(f, "log in {user:?} {org:?} {token:?}"),
            Self::LogInAlone { token, user, org, .. } => write!(f, "log in {user:?} {org:?} {token:?}, alone"),
            Self::Revoke(token) => write!(f, "revoke {token:?}"),
            Self::RevokeChain(token) => write!(f, "revoke chain {token:?}"),
            Self::RevokeSession(session) => write!(f, "revoke session {session:?}"),
            Self::RevokeUser { user, keep: None } => write!(f, "revoke user {user:?}"),
            Self::RevokeUser { user, keep: Some(keep) } => write!(f, "revoke user {user:?} except {keep:?}"),
            Self::RevokeMember(user, org) => write!(f, "revoke {user:?} in {org:?}"),
            Self::RevokeOrg(org) => write!(f, "revoke org {org:?}"),
            Self::RevokeEverybody => write!(f, "revoke everybody"),
            Self::CleanUp => write!(f, "clean up"),
            Self::CleanUpSpent => write!(f, "clean up spent"),
        }
    }
}
