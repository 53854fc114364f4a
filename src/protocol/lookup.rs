//! Look-ups, which lock nothing and change nothing.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use crate::db::{ListSessions, Prepared, clock_timestamp, live, now};
use crate::error::{Result, not_nil};
use crate::schema::refresh_tokens;
use crate::values::{Binding, RefreshToken, SessionPage, SessionQuery, TokenHash};

/// A token, whatever its state.
pub(crate) fn find(conn: &mut PgConnection, hash: &TokenHash) -> QueryResult<Option<RefreshToken>> {
    refresh_tokens::table
        .filter(refresh_tokens::token_hash.eq(hash))
        .select(RefreshToken::as_select())
        .first(conn)
        .optional()
}

/// A token, whatever its state, and the clock when it was read.
pub(crate) fn find_with_clock(
    conn: &mut PgConnection,
    hash: &TokenHash,
) -> QueryResult<Option<(RefreshToken, DateTime<Utc>)>> {
    refresh_tokens::table
        .filter(refresh_tokens::token_hash.eq(hash))
        .select((RefreshToken::as_select(), clock_timestamp()))
        .first(conn)
        .optional()
}

/// A token that is valid at this moment, and bound as asked.
pub(crate) fn find_valid(conn: &mut PgConnection, hash: &TokenHash, binding: Binding) -> Result<Option<RefreshToken>> {
    binding.check()?;
    let found = refresh_tokens::table
        .filter(refresh_tokens::token_hash.eq(hash))
        .filter(live())
        .select(RefreshToken::as_select())
        .first(conn)
        .optional()?;
    Ok(found.filter(|token| binding.matches(token)))
}

/// A token that was rotated.
pub(crate) fn find_rotated(conn: &mut PgConnection, hash: &TokenHash) -> QueryResult<Option<RefreshToken>> {
    Ok(find(conn, hash)?.filter(|token| token.rotated_to.is_some()))
}

/// The valid tokens of a user, newest first.
pub(crate) fn live_tokens_of_user(conn: &mut PgConnection, user_id: Uuid) -> Result<Vec<RefreshToken>> {
    not_nil("user_id", user_id)?;
    Ok(refresh_tokens::table
        .filter(refresh_tokens::user_id.eq(user_id))
        .filter(live())
        .order((refresh_tokens::created_at.desc(), refresh_tokens::id))
        .select(RefreshToken::as_select())
        .load(conn)?)
}

/// A page of a user's sessions.
pub(crate) fn list_sessions(conn: &mut PgConnection, query: &SessionQuery) -> Result<SessionPage> {
    not_nil("user_id", query.user_id)?;
    let tokens: Vec<RefreshToken> = Prepared(ListSessions(query)).load(conn)?;
    Ok(SessionPage::of(query, tokens, now(conn)?))
}

/// Whether a session is a user's.
#[cfg(feature = "secrets")]
pub(crate) fn is_session_of(conn: &mut PgConnection, user_id: Uuid, session_id: Uuid) -> QueryResult<bool> {
    let of_both = refresh_tokens::table
        .filter(refresh_tokens::session_id.eq(session_id))
        .filter(refresh_tokens::user_id.eq(user_id));
    diesel::select(diesel::dsl::exists(of_both)).get_result(conn)
}
