//! What clean-up has before it, by an index and the server's statistics: never by a scan of the table.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Interval, Nullable, Text, Timestamptz};

use crate::db::whole;
use crate::error::Result;
use crate::retention::policy::RetentionPolicy;
use crate::values::{Instant, MaybeInstant, RetentionBacklog};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    counted: i64,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = MaybeInstant)]
    due_since: Option<DateTime<Utc>>,
    #[diesel(sql_type = Timestamptz, deserialize_as = Instant)]
    now: DateTime<Utc>,
    #[diesel(sql_type = BigInt)]
    table_rows: i64,
    #[diesel(sql_type = BigInt)]
    dead_rows: i64,
    #[diesel(sql_type = BigInt)]
    table_bytes: i64,
    #[diesel(sql_type = BigInt)]
    index_bytes: i64,
}

const EXPIRED: &str = include_str!("../sql/estimate_expired.sql");
const ROTATED: &str = include_str!("../sql/estimate_rotated.sql");
const REVOKED: &str = include_str!("../sql/estimate_revoked.sql");

pub(crate) fn backlog(conn: &mut PgConnection, policy: &RetentionPolicy) -> Result<RetentionBacklog> {
    policy.check()?;
    let limit = i64::try_from(RetentionBacklog::MAX_COUNTED).unwrap_or(i64::MAX);
    let row: Row = sql_query(include_str!("../sql/backlog.sql"))
        .bind::<Interval, _>(policy.expired())
        .bind::<BigInt, _>(limit)
        .get_result(conn)?;
    Ok(RetentionBacklog {
        expired_counted: whole(row.counted),
        expired_estimate: estimate(conn, EXPIRED, policy, Some(TimeDelta::zero()))?,
        rotated_estimate: estimate(conn, ROTATED, policy, policy.rotated())?,
        revoked_estimate: estimate(conn, REVOKED, policy, policy.revoked())?,
        behind: row.due_since.map_or(TimeDelta::zero(), |since| row.now - since),
        table_rows: whole(row.table_rows),
        dead_rows: whole(row.dead_rows),
        table_bytes: whole(row.table_bytes),
        index_bytes: whole(row.index_bytes),
    })
}

/// How many rows the planner expects of a query; none where nothing of the kind is due before its expiry.
fn estimate(
    conn: &mut PgConnection,
    explain: &'static str,
    policy: &RetentionPolicy,
    keep: Option<TimeDelta>,
) -> Result<u64> {
    #[derive(QueryableByName)]
    struct Plan {
        #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
        line: String,
    }
    let Some(keep) = keep else { return Ok(0) };
    let plan: Vec<Plan> =
        sql_query(explain).bind::<Interval, _>(policy.expired()).bind::<Interval, _>(keep).load(conn)?;
    Ok(plan.first().map_or(0, |Plan { line }| rows_in(line)))
}

/// The `rows=…` of a plan's first line, which is that of its result.
fn rows_in(line: &str) -> u64 {
    let digits = line.split_once(" rows=").map_or("", |(_, rest)| rest);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_plan_are_those_of_its_result() {
        let line =
            "Index Scan using refresh_tokens_expires_at_idx on refresh_tokens  (cost=0.29..8.31 rows=5000 width=0)";
        assert_eq!(rows_in(line), 5_000);
        assert_eq!(rows_in("no plan"), 0);
    }
}
