//! Each statement: its text, its values, its row.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Interval, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use crate::db::prepared::{Places, Statement};
use crate::schema::refresh_tokens;
use crate::values::{Binding, NewRefreshToken, RevokedReason, RotationRequest, SessionQuery, Successor, TokenHash};

type AllColumns = refresh_tokens::SqlType;

/// Returns the database's clock, whether a revocation is newer than the login, and the row, if it was written.
pub(crate) struct Create<'a>(pub(crate) &'a NewRefreshToken);

impl Statement for Create<'_> {
    const TEXT: &'static str = include_str!("../sql/create.sql");
    type Id = Create<'static>;
    type Row = (Timestamptz, Bool, Nullable<AllColumns>);

    fn fill<'b>(&'b self, places: &mut Places<'_, 'b>) -> QueryResult<()> {
        places.value::<SqlUuid, _>(&self.0.id)?;
        places.value::<SqlUuid, _>(&self.0.user_id)?;
        places.value::<Text, _>(&self.0.token_hash)?;
        places.value::<SqlUuid, _>(&self.0.active_org_id)?;
        places.value::<Timestamptz, _>(&self.0.expires_at)?;
        places.value::<Nullable<Timestamptz>, _>(&self.0.session.expires_at)?;
        places.value::<Nullable<Timestamptz>, _>(&self.0.session.authenticated_at)
    }
}

/// Returns the successor, or no row and changes nothing: because nothing was locked, or for whatever other reason.
pub(crate) struct Rotate<'a, L> {
    /// Locks the presented token and returns its columns `id`, `user_id`, `active_org_id`, `expires_at` and
    /// `session_expires_at`.
    lock: L,
    successor: &'a Successor,
    expires_at: Option<DateTime<Utc>>,
    lifetime: Option<TimeDelta>,
    binding: &'a Binding,
}

impl<'a, L> Rotate<'a, L> {
    pub(crate) fn new(lock: L, successor: &'a Successor, binding: &'a Binding) -> Self {
        let (expires_at, lifetime) = (successor.expiry.instant(), successor.expiry.lifetime());
        Self { lock, successor, expires_at, lifetime, binding }
    }
}

impl<L: QueryFragment<Pg> + QueryId<QueryId: 'static>> Statement for Rotate<'_, L> {
    const TEXT: &'static str = include_str!("../sql/rotate.sql");
    type Id = Rotate<'static, L::QueryId>;
    type Row = AllColumns;

    fn fill<'b>(&'b self, places: &mut Places<'_, 'b>) -> QueryResult<()> {
        places.query(&self.lock)?;
        places.value::<SqlUuid, _>(&self.successor.id)?;
        places.value::<Nullable<Timestamptz>, _>(&self.expires_at)?;
        places.value::<Nullable<SqlUuid>, _>(&self.binding.user_id)?;
        places.value::<Nullable<SqlUuid>, _>(&self.binding.org_id)?;
        places.value::<Nullable<SqlUuid>, _>(&self.successor.active_org_id)?;
        places.value::<Text, _>(&self.successor.token_hash)?;
        places.value::<Nullable<Timestamptz>, _>(&self.expires_at)?;
        places.value::<Nullable<Interval>, _>(&self.lifetime)
    }
}

/// Returns the successors of those that could be rotated.
pub(crate) struct RotateMany<'a, L> {
    /// Locks what it can of the presented tokens, and returns what [`Rotate::lock`] does and `token_hash`.
    lock: L,
    presented: Vec<&'a TokenHash>,
    ids: Vec<Uuid>,
    hashes: Vec<&'a TokenHash>,
    expire_at: Vec<Option<DateTime<Utc>>>,
    lifetimes: Vec<Option<TimeDelta>>,
    of_users: Vec<Option<Uuid>>,
    of_orgs: Vec<Option<Uuid>>,
    to_orgs: Vec<Option<Uuid>>,
}

impl<'a, L> RotateMany<'a, L> {
    pub(crate) fn new(lock: L, requests: &[&'a RotationRequest]) -> Self {
        Self {
            lock,
            presented: requests.iter().map(|request| &request.presented).collect(),
            ids: requests.iter().map(|request| request.successor.id).collect(),
            hashes: requests.iter().map(|request| &request.successor.token_hash).collect(),
            expire_at: requests.iter().map(|request| request.successor.expiry.instant()).collect(),
            lifetimes: requests.iter().map(|request| request.successor.expiry.lifetime()).collect(),
            of_users: requests.iter().map(|request| request.binding.user_id).collect(),
            of_orgs: requests.iter().map(|request| request.binding.org_id).collect(),
            to_orgs: requests.iter().map(|request| request.successor.active_org_id).collect(),
        }
    }
}

impl<L: QueryFragment<Pg> + QueryId<QueryId: 'static>> Statement for RotateMany<'_, L> {
    const TEXT: &'static str = include_str!("../sql/rotate_many.sql");
    type Id = RotateMany<'static, L::QueryId>;
    type Row = AllColumns;

    fn fill<'b>(&'b self, places: &mut Places<'_, 'b>) -> QueryResult<()> {
        places.query(&self.lock)?;
        places.value::<Array<Text>, _>(&self.presented)?;
        places.value::<Array<SqlUuid>, _>(&self.ids)?;
        places.value::<Array<Text>, _>(&self.hashes)?;
        places.value::<Array<Nullable<Timestamptz>>, _>(&self.expire_at)?;
        places.value::<Array<Nullable<Interval>>, _>(&self.lifetimes)?;
        places.value::<Array<Nullable<SqlUuid>>, _>(&self.of_users)?;
        places.value::<Array<Nullable<SqlUuid>>, _>(&self.of_orgs)?;
        places.value::<Array<Nullable<SqlUuid>>, _>(&self.to_orgs)
    }
}

/// Returns the database's clock and the successor, or no successor where an expiry forbids it.
pub(crate) struct RotateLocked<'a> {
    successor: &'a Successor,
    expires_at: Option<DateTime<Utc>>,
    lifetime: Option<TimeDelta>,
    predecessor_id: Uuid,
    judged_at: Option<DateTime<Utc>>,
}

impl<'a> RotateLocked<'a> {
    /// `judged_at` is when the predecessor was found valid under its lock; `None` to judge it now.
    pub(crate) fn new(successor: &'a Successor, predecessor_id: Uuid, judged_at: Option<DateTime<Utc>>) -> Self {
        let (expires_at, lifetime) = (successor.expiry.instant(), successor.expiry.lifetime());
        Self { successor, expires_at, lifetime, predecessor_id, judged_at }
    }
}

impl Statement for RotateLocked<'_> {
    const TEXT: &'static str = include_str!("../sql/rotate_locked.sql");
    type Id = RotateLocked<'static>;
    type Row = (Timestamptz, Nullable<AllColumns>);

    fn fill<'b>(&'b self, places: &mut Places<'_, 'b>) -> QueryResult<()> {
        places.value::<SqlUuid, _>(&self.successor.id)?;
        places.value::<Text, _>(&self.successor.token_hash)?;
        places.value::<Nullable<SqlUuid>, _>(&self.successor.active_org_id)?;
        places.value::<Nullable<Timestamptz>, _>(&self.expires_at)?;
        places.value::<Nullable<Interval>, _>(&self.lifetime)?;
        places.value::<SqlUuid, _>(&self.predecessor_id)?;
        places.value::<Nullable<Timestamptz>, _>(&self.judged_at)
    }
}

/// Returns a row for each session, and one more than a page has if there are more.
pub(crate) struct ListSessions<'a>(pub(crate) &'a SessionQuery);

impl Statement for ListSessions<'_> {
    const TEXT: &'static str = include_str!("../sql/list_sessions.sql");
    type Id = ListSessions<'static>;
    type Row = AllColumns;

    fn fill<'b>(&'b self, places: &mut Places<'_, 'b>) -> QueryResult<()> {
        places.value::<SqlUuid, _>(&self.0.user_id)?;
        places.value::<Nullable<Timestamptz>, _>(&self.0.started_before)?;
        places.value::<Nullable<SqlUuid>, _>(&self.0.id_before)?;
        places.value::<Bool, _>(&self.0.include_ended)?;
        places.value::<BigInt, _>(&self.0.rows)
    }
}

/// What one pass of a revocation met: see [`Pass`](crate::protocol::revoke::Pass).
type PassRow = (BigInt, BigInt, BigInt, Array<SqlUuid>);

/// One pass over a token and all that descends from it.
pub(crate) struct ChainPass {
    pub(crate) token_id: Uuid,
    pub(crate) session_id: Uuid,
    pub(crate) generation: i32,
    pub(crate) reason: RevokedReason,
}

impl Statement for ChainPass {
    const TEXT: &'static str =
        concat!(include_str!("../sql/seen_in_chain.sql"), include_str!("../sql/revoke_seen.sql"));
    type Id = Self;
    type Row = PassRow;

    fn fill<'b>(&'b self, places: &mut Places<'_, 'b>) -> QueryResult<()> {
        places.value::<SqlUuid, _>(&self.token_id)?;
        places.value::<SqlUuid, _>(&self.session_id)?;
        places.value::<Integer, _>(&self.generation)?;
        places.value::<Text, _>(&self.reason)
    }
}

/// One pass over a session.
pub(crate) struct SessionPass {
    pub(crate) session_id: Uuid,
    pub(crate) reason: RevokedReason,
}

impl Statement for SessionPass {
    const TEXT: &'static str =
        concat!(include_str!("../sql/seen_in_session.sql"), include_str!("../sql/revoke_seen.sql"));
    type Id = Self;
    type Row = PassRow;

    fn fill<'b>(&'b self, places: &mut Places<'_, 'b>) -> QueryResult<()> {
        places.value::<SqlUuid, _>(&self.session_id)?;
        places.value::<Text, _>(&self.reason)
    }
}

/// One attempt to end a session by its newest row.
pub(crate) struct EndSession<'a> {
    pub(crate) session_id: Option<Uuid>,
    pub(crate) any_token: Option<&'a TokenHash>,
    pub(crate) reason: RevokedReason,
}

impl Statement for EndSession<'_> {
    const TEXT: &'static str = include_str!("../sql/end_session.sql");
    type Id = EndSession<'static>;
    type Row = PassRow;

    fn fill<'b>(&'b self, places: &mut Places<'_, 'b>) -> QueryResult<()> {
        places.value::<Nullable<SqlUuid>, _>(&self.session_id)?;
        places.value::<Nullable<Text>, _>(&self.any_token)?;
        places.value::<Text, _>(&self.reason)
    }
}

/// The texts, and how many places each fills.
#[cfg(test)]
pub(crate) const ALL: [(&str, usize); 8] = [
    (Create::TEXT, 7),
    (include_str!("../sql/rotate.sql"), 9),
    (include_str!("../sql/rotate_many.sql"), 9),
    (RotateLocked::TEXT, 7),
    (ListSessions::TEXT, 5),
    (ChainPass::TEXT, 4),
    (SessionPass::TEXT, 2),
    (EndSession::TEXT, 3),
];
