//! Rows of every kind, and which of them are due.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Bool, Integer, Nullable, Text};
use refresh_tokens::schema::refresh_tokens::dsl;
use uuid::Uuid;

/// Why a row is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Expired,
    Rotated,
    Revoked,
}

#[derive(Debug)]
pub(super) struct Made {
    pub(super) id: Uuid,
    /// By the policy of these tests: 30 days after expiry, 7 after rotation, 3 after revocation.
    pub(super) due: Option<Kind>,
}

/// How long ago something happened to a token, in hours.
#[derive(Debug, Clone, Copy)]
enum Ago {
    Never,
    /// It did, and nobody wrote down when: rows that were adopted.
    Unknown,
    Hours(i32),
}

impl Ago {
    fn hours(self) -> Option<i32> {
        match self {
            Self::Hours(hours) => Some(hours),
            Self::Never | Self::Unknown => None,
        }
    }

    fn is_more_than_days(self, days: i32) -> bool {
        self.hours().is_some_and(|hours| hours > days * 24)
    }
}

/// Empties the table and fills it with every combination of expiry, rotation and revocation, in groups that expire at one
/// instant.
pub(super) fn fill(conn: &mut PgConnection) -> Vec<Made> {
    diesel::delete(dsl::refresh_tokens).execute(conn).unwrap();
    let mut made = Vec::new();
    for expired_hours_ago in [31 * 24, 30 * 24 + 1, 29 * 24, 1, -24, -24 * 29] {
        for rotated in [Ago::Never, Ago::Unknown, Ago::Hours(24 * 6), Ago::Hours(24 * 8)] {
            for revoked in [Ago::Never, Ago::Hours(24 * 2), Ago::Hours(24 * 4)] {
                let due = if expired_hours_ago > 30 * 24 {
                    Some(Kind::Expired)
                } else if rotated.is_more_than_days(7) {
                    Some(Kind::Rotated)
                } else if matches!(rotated, Ago::Never) && revoked.is_more_than_days(3) {
                    Some(Kind::Revoked)
                } else {
                    None
                };
                made.push(Made { id: insert(conn, expired_hours_ago, rotated, revoked), due });
            }
        }
    }
    made
}

fn insert(conn: &mut PgConnection, expired_hours_ago: i32, rotated: Ago, revoked: Ago) -> Uuid {
    let id = Uuid::new_v4();
    // The hour is that of the whole fill, so that many expire at one instant.
    sql_query(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, rotated_at, revoked_at)
         SELECT $1::uuid, gen_random_uuid(), $1, gen_random_uuid(), date_trunc('hour', now()) - interval '1 hour' * $2,
             CASE WHEN $3 THEN gen_random_uuid() END, now() - interval '1 hour' * $4, now() - interval '1 hour' * $5",
    )
    .bind::<Text, _>(id.to_string())
    .bind::<Integer, _>(expired_hours_ago)
    .bind::<Bool, _>(!matches!(rotated, Ago::Never))
    .bind::<Nullable<Integer>, _>(rotated.hours())
    .bind::<Nullable<Integer>, _>(revoked.hours())
    .execute(conn)
    .unwrap();
    id
}

/// So many rows that expired long ago, ten at each instant.
pub(super) fn expired_rows(conn: &mut PgConnection, rows: i32) {
    sql_query(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'expired ' || n, gen_random_uuid(),
             now() - interval '60 days' + interval '1 second' * (n / 10)
         FROM generate_series(1, $1) n",
    )
    .bind::<Integer, _>(rows)
    .execute(conn)
    .unwrap();
}

pub(super) fn count(conn: &mut PgConnection) -> u64 {
    dsl::refresh_tokens.count().get_result::<i64>(conn).unwrap().cast_unsigned()
}
