//! The archive's partitions: a month each, made ahead, dropped whole.

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz};

use crate::db::{atomically, now, step, whole};
use crate::error::{InvalidInput, Result};
use crate::values::{ArchivePartition, Instant};

#[derive(QueryableByName)]
struct PartitionRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Timestamptz, deserialize_as = Instant)]
    begins: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz, deserialize_as = Instant)]
    ends: DateTime<Utc>,
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// A statement that the server has written, with the table that it is about.
#[derive(QueryableByName)]
struct Written {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    statement: String,
}

/// The most months ahead: ten years.
const MAX_MONTHS: u32 = 120;

const LIST: &str = concat!(include_str!("../sql/archive_partitions.sql"), include_str!("../sql/archive_list.sql"));
const MISSING: &str =
    concat!(include_str!("../sql/archive_partitions.sql"), include_str!("../sql/archive_missing.sql"));
const DROP: &str = concat!(include_str!("../sql/archive_partitions.sql"), include_str!("../sql/archive_drop.sql"));

/// Makes the partitions of this month and the next ones; returns the names of those that were missing.
pub(crate) fn create_partitions(conn: &mut PgConnection, months_ahead: u32) -> Result<Vec<String>> {
    let months = i32::try_from(months_ahead.min(MAX_MONTHS)).unwrap_or(0);
    if months_ahead > MAX_MONTHS {
        return Err(InvalidInput::TooManyMonthsAhead { months: months_ahead, max: MAX_MONTHS }.into());
    }
    // Nearly always all are there, and then no right is needed but to look.
    if missing(conn, months)?.is_empty() {
        return Ok(Vec::new());
    }
    atomically(conn, |conn, _| {
        // Excludes itself, and nobody who archives.
        conn.batch_execute("LOCK TABLE refresh_tokens_archive IN SHARE UPDATE EXCLUSIVE MODE")?;
        let missing = missing(conn, months)?;
        for Written { statement, .. } in &missing {
            conn.batch_execute(statement)?;
        }
        Ok(missing.into_iter().map(|Written { name, .. }| name).collect())
    })
}

fn missing(conn: &mut PgConnection, months: i32) -> QueryResult<Vec<Written>> {
    sql_query(MISSING).bind::<Integer, _>(months).load(conn)
}

pub(crate) fn partitions(conn: &mut PgConnection) -> Result<Vec<ArchivePartition>> {
    Ok(list(conn, None)?)
}

fn list(conn: &mut PgConnection, end_by: Option<DateTime<Utc>>) -> QueryResult<Vec<ArchivePartition>> {
    let rows: Vec<PartitionRow> = sql_query(LIST).bind::<Nullable<Timestamptz>, _>(end_by).load(conn)?;
    let described = rows.into_iter().map(|PartitionRow { name, begins, ends, rows, bytes }| ArchivePartition {
        name,
        begins_at: begins,
        ends_at: ends,
        rows: whole(rows),
        bytes: whole(bytes),
    });
    Ok(described.collect())
}

/// Drops the partitions that end by an instant, each in a transaction of its own; returns what they were.
pub(crate) fn drop_before(conn: &mut PgConnection, instant: DateTime<Utc>) -> Result<Vec<ArchivePartition>> {
    if instant > step(conn, |conn, _| Ok(now(conn)?))? {
        return Err(InvalidInput::ArchiveCutInFuture.into());
    }
    // Nothing was archived before, and PostgreSQL cannot hold chrono's earliest instants.
    if instant <= DateTime::UNIX_EPOCH {
        return Ok(Vec::new());
    }
    let mut dropped = Vec::new();
    for partition in step(conn, |conn, _| Ok(list(conn, Some(instant))?))? {
        let is_dropped = step(conn, |conn, _| {
            conn.batch_execute("LOCK TABLE refresh_tokens_archive IN SHARE UPDATE EXCLUSIVE MODE")?;
            let still_there: Vec<Written> = sql_query(DROP).bind::<Text, _>(&partition.name).load(conn)?;
            for Written { statement, .. } in &still_there {
                conn.batch_execute(statement)?;
            }
            Ok(!still_there.is_empty())
        })?;
        if is_dropped {
            dropped.push(partition);
        }
    }
    Ok(dropped)
}
