//! Revocation of one token, of a chain, of a user.
//!
//! Those of many rows are one UPDATE, repeated in one transaction until a pass sees no unrevoked row. A rotation
//! in flight holds the lock of an unrevoked predecessor, so a pass that sees none has seen every birth;
//! ARCHITECTURE.md has the argument. Rows are locked oldest first.

use diesel::dsl::sql;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use crate::error::{Error, Result, Wait};
use crate::isolation::{Scope, read_committed};
use crate::revoked_reason::RevokedReason;
use crate::rotation::clock_timestamp;
use crate::schema::refresh_tokens;
use crate::token_hash::TokenHash;

/// How many passes a revocation makes before it gives up with [`Error::Busy`] and [`Wait::Births`].
///
/// Two are usual: one that revokes, one that finds nothing left. Each further one needs a rotation or login that
/// was committed while the pass before it ran.
const MAX_PASSES: usize = 100;

/// What one pass met: unrevoked rows in its snapshot, and those that it revoked.
#[derive(QueryableByName)]
struct Pass {
    #[diesel(sql_type = BigInt)]
    seen: i64,
    #[diesel(sql_type = BigInt)]
    revoked: i64,
}

pub(crate) fn revoke_chain(conn: &mut PgConnection, token_id: Uuid) -> Result<usize> {
    read_committed(conn, |conn, scope| {
        check_isolation(conn, scope)?;
        // Read once: should the row be deleted between two passes, the later ones still know its session.
        let start = refresh_tokens::table
            .find(token_id)
            .select((refresh_tokens::session_id, refresh_tokens::generation))
            .first::<(Uuid, i32)>(conn)
            .optional()?;
        let Some((session_id, generation)) = start else { return Ok(0) };
        repeat_until_none_is_seen(|| {
            sql_query(concat!(include_str!("sql/seen_in_chain.sql"), include_str!("sql/revoke_seen.sql")))
                .bind::<Text, _>(RevokedReason::ChainRevoked)
                .bind::<SqlUuid, _>(token_id)
                .bind::<SqlUuid, _>(session_id)
                .bind::<Integer, _>(generation)
                .get_result(conn)
        })
    })
}

/// Spares the live token of the session that `keep` belongs to, if one is named.
pub(crate) fn revoke_user(conn: &mut PgConnection, user_id: Uuid, keep: Option<Uuid>) -> Result<usize> {
    let reason = match keep {
        Some(_) => RevokedReason::OthersRevoked,
        None => RevokedReason::UserRevoked,
    };
    read_committed(conn, |conn, scope| {
        check_isolation(conn, scope)?;
        // Read once, for the same reason.
        let session_id: Option<Uuid> = match keep {
            Some(id) => refresh_tokens::table.find(id).select(refresh_tokens::session_id).first(conn).optional()?,
            None => None,
        };
        repeat_until_none_is_seen(|| {
            sql_query(concat!(include_str!("sql/seen_of_user.sql"), include_str!("sql/revoke_seen.sql")))
                .bind::<Text, _>(reason)
                .bind::<SqlUuid, _>(user_id)
                .bind::<Nullable<SqlUuid>, _>(keep)
                .bind::<Nullable<SqlUuid>, _>(session_id)
                .get_result(conn)
        })
    })
}

/// A host's transaction above READ COMMITTED may have a snapshot from before the call, in which tokens that exist
/// cannot be seen.
fn check_isolation(conn: &mut PgConnection, scope: Scope) -> Result<()> {
    if scope == Scope::Own {
        return Ok(());
    }
    let sees_what_is_committed = "current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')";
    if diesel::select(sql::<Bool>(sees_what_is_committed)).get_result(conn)? {
        return Ok(());
    }
    Err(Error::IsolationTooHigh)
}

fn repeat_until_none_is_seen(mut pass: impl FnMut() -> QueryResult<Pass>) -> Result<usize> {
    let mut total = 0;
    for _ in 0..MAX_PASSES {
        let Pass { seen, revoked } = pass()?;
        total += usize::try_from(revoked).unwrap_or(0);
        if seen == 0 {
            return Ok(total);
        }
    }
    Err(Error::Busy(Wait::Births))
}

pub(crate) fn revoke_by_id(conn: &mut PgConnection, token_id: Uuid) -> Result<bool> {
    revoke_one(conn, Box::new(refresh_tokens::id.eq(token_id)))
}

pub(crate) fn revoke_by_hash(conn: &mut PgConnection, hash: &TokenHash) -> Result<bool> {
    revoke_one(conn, Box::new(refresh_tokens::token_hash.eq(hash)))
}

type Which<'a> = Box<dyn BoxableExpression<refresh_tokens::table, Pg, SqlType = Bool> + 'a>;

fn revoke_one(conn: &mut PgConnection, which: Which<'_>) -> Result<bool> {
    let revoked = conn.transaction(|conn| {
        diesel::update(refresh_tokens::table.filter(which))
            .filter(refresh_tokens::revoked_at.is_null())
            .set((
                refresh_tokens::revoked_at.eq(clock_timestamp().nullable()),
                refresh_tokens::revoked_reason.eq(RevokedReason::TokenRevoked),
            ))
            .execute(conn)
    })?;
    Ok(revoked > 0)
}
