//! Clean-up: deletes what expired long ago, in batches.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer};

use crate::error::Result;
use crate::input::days_in_range;

/// Rows per DELETE: enough to make round trips cheap, few enough to hold locks for milliseconds.
const BATCH: u16 = 1_000;

pub(crate) fn cleanup_expired(conn: &mut PgConnection, older_than_days: i32) -> Result<usize> {
    days_in_range(older_than_days)?;
    let mut total = 0;
    loop {
        let deleted = conn.transaction(|conn| {
            sql_query(include_str!("sql/cleanup_expired.sql"))
                .bind::<Integer, _>(older_than_days)
                .bind::<BigInt, _>(i64::from(BATCH))
                .execute(conn)
        })?;
        total += deleted;
        if deleted < usize::from(BATCH) {
            return Ok(total);
        }
    }
}
