//! Plain Diesel on this crate's table: what a host would write that has no library.

use ::refresh_tokens::schema::refresh_tokens;
use ::refresh_tokens::{RefreshToken, TokenHash};
use diesel::prelude::*;

use crate::contenders::Next;

diesel::define_sql_function! {
    fn clock_timestamp() -> Timestamptz;
}

/// Five round trips: BEGIN, lock, INSERT, UPDATE, COMMIT.
pub(crate) fn rotate(conn: &mut PgConnection, presented: &TokenHash, next: &Next) -> Result<bool, String> {
    conn.transaction(|conn| {
        let old: Option<RefreshToken> = refresh_tokens::table
            .filter(refresh_tokens::token_hash.eq(presented))
            .filter(refresh_tokens::revoked_at.is_null())
            .filter(refresh_tokens::rotated_to.is_null())
            .filter(refresh_tokens::expires_at.gt(clock_timestamp()))
            .for_update()
            .select(RefreshToken::as_select())
            .first(conn)
            .optional()?;
        let Some(old) = old else {
            return Ok(false);
        };
        let _successor: RefreshToken = diesel::insert_into(refresh_tokens::table)
            .values((
                refresh_tokens::id.eq(next.id),
                refresh_tokens::user_id.eq(old.user_id),
                refresh_tokens::token_hash.eq(&next.hash),
                refresh_tokens::active_org_id.eq(old.active_org_id),
                refresh_tokens::expires_at.eq(next.expires_at),
                refresh_tokens::session_id.eq(old.session_id),
                refresh_tokens::session_expires_at.eq(old.session_expires_at),
                refresh_tokens::session_started_at.eq(old.session_started_at),
                refresh_tokens::generation.eq(old.generation + 1),
            ))
            .returning(RefreshToken::as_returning())
            .get_result(conn)?;
        diesel::update(refresh_tokens::table.find(old.id))
            .set((refresh_tokens::rotated_to.eq(next.id), refresh_tokens::rotated_at.eq(clock_timestamp().nullable())))
            .execute(conn)?;
        Ok(true)
    })
    .map_err(|error: diesel::result::Error| error.to_string())
}
