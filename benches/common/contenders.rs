//! The contenders of the rotation bench: each rotates one token in its own way.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use refresh_tokens::{Binding, RefreshTokenRepository, Rotation, Successor, TokenHash};
use refresh_tokens_support::doc::{fresh_hash, in_days};
use refresh_tokens_support::reference;
use uuid::Uuid;

/// Makes a successor of a presented token: true, or false where the token is refused.
pub(crate) type Rotate = fn(&mut PgConnection, &TokenHash, &Next) -> Result<bool, String>;

/// The successor to be, drawn before the clock runs.
pub(crate) struct Next {
    pub(crate) id: Uuid,
    pub(crate) hash: TokenHash,
    pub(crate) expires_at: DateTime<Utc>,
}

impl Next {
    pub(crate) fn new() -> Self {
        Self { id: Uuid::new_v4(), hash: fresh_hash(), expires_at: in_days(30) }
    }
}

pub(crate) fn ours(conn: &mut PgConnection, presented: &TokenHash, next: &Next) -> Result<bool, String> {
    let successor = Successor::expiring_at(next.id, next.hash.clone(), next.expires_at);
    RefreshTokenRepository::new(conn)
        .rotate(presented, &successor, Binding::ANY)
        .map(|outcome| matches!(outcome, Rotation::Rotated(_)))
        .map_err(|error| error.to_string())
}

/// The reference's three statements in the transaction that it asks its callers for.
pub(crate) fn reference(conn: &mut PgConnection, presented: &TokenHash, next: &Next) -> Result<bool, String> {
    let new = reference::NewHash {
        id: next.id,
        token_hash: next.hash.expose().to_owned(),
        expires_at: next.expires_at,
        active_org_id: None,
    };
    conn.transaction(|conn| reference::rotate(conn, presented.expose(), &new, None))
        .map(|made| made.is_some())
        .map_err(|error| error.to_string())
}

/// The reference's table as it is where this library never came: eight columns, no trigger.
pub(crate) const OWN_TABLE: &str = "
CREATE TABLE refresh_tokens (
    id            uuid        PRIMARY KEY,
    user_id       uuid        NOT NULL,
    token_hash    text        NOT NULL UNIQUE,
    active_org_id uuid        NOT NULL,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    rotated_to    uuid,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON refresh_tokens (user_id);
CREATE INDEX ON refresh_tokens (expires_at)";

mod own_table {
    diesel::table! {
        refresh_tokens (id) {
            id -> Uuid,
            user_id -> Uuid,
            token_hash -> Text,
            active_org_id -> Uuid,
            expires_at -> Timestamptz,
            revoked_at -> Nullable<Timestamptz>,
            rotated_to -> Nullable<Uuid>,
            created_at -> Timestamptz,
        }
    }
}

diesel::define_sql_function! {
    fn clock_timestamp() -> Timestamptz;
}

type Row = (Uuid, Uuid, String, Uuid, DateTime<Utc>, Option<DateTime<Utc>>, Option<Uuid>, DateTime<Utc>);

/// The same three statements in Diesel's words, which are prepared once a connection, as the reference's driver
/// does; `sql_query`, which [`reference`] is made of, is parsed and planned at each call.
pub(crate) fn prepared(conn: &mut PgConnection, presented: &TokenHash, next: &Next) -> Result<bool, String> {
    use own_table::refresh_tokens;

    conn.transaction(|conn| {
        let old: Option<Row> = refresh_tokens::table
            .filter(refresh_tokens::token_hash.eq(presented.expose()))
            .filter(refresh_tokens::revoked_at.is_null())
            .filter(refresh_tokens::rotated_to.is_null())
            .filter(refresh_tokens::expires_at.gt(clock_timestamp()))
            .for_update()
            .first(conn)
            .optional()?;
        let Some(old) = old else {
            return Ok(false);
        };
        let _successor: Row = diesel::insert_into(refresh_tokens::table)
            .values((
                refresh_tokens::id.eq(next.id),
                refresh_tokens::user_id.eq(old.1),
                refresh_tokens::token_hash.eq(next.hash.expose()),
                refresh_tokens::active_org_id.eq(old.3),
                refresh_tokens::expires_at.eq(next.expires_at),
            ))
            .get_result(conn)?;
        diesel::update(refresh_tokens::table.find(old.0)).set(refresh_tokens::rotated_to.eq(next.id)).execute(conn)?;
        Ok(true)
    })
    .map_err(|error: diesel::result::Error| error.to_string())
}
