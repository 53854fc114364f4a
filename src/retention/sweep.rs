//! Clean-up: a walk over the table in the order of expiry, by batches, that takes what is due.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use diesel::pg::Pg;
use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Interval, Nullable, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use crate::db::{Scope, spliced, step, whole};
use crate::error::Result;
use crate::retention::budget::CleanupBudget;
use crate::retention::policy::Disposal;
use crate::retention::policy::RetentionPolicy;
use crate::values::{CleanupCursor, CleanupEnd, CleanupReport};

const DELETE: &str = concat!(
    include_str!("../sql/retention_span.sql"),
    include_str!("../sql/retention_due.sql"),
    include_str!("../sql/retention_delete.sql"),
    include_str!("../sql/retention_taken.sql")
);
const ARCHIVE: &str = concat!(
    include_str!("../sql/retention_span.sql"),
    include_str!("../sql/retention_due.sql"),
    include_str!("../sql/retention_archive.sql"),
    include_str!("../sql/retention_taken.sql")
);
const PREVIEW: &str = concat!(
    include_str!("../sql/retention_span.sql"),
    include_str!("../sql/retention_preview.sql"),
    include_str!("../sql/retention_taken.sql")
);

/// What a run does with what it visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Take,
    /// Counts, and changes nothing.
    Preview,
}

/// Who watches a run, and may end it.
pub(crate) trait Watch {
    /// After each batch.
    fn progress(&mut self, so_far: &CleanupReport) -> ControlFlow<()>;

    /// Between two batches.
    fn rest(&mut self, pause: Duration) -> ControlFlow<()>;
}

/// Watches through a closure of the caller's, and sleeps.
pub(crate) struct Callback<F>(pub(crate) F);

impl<F: FnMut(&CleanupReport) -> ControlFlow<()>> Watch for Callback<F> {
    fn progress(&mut self, so_far: &CleanupReport) -> ControlFlow<()> {
        (self.0)(so_far)
    }

    fn rest(&mut self, pause: Duration) -> ControlFlow<()> {
        #[expect(clippy::disallowed_methods, reason = "the caller asked for a pause, and nothing waits for its end")]
        std::thread::sleep(pause);
        ControlFlow::Continue(())
    }
}

#[derive(QueryableByName)]
struct Span {
    #[diesel(sql_type = BigInt)]
    expired: i64,
    #[diesel(sql_type = BigInt)]
    rotated: i64,
    #[diesel(sql_type = BigInt)]
    revoked: i64,
    /// The expiry of the last row that was taken.
    #[diesel(sql_type = Timestamptz)]
    last: PgTimestamp,
    /// The end of the span that was looked at.
    #[diesel(sql_type = Timestamptz)]
    until: PgTimestamp,
    /// Whether nothing that may be due comes after the span.
    #[diesel(sql_type = Bool)]
    is_last: bool,
}

impl Span {
    fn taken(&self) -> i64 {
        self.expired + self.rotated + self.revoked
    }

    /// Where the next batch begins; `None` where the walk is over.
    fn next(&self, mode: Mode, limit: i64) -> Option<CleanupCursor> {
        if mode == Mode::Take && self.taken() == limit {
            // There may be more of it in this span, at the earliest beside the last.
            return Some(CleanupCursor(self.last));
        }
        // After `infinity` there is nothing.
        let after = self.until.0.checked_add(1).filter(|_| !self.is_last)?;
        Some(CleanupCursor(PgTimestamp(after)))
    }
}

/// Takes what the policy says is due, until the budget is used up or whoever watches has seen enough.
pub(crate) fn sweep(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    budget: &CleanupBudget,
    mode: Mode,
    watch: &mut impl Watch,
) -> Result<CleanupReport> {
    policy.check()?;
    let began = Instant::now();
    let mut report = CleanupReport::EMPTY;
    let mut place = budget.after.unwrap_or(CleanupCursor::START);
    let end = loop {
        let Some(limit) = rows_left(budget, &report) else { break CleanupEnd::RowBudget };
        let (span, scope) = take_batch(conn, policy, mode, place, i64::from(budget.batch), limit)?;
        report.expired += whole::<u64>(span.expired);
        report.rotated += whole::<u64>(span.rotated);
        report.revoked += whole::<u64>(span.revoked);
        report.batches += 1;
        report.durability = scope.into();
        let is_interrupted = watch.progress(&report).is_break();
        match span.next(mode, limit) {
            Some(next) => place = next,
            None => break CleanupEnd::Complete,
        }
        if is_interrupted {
            break CleanupEnd::Interrupted;
        }
        if budget.max_time.is_some_and(|most| began.elapsed() >= most) {
            break CleanupEnd::TimeBudget;
        }
        if scope == Scope::Own && !budget.pause.is_zero() && watch.rest(budget.pause).is_break() {
            break CleanupEnd::Interrupted;
        }
    };
    if end == CleanupEnd::Complete {
        report.cutoffs = sweep_cutoffs(conn, policy, mode)?;
    } else {
        report.next = Some(place);
    }
    report.end = Some(end);
    Ok(report)
}

/// The size of the next batch; `None` where no row may go any more.
fn rows_left(budget: &CleanupBudget, report: &CleanupReport) -> Option<i64> {
    let left = budget.max_rows.map(|most| most.saturating_sub(report.tokens()));
    let rows = left.map_or(u64::from(budget.batch), |left| left.min(u64::from(budget.batch)));
    i64::try_from(rows).ok().filter(|rows| *rows > 0)
}

fn take_batch(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    mode: Mode,
    place: CleanupCursor,
    span: i64,
    limit: i64,
) -> Result<(Span, Scope)> {
    let text = match (mode, policy.disposal()) {
        (Mode::Preview, _) => PREVIEW,
        (Mode::Take, Disposal::Delete) => DELETE,
        (Mode::Take, Disposal::Archive) => ARCHIVE,
    };
    step(conn, |conn, scope| {
        need_not_wait_for_the_disk(conn, scope)?;
        let statement = sql_query(spliced(text))
            .into_boxed::<Pg>()
            .bind::<Interval, _>(policy.expired())
            .bind::<Nullable<Interval>, _>(policy.rotated())
            .bind::<Nullable<Interval>, _>(policy.revoked())
            .bind::<Timestamptz, _>(place.0)
            .bind::<BigInt, _>(span)
            .bind::<Nullable<Interval>, _>(policy.lifetime());
        let statement = match mode {
            Mode::Take => statement.bind::<BigInt, _>(limit),
            Mode::Preview => statement,
        };
        Ok((statement.get_result(conn)?, scope))
    })
}

/// What a crash undoes of it is due as before, and goes again; and who waits for the disk beside it waits for less.
fn need_not_wait_for_the_disk(conn: &mut PgConnection, scope: Scope) -> QueryResult<()> {
    match scope {
        Scope::Own => sql_query("SET LOCAL synchronous_commit = off").execute(conn).map(|_| ()),
        // It would hold for the host's writes, too.
        Scope::Host => Ok(()),
    }
}

/// Rows of cutoffs that one statement looks at.
const CUTOFFS: i64 = 1_000;

#[derive(QueryableByName)]
struct CutoffBatch {
    #[diesel(sql_type = BigInt)]
    taken: i64,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    last_user_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    last_org_id: Option<Uuid>,
}

fn sweep_cutoffs(conn: &mut PgConnection, policy: &RetentionPolicy, mode: Mode) -> Result<u64> {
    let Some(keep) = policy.cutoffs().filter(|_| mode == Mode::Take) else { return Ok(0) };
    let mut place = (Uuid::nil(), Uuid::nil());
    let mut taken = 0;
    loop {
        let batch: CutoffBatch = step(conn, |conn, scope| {
            need_not_wait_for_the_disk(conn, scope)?;
            Ok(sql_query(include_str!("../sql/retention_cutoffs.sql"))
                .bind::<Interval, _>(keep)
                .bind::<BigInt, _>(CUTOFFS)
                .bind::<SqlUuid, _>(place.0)
                .bind::<SqlUuid, _>(place.1)
                .get_result(conn)?)
        })?;
        taken += whole::<u64>(batch.taken);
        match (batch.last_user_id, batch.last_org_id) {
            (Some(user_id), Some(org_id)) => place = (user_id, org_id),
            _ => return Ok(taken),
        }
    }
}

/// The reference's verb: whatever expired more than so many days ago goes.
pub(crate) fn cleanup_expired(conn: &mut PgConnection, older_than_days: i32) -> Result<CleanupReport> {
    let policy = RetentionPolicy::expired_days(older_than_days);
    let mut watch = Callback(|_: &CleanupReport| ControlFlow::Continue(()));
    sweep(conn, &policy, &CleanupBudget::default(), Mode::Take, &mut watch)
}
