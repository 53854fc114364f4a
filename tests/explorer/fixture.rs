//! The rows that every schedule starts from: a user with two sessions and one that is over, and somebody else of the
//! same organisation.

use std::collections::BTreeMap;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::RefreshTokenRepository;
use refresh_tokens::schema::refresh_tokens as tokens;
use refresh_tokens::{Pepper, Peppers, TokenHash};
use uuid::Uuid;

pub(crate) const USER: Uuid = Uuid::from_u128(0x0001_0001);
const SOMEBODY_ELSE: Uuid = Uuid::from_u128(0x0001_0002);

/// The organisation that revocations of one aim at: session A acts for it, session B is to switch to it.
pub(crate) const ORG: Uuid = Uuid::from_u128(0x0002_0001);
pub(crate) const OTHER_ORG: Uuid = Uuid::from_u128(0x0002_0002);

pub(crate) const SESSION_A: Uuid = Uuid::from_u128(0x0003_000a);
pub(crate) const SESSION_B: Uuid = Uuid::from_u128(0x0003_000b);
const SESSION_OVER: Uuid = Uuid::from_u128(0x0003_000c);
const SESSION_ELSE: Uuid = Uuid::from_u128(0x0003_000d);

/// Session A: spent; spent, and expired long ago; live.
pub(crate) const A0: Uuid = Uuid::from_u128(0x0004_00a0);
pub(crate) const A1: Uuid = Uuid::from_u128(0x0004_00a1);
pub(crate) const A2: Uuid = Uuid::from_u128(0x0004_00a2);
/// Session B: live, and older than the live token of session A, so that an order by age is not one by session.
pub(crate) const B0: Uuid = Uuid::from_u128(0x0004_00b0);
/// Revoked long ago, by its user.
pub(crate) const OVER: Uuid = Uuid::from_u128(0x0004_00c0);
const ELSE: Uuid = Uuid::from_u128(0x0004_00d0);

/// Of the live token of session A; the secrets of the others are of no service.
pub(crate) const SECRET_OF_A2: &str = "rtk1_00042_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8_58b1219b";

pub(crate) fn peppers() -> Peppers {
    Peppers::new(Pepper::new(42, &[0x0b; 32]).unwrap())
}

/// Every other token's hash follows from its id.
pub(crate) fn hash_of(id: Uuid) -> TokenHash {
    if id == A2 {
        return peppers().hash(&SECRET_OF_A2.parse().unwrap()).unwrap();
    }
    TokenHash::new(id.simple().to_string()).unwrap()
}

/// The service draws the ids of successors, anew in each run of a schedule; to the checks they are always the same.
pub(crate) fn renamed(id: Uuid) -> Uuid {
    if id.get_version_num() == 7 { Uuid::from_u128(0x0007_0000) } else { id }
}

diesel::table! {
    refresh_tokens_archive (id) {
        id -> Uuid,
        user_id -> Uuid,
        active_org_id -> Uuid,
        session_id -> Uuid,
        rotated_to -> Nullable<Uuid>,
        revoked_at -> Nullable<Timestamptz>,
        reused_at -> Nullable<Timestamptz>,
    }
}

use refresh_tokens_archive as archive;

/// A row as the checks see it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) session_id: Uuid,
    pub(crate) org_id: Uuid,
    pub(crate) rotated_to: Option<Uuid>,
    pub(crate) is_revoked: bool,
    pub(crate) is_reused: bool,
}

impl Row {
    /// Neither rotated nor revoked. The one row that has expired is neither.
    pub(crate) fn is_live(&self) -> bool {
        self.rotated_to.is_none() && !self.is_revoked
    }
}

/// The committed rows at one moment.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) tokens: BTreeMap<Uuid, Row>,
    pub(crate) archived: Vec<Row>,
}

/// Keeps the first rows in a table, from which [`reset`] copies them.
pub(crate) fn prepare(conn: &mut PgConnection) {
    let row = |id: Uuid, user: Uuid, org: Uuid, session: Uuid, generation: u8, rotated_to: Option<Uuid>, ages: &str| {
        let rotated_to = rotated_to.map_or("NULL".to_owned(), |id| format!("'{id}'"));
        format!(
            "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, session_id, generation, rotated_to,
                created_at, rotated_at, expires_at, session_started_at)
             SELECT '{id}', '{user}', '{hash}', '{org}', '{session}', {generation}, {rotated_to},
                now() - created, now() - rotated, now() + expires, now() - interval '50 days'
             FROM (VALUES ({ages})) ages (created, rotated, expires);",
            hash = hash_of(id).expose()
        )
    };
    let day = |days: i32| format!("interval '{days} days'");
    let ages = |created, rotated, expires| format!("{}, {}, {}", day(created), day(rotated), day(expires));
    let rows = [
        row(A0, USER, ORG, SESSION_A, 0, Some(A1), &ages(50, 49, 10)),
        row(A1, USER, ORG, SESSION_A, 1, Some(A2), &ages(49, 2, -40)),
        row(A2, USER, ORG, SESSION_A, 2, None, &format!("{}, NULL::interval, {}", day(2), day(20))),
        row(B0, USER, OTHER_ORG, SESSION_B, 0, None, &format!("{}, NULL::interval, {}", day(3), day(20))),
        row(OVER, USER, OTHER_ORG, SESSION_OVER, 0, None, &format!("{}, NULL::interval, {}", day(45), day(15))),
        row(ELSE, SOMEBODY_ELSE, ORG, SESSION_ELSE, 0, None, &format!("{}, NULL::interval, {}", day(1), day(20))),
    ];
    // Autovacuum's locks would make a schedule depend on when it comes by.
    let tables = ["refresh_tokens", "refresh_token_gates", "refresh_token_cutoffs"];
    let vacuum = tables.map(|table| format!("ALTER TABLE {table} SET (autovacuum_enabled = off);"));
    let end = format!("UPDATE refresh_tokens SET revoked_at = now() - interval '40 days' WHERE id = '{OVER}';");
    let keep = "CREATE TABLE first_rows AS TABLE refresh_tokens;";
    conn.batch_execute(&format!("{} {end} {} {keep}", rows.concat(), vacuum.concat())).unwrap();
    // The next month's, too: it may begin meanwhile.
    RefreshTokenRepository::new(conn).create_archive_partitions(1).unwrap();
}

pub(crate) fn reset(conn: &mut PgConnection) {
    conn.batch_execute(
        "DELETE FROM refresh_tokens; DELETE FROM refresh_token_cutoffs; DELETE FROM refresh_tokens_archive;
         INSERT INTO refresh_tokens SELECT * FROM first_rows",
    )
    .unwrap();
}

/// In the place of autovacuum, between two explorations.
pub(crate) fn vacuum(conn: &mut PgConnection) {
    conn.batch_execute("VACUUM refresh_tokens, refresh_token_gates, refresh_token_cutoffs").unwrap();
}

pub(crate) fn rows(conn: &mut PgConnection) -> Rows {
    let columns = (
        tokens::id,
        tokens::user_id,
        tokens::session_id,
        tokens::active_org_id,
        tokens::rotated_to,
        tokens::revoked_at.is_not_null(),
        tokens::reused_at.is_not_null(),
    );
    let rows: Vec<Row> = tokens::table.select(columns).load(conn).unwrap();
    let rename = |row: Row| Row { id: renamed(row.id), rotated_to: row.rotated_to.map(renamed), ..row };
    let renamed: BTreeMap<Uuid, Row> = rows.iter().cloned().map(rename).map(|row| (row.id, row)).collect();
    assert_eq!(renamed.len(), rows.len(), "a token was given two successors: {rows:?}");
    let columns = (
        archive::id,
        archive::user_id,
        archive::session_id,
        archive::active_org_id,
        archive::rotated_to,
        archive::revoked_at.is_not_null(),
        archive::reused_at.is_not_null(),
    );
    Rows { tokens: renamed, archived: archive::table.select(columns).load(conn).unwrap() }
}
