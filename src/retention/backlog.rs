//! What clean-up has before it, by an index and the server's statistics: never by a scan of the table.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Interval, Nullable, Text, Timestamptz};

use crate::error::Result;
use crate::instant::{Instant, MaybeInstant};
use crate::retention::{RetentionPolicy, count};

/// What clean-up by a policy has before it.
///
/// Cheap at any size: it reads at most 10,000 entries of an index, and the planner's statistics. For alerts,
/// [`behind`](Self::behind) is the figure: it grows where clean-up does not keep up, whatever the size.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// use chrono::TimeDelta;
/// use refresh_tokens::RetentionPolicy;
///
/// let backlog = tokens.retention_backlog(&RetentionPolicy::default())?;
/// assert!(backlog.behind < TimeDelta::days(1), "clean-up does not keep up: {backlog:?}");
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionBacklog {
    /// Tokens that have expired long enough ago, counted; no more than [`Self::MAX_COUNTED`] are.
    pub expired_counted: u64,
    /// The same by the planner's statistics, which ANALYZE takes: right to a few percent of the table.
    pub expired_estimate: u64,
    /// Rotated tokens that are due before their expiry, by the same statistics; 0 without
    /// [`keep_rotated_for`](RetentionPolicy::keep_rotated_for).
    pub rotated_estimate: u64,
    /// Revoked tokens that are due before their expiry, by the same statistics; 0 without
    /// [`keep_revoked_for`](RetentionPolicy::keep_revoked_for).
    pub revoked_estimate: u64,
    /// For how long the token has been due that expired first; zero where none is.
    pub behind: TimeDelta,
    /// Rows of the table, by the same statistics.
    pub table_rows: u64,
    /// Deleted and superseded rows that VACUUM has not yet made room of, by the server's count.
    pub dead_rows: u64,
    /// What the table takes of the disk, in bytes, without its indexes.
    pub table_bytes: u64,
    /// What its indexes take, in bytes.
    pub index_bytes: u64,
}

impl RetentionBacklog {
    /// The most expired tokens that are counted; what is more is left to the estimate.
    ///
    /// # Example
    ///
    /// ```
    /// assert_eq!(refresh_tokens::RetentionBacklog::MAX_COUNTED, 10_000);
    /// ```
    pub const MAX_COUNTED: u64 = 10_000;
}

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
        expired_counted: count(row.counted),
        expired_estimate: estimate(conn, EXPIRED, policy, Some(TimeDelta::zero()))?,
        rotated_estimate: estimate(conn, ROTATED, policy, policy.rotated())?,
        revoked_estimate: estimate(conn, REVOKED, policy, policy.revoked())?,
        behind: row.due_since.map_or(TimeDelta::zero(), |since| row.now - since),
        table_rows: count(row.table_rows),
        dead_rows: count(row.dead_rows),
        table_bytes: count(row.table_bytes),
        index_bytes: count(row.index_bytes),
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
