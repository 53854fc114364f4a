//! Which kind of reuse it is.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use crate::db::clock_timestamp;
use crate::schema::refresh_tokens;
use crate::values::{RefreshToken, ReuseKind};

/// By the newest row of the session: one look-up, however long its history.
pub(crate) fn classify(conn: &mut PgConnection, reused: &RefreshToken) -> QueryResult<ReuseKind> {
    let newest: Option<(RefreshToken, DateTime<Utc>)> = refresh_tokens::table
        .filter(refresh_tokens::session_id.eq(reused.session_id))
        .order(refresh_tokens::generation.desc())
        .select((RefreshToken::as_select(), clock_timestamp()))
        .first(conn)
        .optional()?;
    Ok(match newest {
        Some((newest, now)) => by_newest(reused.rotated_to, &newest, now),
        None => ReuseKind::SessionEnded,
    })
}

fn by_newest(successor_id: Option<Uuid>, newest: &RefreshToken, now: DateTime<Utc>) -> ReuseKind {
    // A newest row that was rotated led to one that clean-up has deleted.
    if newest.revoked_at.is_some() || newest.rotated_to.is_some() || newest.ends_at() <= now {
        ReuseKind::SessionEnded
    } else if successor_id == Some(newest.id) {
        ReuseKind::SuccessorUnused
    } else {
        ReuseKind::SuccessorUsed
    }
}
