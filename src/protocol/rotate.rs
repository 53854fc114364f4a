//! Rotation: the one place that locks a presented token, decides about it, and writes its successor.
//!
//! A row lock on the presented token is what every rotation and every revocation has in common. Holding it,
//! the row can neither be rotated nor revoked by anybody else, so what is decided here stays true until COMMIT.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use crate::db::{Prepared, Rotate, RotateLocked, Scope, Stop, unless_stopped, unspent};
use crate::error::{Error, InvalidInput, Result};
use crate::protocol::gate::{self, OrgSwitch};
use crate::protocol::lookup::{find, find_with_clock};
use crate::protocol::repeat::repeat_or_refuse;
use crate::schema::refresh_tokens;
use crate::telemetry::locking;
use crate::values::{Binding, RefreshToken, Refusal, Rotation, Successor, TokenHash};

/// Where it ran says whether the outcome is durable.
pub(crate) fn rotate(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
) -> Result<(Rotation, Scope)> {
    successor.check()?;
    binding.check()?;
    let (made, scope) = rotate_in_one_statement(conn, presented, successor, binding, RowLock::Wait)?;
    let rotation = match made {
        Some(token) => Rotation::Rotated(token),
        None => match explain(conn, presented, successor, binding)? {
            Some(refusal) => repeat_or_refuse(conn, refusal, successor, binding)?,
            None => go_stepwise(conn, presented, successor, binding)?,
        },
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
    if let (Some(token), _) = rotate_in_one_statement(conn, presented, successor, binding, RowLock::Skip)? {
        return Ok(Some(Rotation::Rotated(token)));
    }
    Ok(match explain(conn, presented, successor, binding)? {
        // Sent again: the answer is locked, too.
        Some(Refusal::Reused(token)) if token.rotated_to == Some(successor.id) => None,
        refusal => refusal.map(Rotation::Refused),
    })
}

/// What becomes of a token that somebody else holds locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowLock {
    Wait,
    Skip,
}

/// Where the statement has changed nothing, its lock is given back before anybody asks why.
fn rotate_in_one_statement(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
    row_lock: RowLock,
) -> Result<(Option<RefreshToken>, Scope)> {
    let lock = unspent_for_update(presented).select((
        refresh_tokens::id,
        refresh_tokens::user_id,
        refresh_tokens::active_org_id,
        refresh_tokens::expires_at,
        refresh_tokens::session_expires_at,
    ));
    let outcome = unless_stopped(conn, |conn, scope| {
        let made = match row_lock {
            RowLock::Wait => locking("token", || Prepared(Rotate::new(lock, successor, &binding)).get_result(conn)),
            RowLock::Skip => Prepared(Rotate::new(lock.skip_locked(), successor, &binding)).get_result(conn),
        };
        match made.optional()? {
            Some(token) => Ok((Some(token), scope)),
            None => Err(Stop::Return(scope)),
        }
    })?;
    Ok(outcome.unwrap_or_else(|scope| (None, scope)))
}

/// Judges a token that nothing can make valid again, which needs no lock; `None` is for one that seems to be live.
fn explain(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
) -> QueryResult<Option<Refusal>> {
    Ok(match find_with_clock(conn, presented)? {
        None => Some(Refusal::NotFound),
        Some((token, now)) => refusal_if_dead(&token, now, successor, binding).map(|refuse| refuse(token)),
    })
}

/// Makes the refusal of a token.
pub(crate) type ToRefusal = fn(RefreshToken) -> Refusal;

/// What can be told without the token's lock, and without its user's gate, which a switch of organisation passes first.
pub(crate) fn refusal_if_dead(
    token: &RefreshToken,
    now: DateTime<Utc>,
    successor: &Successor,
    binding: Binding,
) -> Option<ToRefusal> {
    let switches = successor.active_org_id.is_some_and(|org_id| org_id != token.active_org_id);
    // A successor that is born expired is an error of the caller's, whatever the token.
    let expired = token.ends_at() <= now && !switches && successor.expiry.is_after(now);
    refusal_if_spent(token, binding).or(expired.then_some(Refusal::Expired as ToRefusal))
}

fn refusal_if_spent(token: &RefreshToken, binding: Binding) -> Option<ToRefusal> {
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

/// Why a step by step rotation changed nothing.
enum Unmade {
    Refused(Box<Refusal>),
    /// Somebody else holds the gate of this user, which a switch of organisation has to pass.
    GateHeld(Uuid),
}

fn refused<T>(refusal: Refusal) -> Result<T, Stop<Unmade>> {
    Err(Stop::Return(Unmade::Refused(Box::new(refusal))))
}

fn go_stepwise(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
) -> Result<Rotation> {
    let outcome = match attempt(conn, presented, successor, binding, None)? {
        // Waits for the gate first this time, and not while it holds the token.
        Err(Unmade::GateHeld(user_id)) => attempt(conn, presented, successor, binding, Some(user_id))?,
        outcome => outcome,
    };
    match outcome {
        Ok(token) => Ok(Rotation::Rotated(token)),
        Err(Unmade::Refused(refusal)) => repeat_or_refuse(conn, *refusal, successor, binding),
        Err(Unmade::GateHeld(_)) => Err(Error::Conflict),
    }
}

fn attempt(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
    gate_of: Option<Uuid>,
) -> Result<Result<RefreshToken, Unmade>> {
    unless_stopped(conn, |conn, _| {
        if let Some(user_id) = gate_of {
            gate::hold(conn, user_id)?;
        }
        let token = match lock_presented(conn, presented, binding)? {
            Ok(token) => token,
            Err(refusal) => return refused(refusal),
        };
        match gate::check_org_switch(conn, &token, successor)? {
            OrgSwitch::Allowed => {}
            OrgSwitch::CutOff => return refused(Refusal::OrgRevoked(token)),
            OrgSwitch::WouldBlock => return Err(Stop::Return(Unmade::GateHeld(token.user_id))),
        }
        match write_successor(conn, &token, successor, None)? {
            Some(successor) => Ok(successor),
            None => refused(Refusal::Expired(token)),
        }
    })
}

/// Only an unspent row: a spent one stays spent, so there is nothing to lock it for, and a lock is a write.
#[diesel::dsl::auto_type(no_type_alias)]
fn unspent_for_update<'a>(presented: &'a TokenHash) -> _ {
    refresh_tokens::table.filter(refresh_tokens::token_hash.eq(presented)).filter(unspent()).for_update()
}

/// If an unspent row is found, it is locked until the end of the transaction.
///
/// Expiry is left out: only a statement that starts after the lock is held can judge it.
pub(crate) fn lock_presented(
    conn: &mut PgConnection,
    presented: &TokenHash,
    binding: Binding,
) -> QueryResult<Result<RefreshToken, Refusal>> {
    let unspent = unspent_for_update(presented).select(RefreshToken::as_select());
    let unspent = locking("token", || unspent.first(conn).optional())?;
    match unspent {
        Some(token) if binding.matches(&token) => Ok(Ok(token)),
        Some(token) => Ok(Err(Refusal::BindingMismatch(token))),
        // Not there, or born since the statement that found nothing to lock.
        None => Ok(Err(find(conn, presented)?
            .and_then(|token| refusal_if_spent(&token, binding).map(|refuse| refuse(token)))
            .unwrap_or(Refusal::NotFound))),
    }
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
