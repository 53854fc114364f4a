//! Gates and cutoffs: what orders a login, or a switch of organisation, against a revocation beside it.
//!
//! A login that says when its user was authenticated passes the user's gate, which it holds shared until COMMIT, and
//! then reads the cutoffs. A revocation shuts the gate, which waits for the logins in it, and then looks for tokens: so
//! a login is committed and seen by the revocation, or sees its cutoff. The gate is also the first lock of every
//! revocation of many tokens, and the only one of a user that two of them wait for: that is why they do not deadlock.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::rotation::clock_timestamp;

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

diesel::define_sql_function! {
    /// The later of two instants.
    fn greatest(one: Timestamptz, other: Timestamptz) -> Timestamptz;
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

fn gate_of(user_id: Uuid) -> i16 {
    i16::from(user_id.as_bytes().iter().fold(0, |gate, byte| gate ^ byte))
}

/// Holds the user's gate open until the end of the transaction; waits while a revocation has shut it.
pub(crate) fn pass(conn: &mut PgConnection, user_id: Uuid) -> Result<()> {
    let gate = gates::refresh_token_gates
        .find(gate_of(user_id))
        .select(gates::gate)
        .for_share()
        .first::<i16>(conn)
        .optional()?;
    gate.map(drop).ok_or_else(gates_missing)
}

/// As [`pass`], for a transaction that holds the lock of a token; false where a revocation has shut the gate, which may
/// be waiting for that very token.
pub(crate) fn pass_without_waiting(conn: &mut PgConnection, user_id: Uuid) -> Result<bool> {
    let gate = gates::refresh_token_gates.find(gate_of(user_id)).select(gates::gate);
    if gate.for_share().skip_locked().first::<i16>(conn).optional()?.is_some() {
        return Ok(true);
    }
    match gate.first::<i16>(conn).optional()? {
        Some(_) => Ok(false),
        None => Err(gates_missing()),
    }
}

/// Shuts the user's gate until the end of the transaction; waits for the logins that are in it.
pub(crate) fn shut(conn: &mut PgConnection, user_id: Uuid) -> Result<()> {
    let gate = gates::refresh_token_gates.find(gate_of(user_id));
    match diesel::update(gate).set(gates::shut.eq(gates::shut + 1)).execute(conn)? {
        0 => Err(gates_missing()),
        _ => Ok(()),
    }
}

/// Shuts every gate, in their order.
pub(crate) fn shut_all(conn: &mut PgConnection) -> Result<()> {
    let locked: Vec<i16> = gates::refresh_token_gates.order(gates::gate).select(gates::gate).for_update().load(conn)?;
    if locked.len() < 256 {
        return Err(gates_missing());
    }
    diesel::update(gates::refresh_token_gates).set(gates::shut.eq(gates::shut + 1)).execute(conn)?;
    Ok(())
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
pub(crate) fn is_cut_off_from(
    conn: &mut PgConnection,
    user_id: Uuid,
    org_id: Uuid,
    since: DateTime<Utc>,
) -> QueryResult<bool> {
    let newer = cutoffs::refresh_token_cutoffs
        .filter(cutoffs::user_id.eq_any([user_id, Uuid::nil()]))
        .filter(cutoffs::org_id.eq(org_id))
        .filter(cutoffs::revoked_at.ge(since));
    diesel::select(diesel::dsl::exists(newer)).get_result(conn)
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
