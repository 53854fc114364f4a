//! What happened in a storm: every call with its arguments, its answer and when it ran, and the table at the end.

use chrono::{DateTime, Utc};
use refresh_tokens::{BreachResponse, OnReuse, RefreshToken, RevocationReport, RevokedReason, TokenRevocation};
use uuid::Uuid;

/// A reading of the one counter of a storm: of two calls, one that ended before the other started came first.
pub(super) type Stamp = u64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) thread: usize,
    pub(super) start: Stamp,
    pub(super) end: Stamp,
    pub(super) op: Op,
    pub(super) answer: Answer,
}

/// A call's verb and arguments. A token is named by its id, from which its hash follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    Create(Login),
    Rotate {
        by: By,
        request: Request,
        frame: Frame,
    },
    Revoke {
        target: Target,
        frame: Frame,
    },
    GetValid(Uuid),
    CheckReuse(Uuid),
    GetActive {
        user: Uuid,
    },
    ListSessions {
        user: Uuid,
    },
    /// Time passes for one token: it expired yesterday.
    Expire(Uuid),
    /// Time passes for one token: if it was rotated, it was yesterday.
    Age(Uuid),
    /// The same for all tokens of a session but its first: what lies between is due before its ends.
    AgeBetween(Uuid),
    CleanUp,
    /// Of what has expired, what was rotated more than an hour ago, and what was revoked.
    CleanUpBy {
        archives: bool,
        batch: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) token: Uuid,
    pub(super) user: Uuid,
    pub(super) org: Uuid,
    pub(super) authenticated: Option<Authenticated>,
    /// It lives for some milliseconds.
    pub(super) is_short: bool,
}

/// The store's `now`, and when it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Authenticated {
    pub(super) start: Stamp,
    pub(super) end: Stamp,
    pub(super) at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) presented: Uuid,
    pub(super) successor: Uuid,
    pub(super) org: Option<Uuid>,
    /// The user whom the token must belong to.
    pub(super) binding: Option<Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Rotate,
    /// `rotate_many`, in a batch with other requests: each is a call of its own here, and all of them ran at once.
    Many,
    Redeem(OnReuse),
    /// `get_valid_for_rotation` and `rotate_to`.
    Guard,
    /// The reference's statements, in a transaction.
    Reference,
}

/// The transaction around a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    Own,
    /// One that the group rotator shares among callers.
    Group,
    Committed,
    RolledBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Token(Uuid),
    Hash(Uuid),
    Chain(Uuid),
    Session(Uuid),
    /// A session by its live token alone.
    Live(Uuid),
    /// The session of a token, by its hash.
    SessionOf(Uuid),
    User(Uuid),
    Except {
        user: Uuid,
        keep: Uuid,
    },
    ExceptSession {
        user: Uuid,
        session: Uuid,
    },
    Member {
        user: Uuid,
        org: Uuid,
    },
    Org(Uuid),
    Everyone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A token that is new, or that the same request had made before.
    Born(Row),
    Refused(Why, Option<Row>),
    /// With what `redeem` did about it.
    Reused(Row, Option<BreachResponse>),
    Found(Vec<Row>),
    /// The live ones.
    Sessions(Vec<Uuid>),
    Ended(RevocationReport),
    EndedOne(TokenRevocation),
    /// How many rows were written or deleted.
    Rows(usize),
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    NotFound,
    BindingMismatch,
    Revoked,
    OrgRevoked,
    Expired,
    RevokedSinceLogin,
    /// `get_valid_for_rotation`, and the reference, do not say.
    NotSaid,
}

/// A row; `RefreshToken` cannot be made outside of the crate, and the tests of the checker make some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) user: Uuid,
    pub(super) org: Uuid,
    pub(super) session: Uuid,
    pub(super) generation: i32,
    pub(super) rotated_to: Option<Uuid>,
    pub(super) rotated_at: Option<DateTime<Utc>>,
    pub(super) is_revoked: bool,
    pub(super) reason: Option<RevokedReason>,
    pub(super) is_reused: bool,
    pub(super) created_at: DateTime<Utc>,
    pub(super) session_started_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
}

impl From<&RefreshToken> for Row {
    fn from(token: &RefreshToken) -> Self {
        Self {
            id: token.id,
            user: token.user_id,
            org: token.active_org_id,
            session: token.session_id,
            generation: token.generation,
            rotated_to: token.rotated_to,
            rotated_at: token.rotated_at,
            is_revoked: token.revoked_at.is_some(),
            reason: token.revoked_reason,
            is_reused: token.reused_at.is_some(),
            created_at: token.created_at,
            session_started_at: token.session_started_at,
            expires_at: token.expires_at,
        }
    }
}

impl Row {
    /// Neither rotated nor revoked.
    pub(super) fn is_unspent(&self) -> bool {
        self.rotated_to.is_none() && !self.is_revoked
    }
}

/// A whole storm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct History {
    pub(super) calls: Vec<Call>,
    /// The tables after the last call, and the database's clock then.
    pub(super) table: Vec<Row>,
    pub(super) archive: Vec<Row>,
    pub(super) read_at: DateTime<Utc>,
    /// How often the server was killed meanwhile.
    pub(super) kills: usize,
}

impl History {
    /// Takes out, and returns, what is refused by design in a host's transaction above READ COMMITTED, and the conflicts
    /// of those that the host rolls back and does not make again. They say that they changed nothing.
    pub(super) fn set_aside_what_is_refused(&mut self) -> Self {
        let is_refused = |call: &Call| match (&call.answer, call.frame()) {
            (Answer::Failed(error), Frame::Committed) => error == "IsolationTooHigh",
            (Answer::Failed(error), Frame::RolledBack) => error == "IsolationTooHigh" || error == "Conflict",
            _ => false,
        };
        let (refused, calls) = self.calls.drain(..).partition(is_refused);
        self.calls = calls;
        Self { calls: refused, ..self.clone() }
    }
}

impl Call {
    pub(super) fn is_clean_up(&self) -> bool {
        matches!(self.op, Op::CleanUp | Op::CleanUpBy { .. })
    }

    pub(super) fn frame(&self) -> Frame {
        match self.op {
            Op::Rotate { frame, .. } | Op::Revoke { frame, .. } => frame,
            _ => Frame::Own,
        }
    }

    /// It stays, whatever it did.
    pub(super) fn is_committed(&self) -> bool {
        self.frame() != Frame::RolledBack
    }

    /// It may have happened, or not: the connection was lost. What was to be rolled back did not happen.
    pub(super) fn is_unknown(&self) -> bool {
        self.is_committed() && matches!(&self.answer, Answer::Failed(error) if error == "ConnectionLost")
    }

    /// The rows that the answer shows.
    pub(super) fn rows(&self) -> &[Row] {
        match &self.answer {
            Answer::Born(row) | Answer::Reused(row, _) | Answer::Refused(_, Some(row)) => std::slice::from_ref(row),
            Answer::Found(rows) => rows,
            _ => &[],
        }
    }
}
