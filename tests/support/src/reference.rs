//! The statements of the system that this library takes over from, word for word, one function a verb.
//!
//! It opens no transactions and knows eight columns. Tests run it beside the library on the same rows, and show
//! its flaws; benches take it as their baseline.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Double, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

/// A row as that system sees it.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Row {
    /// Column `id`.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Column `user_id`.
    #[diesel(sql_type = SqlUuid)]
    pub user_id: Uuid,
    /// Column `token_hash`.
    #[diesel(sql_type = Text)]
    pub token_hash: String,
    /// Column `active_org_id`.
    #[diesel(sql_type = SqlUuid)]
    pub active_org_id: Uuid,
    /// Column `expires_at`.
    #[diesel(sql_type = Timestamptz)]
    pub expires_at: DateTime<Utc>,
    /// Column `revoked_at`.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub revoked_at: Option<DateTime<Utc>>,
    /// Column `rotated_to`.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub rotated_to: Option<Uuid>,
    /// Column `created_at`.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = SqlUuid)]
    #[expect(dead_code, reason = "the rows are counted, as that system does")]
    id: Uuid,
}

/// The arguments of `create`, and of the INSERT in `rotate`.
#[derive(Debug, Clone)]
pub struct NewRow {
    /// Column `id`.
    pub id: Uuid,
    /// Column `user_id`.
    pub user_id: Uuid,
    /// Column `token_hash`.
    pub token_hash: String,
    /// Column `active_org_id`.
    pub active_org_id: Uuid,
    /// Column `expires_at`.
    pub expires_at: DateTime<Utc>,
}

/// `create`.
pub fn create(conn: &mut PgConnection, new: &NewRow) -> QueryResult<Row> {
    sql_query(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
         VALUES ($1, $2, $3, $4, $5)
         RETURNING id, user_id, token_hash, active_org_id, expires_at,
             revoked_at, rotated_to, created_at",
    )
    .bind::<SqlUuid, _>(new.id)
    .bind::<SqlUuid, _>(new.user_id)
    .bind::<Text, _>(&new.token_hash)
    .bind::<SqlUuid, _>(new.active_org_id)
    .bind::<Timestamptz, _>(new.expires_at)
    .get_result(conn)
}

/// `get_by_hash`.
pub fn get_by_hash(conn: &mut PgConnection, token_hash: &str) -> QueryResult<Option<Row>> {
    sql_query(
        "SELECT id, user_id, token_hash, active_org_id, expires_at,
             revoked_at, rotated_to, created_at
         FROM refresh_tokens
         WHERE token_hash = $1",
    )
    .bind::<Text, _>(token_hash)
    .get_result(conn)
    .optional()
}

/// `get_valid_by_hash`, which appends a condition for each optional argument that is given.
pub fn get_valid_by_hash(
    conn: &mut PgConnection,
    token_hash: &str,
    user_id: Option<Uuid>,
    active_org_id: Option<Uuid>,
) -> QueryResult<Option<Row>> {
    let mut query = sql_query(VALID).into_boxed().bind::<Text, _>(token_hash);
    let mut next_placeholder = 2;
    if let Some(user_id) = user_id {
        query = query.sql(" AND user_id = $2").bind::<SqlUuid, _>(user_id);
        next_placeholder += 1;
    }
    if let Some(active_org_id) = active_org_id {
        query = query.sql(format!(" AND active_org_id = ${next_placeholder}")).bind::<SqlUuid, _>(active_org_id);
    }
    query.get_result(conn).optional()
}

const VALID: &str = "SELECT id, user_id, token_hash, active_org_id, expires_at,
             revoked_at, rotated_to, created_at
         FROM refresh_tokens
         WHERE token_hash = $1
             AND revoked_at IS NULL
             AND rotated_to IS NULL
             AND expires_at > clock_timestamp()";

/// `get_valid_for_rotation`: locks the row until the end of the statement, or of the caller's transaction.
pub fn get_valid_for_rotation(
    conn: &mut PgConnection,
    token_hash: &str,
    user_id: Option<Uuid>,
) -> QueryResult<Option<Row>> {
    let mut query = sql_query(VALID).into_boxed().bind::<Text, _>(token_hash);
    if let Some(user_id) = user_id {
        query = query.sql(" AND user_id = $2").bind::<SqlUuid, _>(user_id);
    }
    query.sql(" FOR UPDATE").get_result(conn).optional()
}

/// `check_token_reuse`.
pub fn check_token_reuse(conn: &mut PgConnection, token_hash: &str) -> QueryResult<Option<Row>> {
    sql_query(
        "SELECT id, user_id, token_hash, active_org_id, expires_at,
             revoked_at, rotated_to, created_at
         FROM refresh_tokens
         WHERE token_hash = $1 AND rotated_to IS NOT NULL",
    )
    .bind::<Text, _>(token_hash)
    .get_result(conn)
    .optional()
}

/// `revoke_token_chain`.
pub fn revoke_token_chain(conn: &mut PgConnection, token_id: Uuid) -> QueryResult<usize> {
    let rows: Vec<Id> = sql_query(
        "WITH RECURSIVE token_chain AS (
         SELECT id, rotated_to
         FROM refresh_tokens
         WHERE id = $1
         UNION ALL
         SELECT rt.id, rt.rotated_to
         FROM refresh_tokens rt
         INNER JOIN token_chain tc ON rt.id = tc.rotated_to
         )
         UPDATE refresh_tokens
         SET revoked_at = clock_timestamp()
         WHERE id IN (SELECT id FROM token_chain)
             AND revoked_at IS NULL
         RETURNING id",
    )
    .bind::<SqlUuid, _>(token_id)
    .load(conn)?;
    Ok(rows.len())
}

/// The arguments of `rotate`.
#[derive(Debug, Clone)]
pub struct NewHash {
    /// `new_token_id`.
    pub id: Uuid,
    /// `new_token_hash`.
    pub token_hash: String,
    /// `new_expires_at`.
    pub expires_at: DateTime<Utc>,
    /// `new_active_org_id`.
    pub active_org_id: Option<Uuid>,
}

/// `rotate`: three statements, and no transaction but the caller's.
pub fn rotate(
    conn: &mut PgConnection,
    old_token_hash: &str,
    new: &NewHash,
    expected_user_id: Option<Uuid>,
) -> QueryResult<Option<Row>> {
    let Some(old) = get_valid_for_rotation(conn, old_token_hash, expected_user_id)? else {
        return Ok(None);
    };
    let successor = insert_successor(conn, &old, new)?;
    mark_rotated(conn, old.id, new.id)?;
    Ok(Some(successor))
}

/// The second statement of `rotate`.
pub fn insert_successor(conn: &mut PgConnection, old: &Row, new: &NewHash) -> QueryResult<Row> {
    create(
        conn,
        &NewRow {
            id: new.id,
            user_id: old.user_id,
            token_hash: new.token_hash.clone(),
            active_org_id: new.active_org_id.unwrap_or(old.active_org_id),
            expires_at: new.expires_at,
        },
    )
}

/// The third statement of `rotate`.
pub fn mark_rotated(conn: &mut PgConnection, id: Uuid, rotated_to: Uuid) -> QueryResult<()> {
    sql_query(
        "UPDATE refresh_tokens
         SET rotated_to = $2
         WHERE id = $1",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<SqlUuid, _>(rotated_to)
    .execute(conn)?;
    Ok(())
}

/// `revoke`.
pub fn revoke(conn: &mut PgConnection, token_id: Uuid) -> QueryResult<bool> {
    let row: Option<Id> = sql_query(
        "UPDATE refresh_tokens
         SET revoked_at = clock_timestamp()
         WHERE id = $1 AND revoked_at IS NULL
         RETURNING id",
    )
    .bind::<SqlUuid, _>(token_id)
    .get_result(conn)
    .optional()?;
    Ok(row.is_some())
}

/// `revoke_by_hash`.
pub fn revoke_by_hash(conn: &mut PgConnection, token_hash: &str) -> QueryResult<bool> {
    let row: Option<Id> = sql_query(
        "UPDATE refresh_tokens
         SET revoked_at = clock_timestamp()
         WHERE token_hash = $1 AND revoked_at IS NULL
         RETURNING id",
    )
    .bind::<Text, _>(token_hash)
    .get_result(conn)
    .optional()?;
    Ok(row.is_some())
}

/// `revoke_all_for_user`.
pub fn revoke_all_for_user(conn: &mut PgConnection, user_id: Uuid) -> QueryResult<usize> {
    let rows: Vec<Id> = sql_query(
        "UPDATE refresh_tokens
         SET revoked_at = clock_timestamp()
         WHERE user_id = $1 AND revoked_at IS NULL
         RETURNING id",
    )
    .bind::<SqlUuid, _>(user_id)
    .load(conn)?;
    Ok(rows.len())
}

/// `revoke_all_for_user_except`.
pub fn revoke_all_for_user_except(conn: &mut PgConnection, user_id: Uuid, keep_token_id: Uuid) -> QueryResult<usize> {
    let rows: Vec<Id> = sql_query(
        "UPDATE refresh_tokens
         SET revoked_at = clock_timestamp()
         WHERE user_id = $1 AND revoked_at IS NULL AND id != $2
         RETURNING id",
    )
    .bind::<SqlUuid, _>(user_id)
    .bind::<SqlUuid, _>(keep_token_id)
    .load(conn)?;
    Ok(rows.len())
}

/// `get_active_tokens_for_user`.
pub fn get_active_tokens_for_user(conn: &mut PgConnection, user_id: Uuid) -> QueryResult<Vec<Row>> {
    sql_query(
        "SELECT id, user_id, token_hash, active_org_id, expires_at,
             revoked_at, rotated_to, created_at
         FROM refresh_tokens
         WHERE user_id = $1
             AND revoked_at IS NULL
             AND rotated_to IS NULL
             AND expires_at > clock_timestamp()
         ORDER BY created_at DESC",
    )
    .bind::<SqlUuid, _>(user_id)
    .load(conn)
}

/// `cleanup_expired`.
pub fn cleanup_expired(conn: &mut PgConnection, older_than_days: i32) -> QueryResult<usize> {
    let rows: Vec<Id> = sql_query(
        "DELETE FROM refresh_tokens
         WHERE expires_at < clock_timestamp() - interval '1 day' * $1
         RETURNING id",
    )
    .bind::<Double, _>(f64::from(older_than_days))
    .load(conn)?;
    Ok(rows.len())
}
