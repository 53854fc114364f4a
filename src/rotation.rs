//! Rotation: the one place that locks a presented token, decides about it, and writes its successor.
//!
//! A row lock on the presented token is what every rotation and every revocation has in common. Holding it,
//! the row can neither be rotated nor revoked by anybody else, so what is decided here stays true until COMMIT.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Timestamptz};

use crate::binding::Binding;
use crate::error::Result;
use crate::input::InvalidInput;
use crate::models::{RefreshToken, Successor};
use crate::outcome::{Refusal, Rotation};
use crate::schema::refresh_tokens;
use crate::statement::Rotate;
use crate::token_hash::TokenHash;

diesel::define_sql_function! {
    /// The database's clock at this very moment, not at the start of the transaction.
    fn clock_timestamp() -> Timestamptz;
}

diesel::define_sql_function! {
    /// The earlier of two instants; NULL counts as none.
    fn least(one: Timestamptz, other: Nullable<Timestamptz>) -> Timestamptz;
}

/// Its own expiry and its session's end lie ahead. They differ only in rows that other software wrote.
#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn has_not_expired() -> _ {
    least(refresh_tokens::expires_at, refresh_tokens::session_expires_at).gt(clock_timestamp())
}

pub(crate) fn rotate(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
) -> Result<Rotation> {
    successor.check()?;
    binding.check()?;
    conn.transaction(|conn| match lock(conn, presented, binding)? {
        Ok(token) => match write_successor(conn, &token, successor, None)? {
            Some(successor) => Ok(Rotation::Rotated(successor)),
            None => Ok(Rotation::Refused(Refusal::Expired(token))),
        },
        Err(Refusal::Reused(token)) if binding.matches(&token) => repeat(conn, token, successor),
        Err(refusal) => Ok(Rotation::Refused(refusal)),
    })
}

/// If a row is found that is neither rotated nor revoked, it is locked until the end of the transaction.
///
/// Expiry is left out: only a statement that starts after the lock is held can judge it. A spent row stays spent, so
/// it is read and not locked: a lock is a write, and replays of one dead token would queue for the disk.
pub(crate) fn lock(
    conn: &mut PgConnection,
    presented: &TokenHash,
    binding: Binding,
) -> QueryResult<Result<RefreshToken, Refusal>> {
    let live = refresh_tokens::table
        .filter(refresh_tokens::token_hash.eq(presented))
        .filter(refresh_tokens::rotated_to.is_null())
        .filter(refresh_tokens::revoked_at.is_null())
        .for_update()
        .select(RefreshToken::as_select())
        .first(conn)
        .optional()?;
    match live {
        Some(token) if binding.matches(&token) => Ok(Ok(token)),
        Some(token) => Ok(Err(Refusal::BindingMismatch(token))),
        None => why_not(conn, presented, binding).map(Err),
    }
}

fn why_not(conn: &mut PgConnection, presented: &TokenHash, binding: Binding) -> QueryResult<Refusal> {
    Ok(match find(conn, presented)? {
        Some(token) if token.rotated_to.is_some() => Refusal::Reused(token),
        Some(token) if !binding.matches(&token) => Refusal::BindingMismatch(token),
        Some(token) if token.revoked_at.is_some() => Refusal::Revoked(token),
        // None, or born since the statement that found nothing to lock.
        _ => Refusal::NotFound,
    })
}

pub(crate) fn find(conn: &mut PgConnection, hash: &TokenHash) -> QueryResult<Option<RefreshToken>> {
    refresh_tokens::table
        .filter(refresh_tokens::token_hash.eq(hash))
        .select(RefreshToken::as_select())
        .first(conn)
        .optional()
}

/// The database's clock, read after the lock is held.
pub(crate) fn now(conn: &mut PgConnection) -> QueryResult<DateTime<Utc>> {
    diesel::select(clock_timestamp()).get_result(conn)
}

/// Spends `token`, which the transaction has locked, and returns its successor; `None` where `token` has expired.
pub(crate) fn write_successor(
    conn: &mut PgConnection,
    token: &RefreshToken,
    successor: &Successor,
    judged_at: Option<DateTime<Utc>>,
) -> Result<Option<RefreshToken>> {
    let statement = Rotate { successor, predecessor_id: token.id, judged_at };
    let (now, written): (DateTime<Utc>, Option<RefreshToken>) = statement.get_result(conn)?;
    // In microseconds, as the database compared them.
    if written.is_none() && successor.expires_at.timestamp_micros() <= now.timestamp_micros() {
        let field = "successor.expires_at";
        return Err(InvalidInput::ExpiryNotInFuture { field }.into());
    }
    Ok(written)
}

/// A token that was rotated already: the same request sent again gets the answer that it had, while that is live.
fn repeat(conn: &mut PgConnection, token: RefreshToken, successor: &Successor) -> Result<Rotation> {
    if token.rotated_to != Some(successor.id) {
        return Ok(Rotation::Refused(Refusal::Reused(token)));
    }
    let made: Option<(RefreshToken, bool)> = refresh_tokens::table
        .find(successor.id)
        .filter(refresh_tokens::token_hash.eq(&successor.token_hash))
        .filter(refresh_tokens::session_id.eq(token.session_id))
        .select((RefreshToken::as_select(), has_not_expired()))
        .first(conn)
        .optional()?;
    Ok(match made {
        None => Rotation::Refused(Refusal::Reused(token)),
        // The successor was used, so its secret did arrive: this is no lost answer.
        Some((made, _)) if made.rotated_to.is_some() => Rotation::Refused(Refusal::Reused(token)),
        Some(_) if token.revoked_at.is_some() => Rotation::Refused(Refusal::Revoked(token)),
        Some((made, _)) if made.revoked_at.is_some() => Rotation::Refused(Refusal::Revoked(made)),
        Some((made, false)) => Rotation::Refused(Refusal::Expired(made)),
        Some((made, true)) => Rotation::Rotated(made),
    })
}
