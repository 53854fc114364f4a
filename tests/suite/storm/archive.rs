//! The archive's rows, which are those of `refresh_tokens` and an instant more.

use diesel::prelude::*;
use refresh_tokens::RefreshToken;

use super::history::Row;

diesel::table! {
    refresh_tokens_archive (id) {
        id -> Uuid,
        user_id -> Uuid,
        token_hash -> Text,
        active_org_id -> Uuid,
        expires_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
        rotated_to -> Nullable<Uuid>,
        created_at -> Timestamptz,
        session_id -> Uuid,
        session_expires_at -> Nullable<Timestamptz>,
        revoked_reason -> Nullable<Text>,
        generation -> Int4,
        rotated_at -> Nullable<Timestamptz>,
        session_started_at -> Timestamptz,
        reused_at -> Nullable<Timestamptz>,
    }
}

pub(super) fn rows(conn: &mut PgConnection) -> Vec<Row> {
    let rows: Vec<RefreshToken> = refresh_tokens_archive::table.load(conn).unwrap();
    rows.iter().map(Row::from).collect()
}
