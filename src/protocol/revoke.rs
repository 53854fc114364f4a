//! Revocation of a chain, a session, a user: what belongs to one user. `token` has single tokens, `tenant` whole tenants.
//!
//! Each is one UPDATE, repeated in one transaction until a pass sees no unrevoked row. A rotation in flight holds the
//! lock of an unrevoked predecessor, so a pass that sees none has seen every birth; ARCHITECTURE.md has the argument.
//! The order of locks: the user's gate, then rows, oldest first.

pub(crate) mod tenant;
pub(crate) mod token;

use std::collections::HashSet;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use crate::db::{ChainPass, EndSession, Prepared, SessionPass, read_committed, read_committed_step, spliced, whole};
use crate::error::{Error, Result, Wait};
use crate::protocol::gate::{self, Cutoff};
use crate::schema::refresh_tokens;
use crate::telemetry::locking;
use crate::values::{RevocationReport, RevokedReason, TokenHash};

/// How many passes a revocation makes before it gives up with [`Error::Busy`] and [`Wait::NewTokens`].
///
/// Two are usual: one that revokes, one that finds nothing left. Each further one needs a rotation or login that
/// was committed while the pass before it ran.
const MAX_PASSES: usize = 100;

/// What one pass met: how many unrevoked rows in its snapshot, and what it revoked of them.
#[derive(QueryableByName, Queryable)]
pub(crate) struct Pass {
    #[diesel(sql_type = BigInt)]
    seen: i64,
    #[diesel(sql_type = BigInt)]
    tokens: i64,
    #[diesel(sql_type = BigInt)]
    live: i64,
    /// Of the live ones.
    #[diesel(sql_type = Array<SqlUuid>)]
    sessions: Vec<Uuid>,
}

/// Looks up whom a token leads to, and revokes them in the same transaction; nobody, where there is no such token.
///
/// Looked up once: should the row be deleted between two passes, or before all is made again after a conflict, it is known
/// whom it led to.
fn look_up_and_revoke<T: Copy>(
    conn: &mut PgConnection,
    look_up: impl Fn(&mut PgConnection) -> QueryResult<Option<T>>,
    revoke: impl Fn(&mut PgConnection, T) -> Result<RevocationReport>,
) -> Result<RevocationReport> {
    let mut found = None;
    read_committed_step(conn, |conn, _| {
        if found.is_none() {
            found = look_up(conn)?;
        }
        found.map_or(Ok(RevocationReport::default()), |found| revoke(conn, found))
    })
}

/// A token and all that descends from it.
pub(crate) fn revoke_chain(conn: &mut PgConnection, token_id: Uuid, reason: RevokedReason) -> Result<RevocationReport> {
    let start = |conn: &mut PgConnection| {
        let columns = (refresh_tokens::user_id, refresh_tokens::session_id, refresh_tokens::generation);
        refresh_tokens::table.find(token_id).select(columns).first::<(Uuid, Uuid, i32)>(conn).optional()
    };
    look_up_and_revoke(conn, start, |conn, (user_id, session_id, generation)| {
        gate::hold(conn, user_id)?;
        chain_passes(conn, token_id, session_id, generation, reason)
    })
}

/// The user's gate must be held.
pub(crate) fn chain_passes(
    conn: &mut PgConnection,
    token_id: Uuid,
    session_id: Uuid,
    generation: i32,
    reason: RevokedReason,
) -> Result<RevocationReport> {
    repeat_until_none_is_seen(|| Prepared(ChainPass { token_id, session_id, generation, reason }).get_result(conn))
}

/// All tokens of a session.
pub(crate) fn revoke_session(
    conn: &mut PgConnection,
    session_id: Uuid,
    reason: RevokedReason,
) -> Result<RevocationReport> {
    revoke_session_of(conn, || Box::new(refresh_tokens::session_id.eq(session_id)), reason)
}

/// All tokens of the session that a presented token belongs to, whatever its state.
pub(crate) fn revoke_session_by_hash(
    conn: &mut PgConnection,
    presented: &TokenHash,
    reason: RevokedReason,
) -> Result<RevocationReport> {
    revoke_session_of(conn, || Box::new(refresh_tokens::token_hash.eq(presented)), reason)
}

/// Which tokens a statement is about.
pub(crate) type Which<'a> = Box<dyn BoxableExpression<refresh_tokens::table, Pg, SqlType = Bool> + 'a>;

fn revoke_session_of<'a>(
    conn: &mut PgConnection,
    any_token: impl Fn() -> Which<'a>,
    reason: RevokedReason,
) -> Result<RevocationReport> {
    let session = |conn: &mut PgConnection| {
        let columns = (refresh_tokens::user_id, refresh_tokens::session_id);
        refresh_tokens::table.filter(any_token()).select(columns).first::<(Uuid, Uuid)>(conn).optional()
    };
    look_up_and_revoke(conn, session, |conn, (user_id, session_id)| {
        gate::hold(conn, user_id)?;
        session_passes(conn, session_id, reason)
    })
}

/// The user's gate must be held.
pub(crate) fn session_passes(
    conn: &mut PgConnection,
    session_id: Uuid,
    reason: RevokedReason,
) -> Result<RevocationReport> {
    repeat_until_none_is_seen(|| Prepared(SessionPass { session_id, reason }).get_result(conn))
}

/// The session by its one row that is not spent.
pub(crate) fn end_session(
    conn: &mut PgConnection,
    session_id: Option<Uuid>,
    any_token: Option<&TokenHash>,
    reason: RevokedReason,
) -> Result<RevocationReport> {
    read_committed(conn, |conn| end_session_passes(conn, session_id, any_token, reason))
}

/// No gate is passed: this holds one row, so that nobody can wait for it in a circle, and no login joins a session.
pub(crate) fn end_session_passes(
    conn: &mut PgConnection,
    session_id: Option<Uuid>,
    any_token: Option<&TokenHash>,
    reason: RevokedReason,
) -> Result<RevocationReport> {
    let mut statement = || Prepared(EndSession { session_id, any_token, reason }).get_result::<Pass>(conn);
    for _ in 0..MAX_PASSES {
        let pass = locking("rows", &mut statement)?;
        // Holding the newest row unspent, it has no successor, and will have none: nothing is left to be seen.
        if pass.tokens > 0 || pass.seen == 0 {
            return Ok(RevocationReport {
                tokens: whole(pass.tokens),
                sessions: pass.sessions.len(),
                live: whole(pass.live),
            });
        }
    }
    Err(Error::Busy(Wait::NewTokens))
}

/// Which tokens of a user a revocation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfUser {
    All,
    /// Those that act for this organisation.
    InOrg(Uuid),
    /// All but the live token of the session that this one belongs to.
    Except(Uuid),
    /// All but those of this session.
    ExceptSession(Uuid),
}

pub(crate) fn revoke_user(
    conn: &mut PgConnection,
    user_id: Uuid,
    which: OfUser,
    reason: RevokedReason,
) -> Result<RevocationReport> {
    read_committed(conn, |conn| user_passes(conn, user_id, which, reason))
}

/// Shuts the user's gate first.
pub(crate) fn user_passes(
    conn: &mut PgConnection,
    user_id: Uuid,
    which: OfUser,
    reason: RevokedReason,
) -> Result<RevocationReport> {
    let (cutoff, org_id) = match which {
        OfUser::InOrg(org_id) => (Cutoff::Member { user_id, org_id }, Some(org_id)),
        _ => (Cutoff::User(user_id), None),
    };
    gate::shut(conn, user_id)?;
    // Rows of nobody, which only other software writes: the nil UUID would cut off everybody.
    if !user_id.is_nil() {
        gate::cut_off(conn, cutoff)?;
    }
    // Read once, like the start of a chain.
    let (keep, keep_session): (_, Option<Uuid>) = match which {
        OfUser::Except(id) => {
            let session_id =
                refresh_tokens::table.find(id).select(refresh_tokens::session_id).first(conn).optional()?;
            (Some(id), session_id)
        }
        OfUser::ExceptSession(session_id) => (None, Some(session_id)),
        OfUser::All | OfUser::InOrg(_) => (None, None),
    };
    repeat_until_none_is_seen(|| {
        sql_query(spliced(concat!(include_str!("../sql/seen_of_user.sql"), include_str!("../sql/revoke_seen.sql"))))
            .bind::<Text, _>(reason)
            .bind::<SqlUuid, _>(user_id)
            .bind::<Nullable<SqlUuid>, _>(keep)
            .bind::<Nullable<SqlUuid>, _>(keep_session)
            .bind::<Nullable<SqlUuid>, _>(org_id)
            .get_result(conn)
    })
}

fn repeat_until_none_is_seen(mut pass: impl FnMut() -> QueryResult<Pass>) -> Result<RevocationReport> {
    let mut report = RevocationReport::default();
    let mut sessions = HashSet::new();
    for _ in 0..MAX_PASSES {
        let pass = locking("rows", &mut pass)?;
        report.tokens += whole::<usize>(pass.tokens);
        report.live += whole::<usize>(pass.live);
        sessions.extend(pass.sessions);
        if pass.seen == 0 {
            return Ok(RevocationReport { sessions: sessions.len(), ..report });
        }
    }
    Err(Error::Busy(Wait::NewTokens))
}
