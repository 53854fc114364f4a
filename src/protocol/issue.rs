//! Issuing the first token of a session: the gate, the user's other sessions, the row.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use crate::db::{Create, Prepared, atomically, live, read_committed};
use crate::error::{Error, Result};
use crate::protocol::gate;
use crate::protocol::revoke::end_session_passes;
use crate::schema::refresh_tokens;
use crate::values::{Beyond, NewRefreshToken, RefreshToken, RevokedReason, SessionLimit};

pub(crate) fn issue(conn: &mut PgConnection, new: &NewRefreshToken) -> Result<RefreshToken> {
    new.check()?;
    let Some(limit) = new.session.limit else {
        return atomically(conn, |conn, _| {
            if new.session.authenticated_at.is_some() {
                gate::hold(conn, new.user_id)?;
            }
            write(conn, new)
        });
    };
    // A snapshot from before the gate was passed would miss the login that was in it.
    read_committed(conn, |conn| {
        gate::hold(conn, new.user_id)?;
        make_room(conn, new.user_id, limit)?;
        write(conn, new)
    })
}

fn write(conn: &mut PgConnection, new: &NewRefreshToken) -> Result<RefreshToken> {
    match Prepared(Create(new)).get_result::<(_, _, Option<RefreshToken>)>(conn)? {
        (_, _, Some(token)) => Ok(token),
        (_, true, None) => Err(Error::RevokedSinceLogin),
        (now, false, None) => Err(new.refused_at(now).into()),
    }
}

/// Holding the user's gate, no login with a limit can be under way beside this one.
fn make_room(conn: &mut PgConnection, user_id: Uuid, limit: SessionLimit) -> Result<()> {
    let mut live: Vec<(Uuid, DateTime<Utc>)> = refresh_tokens::table
        .filter(refresh_tokens::user_id.eq(user_id))
        .filter(live())
        .order((refresh_tokens::session_started_at, refresh_tokens::session_id))
        .select((refresh_tokens::session_id, refresh_tokens::created_at))
        .load(conn)?;
    // Other software may have given a session two branches.
    live.dedup_by_key(|(session_id, _)| *session_id);
    let max = usize::try_from(limit.max).unwrap_or(usize::MAX);
    let Some(too_many) = (live.len() + 1).checked_sub(max).filter(|sessions| *sessions > 0) else { return Ok(()) };
    if limit.beyond == Beyond::Refuse {
        return Err(Error::TooManySessions { max: limit.max });
    }
    live.truncate(too_many);
    // The order in which revocations lock.
    live.sort_unstable_by_key(|(session_id, created_at)| (*created_at, *session_id));
    for (session_id, _) in live {
        end_session_passes(conn, Some(session_id), None, RevokedReason::SessionLimit)?;
    }
    Ok(())
}
