//! Gates and cutoffs: what orders a login, or a switch of organisation, against a revocation beside it.
//!
//! A login that says when its user was authenticated passes the user's gate, which it holds until COMMIT, and then reads
//! the cutoffs. A revocation shuts the gate, which waits for the login in it, and then looks for tokens: so a login is
//! committed and seen by the revocation, or sees its cutoff. The gate is also the first lock of every revocation of
//! many tokens of a user, and the only one that two of them wait for: that is why they do not deadlock.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use crate::db::{clock_timestamp, greatest, read_committed_step};
use crate::error::{Error, Result};
use crate::telemetry::locking;
use crate::values::{RefreshToken, Successor};

diesel::table! {
    refresh_token_gates (gate) {
        gate -> SmallInt,
        shut -> BigInt,
    }
}

diesel::table! {
    refresh_token_cutoffs (user_id, org_id) {
        user_id -> Uuid,
        org_id -> Uuid,
        revoked_at -> Timestamptz,
    }
}

use refresh_token_cutoffs::dsl as cutoffs;
use refresh_token_gates::dsl as gates;

/// Whom a revocation of many cuts off: logins that were authenticated before it are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cutoff {
    User(Uuid),
    Member { user_id: Uuid, org_id: Uuid },
    Org(Uuid),
    Everyone,
}

impl Cutoff {
    /// The nil UUID stands for all.
    fn key(self) -> (Uuid, Uuid) {
        match self {
            Self::User(user_id) => (user_id, Uuid::nil()),
            Self::Member { user_id, org_id } => (user_id, org_id),
            Self::Org(org_id) => (Uuid::nil(), org_id),
            Self::Everyone => (Uuid::nil(), Uuid::nil()),
        }
    }
}

/// As many as a byte has values.
const GATES: usize = 256;

fn gate_of(user_id: Uuid) -> i16 {
    i16::from(user_id.as_bytes().iter().fold(0, |gate, byte| gate ^ byte))
}

/// Holds the user's gate until the end of the transaction, and waits for whoever holds it.
///
/// Exclusively, although logins could share it: PostgreSQL lets those who share overtake the one who waits to exclude
/// them, so that a stream of logins would keep a revocation out.
pub(crate) fn hold(conn: &mut PgConnection, user_id: Uuid) -> Result<()> {
    let gate = gates::refresh_token_gates.find(gate_of(user_id)).select(gates::gate);
    match locking("gate", || gate.for_no_key_update().first::<i16>(conn).optional())? {
        Some(_) => Ok(()),
        None => Err(gates_missing()),
    }
}

/// As [`hold`], for a transaction that holds the lock of a token; false where somebody else holds the gate, who may be
/// waiting for that very token.
pub(crate) fn hold_without_waiting(conn: &mut PgConnection, user_id: Uuid) -> Result<bool> {
    let gate = gates::refresh_token_gates.find(gate_of(user_id)).select(gates::gate);
    if gate.for_no_key_update().skip_locked().first::<i16>(conn).optional()?.is_some() {
        return Ok(true);
    }
    match gate.first::<i16>(conn).optional()? {
        Some(_) => Ok(false),
        None => Err(gates_missing()),
    }
}

/// As [`hold`], for who writes a cutoff: it also changes the row, so that a login whose snapshot is too old to see the
/// cutoff meets a conflict.
pub(crate) fn shut(conn: &mut PgConnection, user_id: Uuid) -> Result<()> {
    match shut_these(conn, &[gate_of(user_id)])? {
        0 => Err(gates_missing()),
        _ => Ok(()),
    }
}

/// Shuts every gate, in their order, and holds them all until the end of the transaction.
pub(crate) fn shut_all(conn: &mut PgConnection) -> Result<()> {
    let all = gates::refresh_token_gates.order(gates::gate).select(gates::gate);
    let locked: Vec<i16> = locking("gate", || all.for_no_key_update().load(conn))?;
    if locked.len() < GATES {
        return Err(gates_missing());
    }
    shut_these(conn, &locked)?;
    Ok(())
}

/// Shuts every gate once, in short transactions of which none waits while it holds one: whoever was in a gate when this
/// began is committed when it ends.
pub(crate) fn shut_one_by_one(conn: &mut PgConnection) -> Result<()> {
    let all: Vec<i16> =
        read_committed_step(conn, |conn, _| Ok(gates::refresh_token_gates.select(gates::gate).load(conn)?))?;
    if all.len() < GATES {
        return Err(gates_missing());
    }
    let free: Vec<i16> = read_committed_step(conn, |conn, _| {
        let free = gates::refresh_token_gates.order(gates::gate).select(gates::gate);
        let free: Vec<i16> = free.for_no_key_update().skip_locked().load(conn)?;
        shut_these(conn, &free)?;
        Ok(free)
    })?;
    for gate in all.into_iter().filter(|gate| !free.contains(gate)) {
        read_committed_step(conn, |conn, _| Ok(shut_these(conn, &[gate])?))?;
    }
    Ok(())
}

fn shut_these(conn: &mut PgConnection, which: &[i16]) -> QueryResult<usize> {
    let which = gates::refresh_token_gates.filter(gates::gate.eq_any(which));
    locking("gate", || diesel::update(which).set(gates::shut.eq(gates::shut + 1)).execute(conn))
}

fn gates_missing() -> Error {
    let problem = "table refresh_token_gates has not its 256 rows: \
        INSERT INTO refresh_token_gates (gate) SELECT generate_series(0, 255) ON CONFLICT DO NOTHING";
    Error::SchemaMismatch(vec![problem.to_owned()])
}

/// Refuses, from now on, logins that were authenticated before; the gate, or all of them, must be shut.
pub(crate) fn cut_off(conn: &mut PgConnection, cutoff: Cutoff) -> Result<DateTime<Utc>> {
    let (user_id, org_id) = cutoff.key();
    let revoked_at = diesel::insert_into(cutoffs::refresh_token_cutoffs)
        .values((cutoffs::user_id.eq(user_id), cutoffs::org_id.eq(org_id), cutoffs::revoked_at.eq(clock_timestamp())))
        .on_conflict((cutoffs::user_id, cutoffs::org_id))
        .do_update()
        .set(cutoffs::revoked_at.eq(greatest(cutoffs::revoked_at, clock_timestamp())))
        .returning(cutoffs::revoked_at)
        .get_result(conn)?;
    Ok(revoked_at)
}

/// Whether the organisation, or the user in it, was cut off since an instant.
fn is_cut_off_from(conn: &mut PgConnection, user_id: Uuid, org_id: Uuid, since: DateTime<Utc>) -> QueryResult<bool> {
    let newer = cutoffs::refresh_token_cutoffs
        .filter(cutoffs::user_id.eq_any([user_id, Uuid::nil()]))
        .filter(cutoffs::org_id.eq(org_id))
        .filter(cutoffs::revoked_at.ge(since));
    diesel::select(diesel::dsl::exists(newer)).get_result(conn)
}

/// Whether a successor may act for the organisation that it asks for.
pub(crate) enum OrgSwitch {
    Allowed,
    /// The organisation, or the user in it, was cut off since the session began.
    CutOff,
    /// Somebody else holds the user's gate: a revocation that is under way will say.
    WouldBlock,
}

/// Judges a switch of organisation of `token`, which the transaction has locked: like a login, it holds the user's gate
/// before it reads the cutoffs.
pub(crate) fn check_org_switch(
    conn: &mut PgConnection,
    token: &RefreshToken,
    successor: &Successor,
) -> Result<OrgSwitch> {
    let Some(org_id) = successor.active_org_id.filter(|org_id| *org_id != token.active_org_id) else {
        return Ok(OrgSwitch::Allowed);
    };
    if !hold_without_waiting(conn, token.user_id)? {
        return Ok(OrgSwitch::WouldBlock);
    }
    let is_cut_off = is_cut_off_from(conn, token.user_id, org_id, token.session_started_at)?;
    Ok(if is_cut_off { OrgSwitch::CutOff } else { OrgSwitch::Allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_has_one_of_the_256_gates() {
        assert_eq!(gate_of(Uuid::nil()), 0);
        assert_eq!(gate_of(Uuid::from_u128(0xff)), 255);
        assert_eq!(gate_of(Uuid::from_u128(0x00ff_000f)), 0xf0);
    }
}
