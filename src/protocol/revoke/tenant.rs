//! Revocation of an organisation, or of everybody: more rows than one transaction should hold locked.
//!
//! First the cutoff, which every login reads that passes a gate after its COMMIT; then each gate is shut once, so that
//! every login that passed one before is committed. Then the table is walked in windows, each a short transaction that waits for nobody
//! while it holds a lock, until a whole walk has seen no token that could still be rotated.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use crate::db::{Scope, read_committed_step, spliced, whole};
use crate::error::{Error, Result, Wait};
use crate::protocol::gate::{self, Cutoff};
use crate::protocol::revoke::MAX_PASSES;
use crate::schema::refresh_tokens;
use crate::telemetry::locking;
use crate::values::{RevocationReport, RevokedReason};

/// Rows that one statement looks at: milliseconds while they are in memory.
const WINDOW: i64 = 1_000;

/// Locked tokens that one walk waits for; the next one finds the others.
const MAX_WAITS: usize = 1_000;

#[derive(QueryableByName)]
struct Window {
    #[diesel(sql_type = BigInt)]
    seen: i64,
    #[diesel(sql_type = BigInt)]
    tokens: i64,
    #[diesel(sql_type = BigInt)]
    live: i64,
    #[diesel(sql_type = BigInt)]
    sessions: i64,
    /// Seen, and locked by somebody else.
    #[diesel(sql_type = Array<SqlUuid>)]
    skipped: Vec<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    last_session_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Integer>)]
    last_generation: Option<i32>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    last_id: Option<Uuid>,
}

/// The session, generation and id with which a window begins.
type Position = (Uuid, i32, Uuid);

/// Before every row.
const START: Position = (Uuid::nil(), i32::MIN, Uuid::nil());

/// The first place after a row, in the order of PostgreSQL; none after the last that there can be.
fn after((session_id, generation, id): Position) -> Option<Position> {
    let next = |id: Uuid| id.as_u128().checked_add(1).map(Uuid::from_u128);
    next(id)
        .map(|id| (session_id, generation, id))
        .or_else(|| generation.checked_add(1).map(|generation| (session_id, generation, Uuid::nil())))
        .or_else(|| next(session_id).map(|session_id| (session_id, i32::MIN, Uuid::nil())))
}

/// The tokens of an organisation, or all of them.
pub(crate) fn revoke(conn: &mut PgConnection, org_id: Option<Uuid>, reason: RevokedReason) -> Result<RevocationReport> {
    let whom = org_id.map_or(Cutoff::Everyone, Cutoff::Org);
    let (cutoff, scope) = read_committed_step(conn, |conn, scope| {
        // In a host's transaction they have to stay shut: nobody sees the cutoff before its COMMIT.
        if scope == Scope::Host {
            gate::shut_all(conn)?;
        }
        Ok((gate::cut_off(conn, whom)?, scope))
    })?;
    if scope == Scope::Own {
        gate::shut_one_by_one(conn)?;
    }
    let mut report = RevocationReport::default();
    for _ in 0..MAX_PASSES {
        let Walk { seen, skipped } = walk(conn, org_id, reason, cutoff, &mut report)?;
        if !seen {
            return Ok(report);
        }
        for token_id in skipped {
            wait_for(conn, token_id)?;
        }
    }
    Err(Error::Busy(Wait::NewTokens))
}

struct Walk {
    /// Whether any token was seen that could still be rotated.
    seen: bool,
    skipped: Vec<Uuid>,
}

fn walk(
    conn: &mut PgConnection,
    org_id: Option<Uuid>,
    reason: RevokedReason,
    cutoff: DateTime<Utc>,
    report: &mut RevocationReport,
) -> Result<Walk> {
    let mut walk = Walk { seen: false, skipped: Vec::new() };
    let mut place = START;
    loop {
        let window: Window = read_committed_step(conn, |conn, _| {
            Ok(sql_query(spliced(include_str!("../../sql/revoke_window.sql")))
                .bind::<Text, _>(reason)
                .bind::<BigInt, _>(WINDOW)
                .bind::<SqlUuid, _>(place.0)
                .bind::<Integer, _>(place.1)
                .bind::<SqlUuid, _>(place.2)
                .bind::<Nullable<SqlUuid>, _>(org_id)
                .bind::<Timestamptz, _>(cutoff)
                .get_result(conn)?)
        })?;
        report.tokens += whole::<usize>(window.tokens);
        report.live += whole::<usize>(window.live);
        report.sessions += whole::<usize>(window.sessions);
        walk.seen |= window.seen > 0;
        walk.skipped.extend(window.skipped);
        walk.skipped.truncate(MAX_WAITS);
        let last = window.last_session_id.zip(window.last_generation).zip(window.last_id);
        match last.and_then(|((session_id, generation), id)| after((session_id, generation, id))) {
            Some(next) => place = next,
            None => return Ok(walk),
        }
    }
}

/// Returns when nobody else has the token locked, in a transaction that holds nothing else.
fn wait_for(conn: &mut PgConnection, token_id: Uuid) -> Result<()> {
    read_committed_step(conn, |conn, _| {
        let token = refresh_tokens::table.find(token_id).select(refresh_tokens::id);
        locking("rows", || token.for_update().first::<Uuid>(conn).optional())?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_place_leaves_out_none() {
        let (one, max) = (Uuid::from_u128(1), Uuid::max());
        assert_eq!(after(START), Some((Uuid::nil(), i32::MIN, one)));
        assert_eq!(after((one, -1, max)), Some((one, 0, Uuid::nil())));
        assert_eq!(after((one, i32::MAX, max)), Some((Uuid::from_u128(2), i32::MIN, Uuid::nil())));
        assert_eq!(after((max, i32::MAX, max)), None);
    }
}
