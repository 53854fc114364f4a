//! Rotation: the one place that locks a presented token, decides about it, and writes its successor.
//!
//! A row lock on the presented token is what every rotation and every revocation has in common. Holding it,
//! the row can neither be rotated nor revoked by anybody else, so what is decided here stays true until COMMIT.

use std::slice;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Timestamptz};
use uuid::Uuid;

use crate::binding::Binding;
use crate::error::{Error, Result};
use crate::gate;
use crate::input::InvalidInput;
use crate::isolation::{Failure, Isolation, Scope, transaction};
use crate::models::RefreshToken;
use crate::observe::locking;
use crate::outcome::{Refusal, Rotation};
use crate::schema::refresh_tokens;
use crate::statement::{Prepared, Rotate, RotateLocked};
use crate::successor::Successor;
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

/// Why a transaction ends without a change: ROLLBACK also gives back the lock that PostgreSQL keeps on a row
/// that no longer qualifies after the wait for it. A breach response that held it would wait for another's gate.
enum Stop {
    Refused(Box<Refusal>),
    /// A revocation has shut the gate of this user, which a switch of organisation has to pass.
    GateShut(Uuid),
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Where it ran says whether the outcome is durable.
pub(crate) fn rotate(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
) -> Result<(Rotation, Scope)> {
    successor.check()?;
    binding.check()?;
    let (made, scope) = at_once(conn, presented, successor, binding, Locked::IsWaitedFor)?;
    let rotation = match made {
        Some(token) => Rotation::Rotated(token),
        None => otherwise(conn, presented, successor, binding)?,
    };
    Ok((rotation, scope))
}

/// As [`rotate`], for who must not wait for anybody's lock; `None` where that cannot be told without.
pub(crate) fn rotate_without_waiting(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
) -> Result<Option<Rotation>> {
    if let (Some(token), _) = at_once(conn, presented, successor, binding, Locked::IsSkipped)? {
        return Ok(Some(Rotation::Rotated(token)));
    }
    Ok(match refusal_of_dead(conn, presented, successor, binding)? {
        // Sent again: the answer is locked, too.
        Some(Refusal::Reused(token)) if token.rotated_to == Some(successor.id) => None,
        refusal => refusal.map(Rotation::Refused),
    })
}

/// What becomes of a token that somebody else holds locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locked {
    IsWaitedFor,
    IsSkipped,
}

/// Everything in one statement; where that has changed nothing, its lock is given back before anybody asks why.
fn at_once(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
    locked: Locked,
) -> Result<(Option<RefreshToken>, Scope)> {
    enum Unmade {
        Nothing(Scope),
        Failed(Error),
    }

    impl<E: Into<Error>> From<E> for Unmade {
        fn from(error: E) -> Self {
            Self::Failed(error.into())
        }
    }

    let lock = live_for_update(presented).select((
        refresh_tokens::id,
        refresh_tokens::user_id,
        refresh_tokens::active_org_id,
        refresh_tokens::expires_at,
        refresh_tokens::session_expires_at,
    ));
    let outcome = transaction(conn, Isolation::ReadCommitted, |conn, scope| {
        let made = match locked {
            Locked::IsWaitedFor => {
                locking("token", || Prepared(Rotate::new(lock, successor, &binding)).get_result(conn))
            }
            Locked::IsSkipped => Prepared(Rotate::new(lock.skip_locked(), successor, &binding)).get_result(conn),
        };
        match made.optional()? {
            Some(token) => Ok((Some(token), scope)),
            None => Err(Unmade::Nothing(scope)),
        }
    });
    match outcome.map_err(Failure::into_error) {
        Ok(made) => Ok(made),
        Err(Unmade::Nothing(scope)) => Ok((None, scope)),
        Err(Unmade::Failed(error)) => Err(error),
    }
}

/// The answer to a request that could not be made at once: why not, the successor that it had made before, or a
/// successor after all.
fn otherwise(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
) -> Result<Rotation> {
    match refusal_of_dead(conn, presented, successor, binding)? {
        None => step_by_step(conn, presented, successor, binding),
        Some(refusal) => repeat_or(conn, refusal, successor, binding),
    }
}

/// Judges a token that nothing can make valid again, which needs no lock; `None` is for one that seems to be live.
fn refusal_of_dead(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
) -> QueryResult<Option<Refusal>> {
    let found: Option<(RefreshToken, DateTime<Utc>)> = refresh_tokens::table
        .filter(refresh_tokens::token_hash.eq(presented))
        .select((RefreshToken::as_select(), clock_timestamp()))
        .first(conn)
        .optional()?;
    Ok(match found {
        None => Some(Refusal::NotFound),
        Some((token, now)) => dead_at(&token, now, successor, binding).map(|why| why(token)),
    })
}

/// Why a token is refused.
pub(crate) type Why = fn(RefreshToken) -> Refusal;

/// What can be told without the token's lock, and without its user's gate, which a switch of organisation passes first.
pub(crate) fn dead_at(
    token: &RefreshToken,
    now: DateTime<Utc>,
    successor: &Successor,
    binding: Binding,
) -> Option<Why> {
    let switches = successor.active_org_id.is_some_and(|org_id| org_id != token.active_org_id);
    // A successor that is born expired is an error of the caller's, whatever the token.
    let expired = token.ends_at() <= now && !switches && successor.expiry.is_after(now);
    spent(token, binding).or(expired.then_some(Refusal::Expired as Why))
}

fn spent(token: &RefreshToken, binding: Binding) -> Option<Why> {
    if token.rotated_to.is_some() {
        Some(Refusal::Reused)
    } else if !binding.matches(token) {
        Some(Refusal::BindingMismatch)
    } else if token.revoked_at.is_some() {
        Some(Refusal::Revoked)
    } else {
        None
    }
}

fn step_by_step(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
) -> Result<Rotation> {
    let outcome = match attempt(conn, presented, successor, binding, None) {
        // Waits for the gate first this time, and not while it holds the token.
        Err(Stop::GateShut(user_id)) => attempt(conn, presented, successor, binding, Some(user_id)),
        outcome => outcome,
    };
    match outcome {
        Ok(token) => Ok(Rotation::Rotated(token)),
        Err(Stop::Refused(refusal)) => repeat_or(conn, *refusal, successor, binding),
        Err(Stop::GateShut(_)) => Err(Error::Conflict),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn attempt(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
    gate_of: Option<Uuid>,
) -> Result<RefreshToken, Stop> {
    let outcome = transaction(conn, Isolation::ReadCommitted, |conn, _| {
        if let Some(user_id) = gate_of {
            gate::pass(conn, user_id)?;
        }
        let refused = |refusal| Stop::Refused(Box::new(refusal));
        let token = lock(conn, presented, binding)?.map_err(refused)?;
        match entry(conn, &token, successor)? {
            Entry::Free => {}
            Entry::Barred => return Err(refused(Refusal::OrgRevoked(token))),
            Entry::GateShut => return Err(Stop::GateShut(token.user_id)),
        }
        match write_successor(conn, &token, successor, None)? {
            Some(successor) => Ok(successor),
            None => Err(refused(Refusal::Expired(token))),
        }
    });
    outcome.map_err(Failure::into_error)
}

/// Only a row that is neither rotated nor revoked: a spent one stays spent, so there is nothing to lock it for, and a
/// lock is a write.
#[diesel::dsl::auto_type(no_type_alias)]
fn live_for_update<'a>(presented: &'a TokenHash) -> _ {
    refresh_tokens::table
        .filter(refresh_tokens::token_hash.eq(presented))
        .filter(refresh_tokens::rotated_to.is_null())
        .filter(refresh_tokens::revoked_at.is_null())
        .for_update()
}

/// If a row is found that is neither rotated nor revoked, it is locked until the end of the transaction.
///
/// Expiry is left out: only a statement that starts after the lock is held can judge it.
pub(crate) fn lock(
    conn: &mut PgConnection,
    presented: &TokenHash,
    binding: Binding,
) -> QueryResult<Result<RefreshToken, Refusal>> {
    let live = live_for_update(presented).select(RefreshToken::as_select());
    let live = locking("token", || live.first(conn).optional())?;
    match live {
        Some(token) if binding.matches(&token) => Ok(Ok(token)),
        Some(token) => Ok(Err(Refusal::BindingMismatch(token))),
        None => why_not(conn, presented, binding).map(Err),
    }
}

fn why_not(conn: &mut PgConnection, presented: &TokenHash, binding: Binding) -> QueryResult<Refusal> {
    let found = find(conn, presented)?;
    // None, or born since the statement that found nothing to lock.
    Ok(found.and_then(|token| spent(&token, binding).map(|why| why(token))).unwrap_or(Refusal::NotFound))
}

pub(crate) fn find(conn: &mut PgConnection, hash: &TokenHash) -> QueryResult<Option<RefreshToken>> {
    refresh_tokens::table
        .filter(refresh_tokens::token_hash.eq(hash))
        .select(RefreshToken::as_select())
        .first(conn)
        .optional()
}

/// Whether a successor may act for the organisation that it asks for.
pub(crate) enum Entry {
    Free,
    /// The organisation, or the user in it, was cut off since the session began.
    Barred,
    /// A revocation that is under way will say.
    GateShut,
}

/// Judges a switch of organisation of `token`, which the transaction has locked: like a login, it passes the user's gate
/// before it reads the cutoffs.
pub(crate) fn entry(conn: &mut PgConnection, token: &RefreshToken, successor: &Successor) -> Result<Entry> {
    let Some(org_id) = successor.active_org_id.filter(|org_id| *org_id != token.active_org_id) else {
        return Ok(Entry::Free);
    };
    if !gate::pass_without_waiting(conn, token.user_id)? {
        return Ok(Entry::GateShut);
    }
    let barred = gate::is_cut_off_from(conn, token.user_id, org_id, token.session_started_at)?;
    Ok(if barred { Entry::Barred } else { Entry::Free })
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
    let statement = Prepared(RotateLocked::new(successor, token.id, judged_at));
    let (now, written): (DateTime<Utc>, Option<RefreshToken>) = statement.get_result(conn)?;
    if written.is_none() && !successor.expiry.is_after(now) {
        let field = "successor.expires_at";
        return Err(InvalidInput::ExpiryNotInFuture { field }.into());
    }
    Ok(written)
}

/// A token that was rotated already: the same request sent again gets the answer that it had, while that is live.
fn repeat_or(conn: &mut PgConnection, refusal: Refusal, successor: &Successor, binding: Binding) -> Result<Rotation> {
    match refusal {
        Refusal::Reused(token) if token.rotated_to == Some(successor.id) && binding.matches(&token) => {
            answer_again(conn, token, slice::from_ref(&successor.token_hash), None)
        }
        refusal => Ok(Rotation::Refused(refusal)),
    }
}

/// The successor that `token` was rotated to, if it has one of these hashes and is live and unused, and `grace` since the
/// rotation is not over.
///
/// It is locked, so that a snapshot from before its end meets a conflict and does not hand it out.
pub(crate) fn answer_again(
    conn: &mut PgConnection,
    token: RefreshToken,
    hashes: &[TokenHash],
    grace: Option<TimeDelta>,
) -> Result<Rotation> {
    let outcome = transaction(conn, Isolation::ReadCommitted, |conn, _| {
        let refused = |refusal| Err(Stop::Refused(Box::new(refusal)));
        let made: Option<RefreshToken> = refresh_tokens::table
            .filter(refresh_tokens::id.nullable().eq(token.rotated_to))
            .filter(refresh_tokens::token_hash.eq_any(hashes))
            .filter(refresh_tokens::session_id.eq(token.session_id))
            .for_share()
            .select(RefreshToken::as_select())
            .first(conn)
            .optional()?;
        let now = now(conn)?;
        match made {
            None => refused(Refusal::Reused(token)),
            // The successor was used, so its secret did arrive: this is no lost answer.
            Some(made) if made.rotated_to.is_some() => refused(Refusal::Reused(token)),
            Some(_) if grace.is_some_and(|grace| is_over(grace, &token, now)) => refused(Refusal::Reused(token)),
            Some(_) if token.revoked_at.is_some() => refused(Refusal::Revoked(token)),
            Some(made) if made.revoked_at.is_some() => refused(Refusal::Revoked(made)),
            Some(made) if made.ends_at() <= now => refused(Refusal::Expired(made)),
            Some(made) => Ok(made),
        }
    });
    match outcome.map_err(Failure::into_error) {
        Ok(made) => Ok(Rotation::Repeated(made)),
        Err(Stop::Refused(refusal)) => Ok(Rotation::Refused(*refusal)),
        Err(Stop::GateShut(_)) => Err(Error::Conflict),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn is_over(grace: TimeDelta, token: &RefreshToken, now: DateTime<Utc>) -> bool {
    let end = token.rotated_at.and_then(|rotated_at| rotated_at.checked_add_signed(grace));
    end.is_none_or(|end| end <= now)
}
