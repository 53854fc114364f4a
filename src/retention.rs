//! Clean-up: deletes what expired long ago, in batches.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Text};

use crate::error::Result;
use crate::input::days_in_range;

/// Rows per DELETE: enough to make round trips cheap, few enough to hold locks for milliseconds.
const BATCH: i64 = 1_000;

#[derive(QueryableByName)]
struct Batch {
    #[diesel(sql_type = BigInt)]
    rows: i64,
    /// The expiry of the last row, where the next batch begins.
    #[diesel(sql_type = Text)]
    until: String,
}

pub(crate) fn cleanup_expired(conn: &mut PgConnection, older_than_days: i32) -> Result<usize> {
    days_in_range(older_than_days)?;
    let mut total = 0;
    let mut from = "-infinity".to_owned();
    loop {
        let batch: Batch = conn.transaction(|conn| {
            sql_query(include_str!("sql/cleanup_expired.sql"))
                .bind::<Integer, _>(older_than_days)
                .bind::<BigInt, _>(BATCH)
                .bind::<Text, _>(&from)
                .get_result(conn)
        })?;
        total += usize::try_from(batch.rows).unwrap_or(0);
        if batch.rows < BATCH {
            return Ok(total);
        }
        from = batch.until;
    }
}
