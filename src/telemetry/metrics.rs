//! What is counted, under which names; `src/observe/metrics.md` is the table that documents them, and a test compares.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::telemetry::outcome::{Event, Figures};
use crate::values::{CleanupReport, RetentionBacklog, RevocationReport};

pub(crate) const CALLS: &str = "refresh_tokens_calls_total";
pub(crate) const CALL_SECONDS: &str = "refresh_tokens_call_seconds";
pub(crate) const LOCK_STATEMENT_SECONDS: &str = "refresh_tokens_lock_statement_seconds";
pub(crate) const POOL_WAIT_SECONDS: &str = "refresh_tokens_pool_wait_seconds";
pub(crate) const CONFLICT_RETRIES: &str = "refresh_tokens_conflict_retries_total";
pub(crate) const GROUP_BATCH_ROTATIONS: &str = "refresh_tokens_group_batch_rotations";
pub(crate) const GROUP_WAITING: &str = "refresh_tokens_group_waiting";
pub(crate) const REVOKED_TOKENS: &str = "refresh_tokens_revoked_tokens_total";
pub(crate) const ENDED_SESSIONS: &str = "refresh_tokens_ended_sessions_total";
pub(crate) const CLEANED_ROWS: &str = "refresh_tokens_cleaned_rows_total";
pub(crate) const OVERDUE_TOKENS: &str = "refresh_tokens_retention_overdue_tokens";
pub(crate) const BEHIND_SECONDS: &str = "refresh_tokens_retention_behind_seconds";
pub(crate) const TABLE_ROWS: &str = "refresh_tokens_table_rows";
pub(crate) const DEAD_ROWS: &str = "refresh_tokens_table_dead_rows";
pub(crate) const TABLE_BYTES: &str = "refresh_tokens_table_bytes";
pub(crate) const INDEX_BYTES: &str = "refresh_tokens_index_bytes";
pub(crate) const POOL_CONNECTIONS: &str = "refresh_tokens_pool_connections";
pub(crate) const POOL_IDLE: &str = "refresh_tokens_pool_idle_connections";
pub(crate) const POOL_MAX: &str = "refresh_tokens_pool_max_connections";
pub(crate) const JANITOR_ALIVE: &str = "refresh_tokens_janitor_alive";
pub(crate) const JANITOR_WORKING: &str = "refresh_tokens_janitor_working";
pub(crate) const JANITOR_IDLE_SECONDS: &str = "refresh_tokens_janitor_idle_seconds";

pub(super) fn time(verb: &'static str, took: Duration) {
    histogram!(CALL_SECONDS, "verb" => verb).record(took);
}

pub(super) fn count(verb: &'static str, event: &Event<'_>) {
    counter!(CALLS, "verb" => verb, "outcome" => event.outcome, "class" => event.class.as_str()).increment(1);
    match event.figures {
        Some(Figures::Revocation(report)) => revoked(verb, report),
        Some(Figures::Cleanup(report)) => cleaned(verb, report),
        Some(Figures::Backlog(backlog)) => due(backlog),
        None => {}
    }
}

fn revoked(verb: &'static str, report: RevocationReport) {
    let whole = |count| u64::try_from(count).unwrap_or(u64::MAX);
    counter!(REVOKED_TOKENS, "verb" => verb).increment(whole(report.tokens));
    counter!(ENDED_SESSIONS, "verb" => verb).increment(whole(report.sessions));
}

fn cleaned(verb: &'static str, report: &CleanupReport) {
    for (kind, rows) in [
        ("expired", report.expired),
        ("rotated", report.rotated),
        ("revoked", report.revoked),
        ("cutoff", report.cutoffs),
    ] {
        counter!(CLEANED_ROWS, "verb" => verb, "kind" => kind).increment(rows);
    }
}

fn due(backlog: &RetentionBacklog) {
    for (kind, tokens) in [
        ("expired_counted", backlog.expired_counted),
        ("expired", backlog.expired_estimate),
        ("rotated", backlog.rotated_estimate),
        ("revoked", backlog.revoked_estimate),
    ] {
        gauge!(OVERDUE_TOKENS, "kind" => kind).set(real(tokens));
    }
    gauge!(BEHIND_SECONDS).set(backlog.behind.to_std().unwrap_or_default());
    gauge!(TABLE_ROWS).set(real(backlog.table_rows));
    gauge!(DEAD_ROWS).set(real(backlog.dead_rows));
    gauge!(TABLE_BYTES).set(real(backlog.table_bytes));
    gauge!(INDEX_BYTES).set(real(backlog.index_bytes));
}

pub(super) fn locked(lock: &'static str, took: Duration) {
    histogram!(LOCK_STATEMENT_SECONDS, "lock" => lock).record(took);
}

pub(super) fn had_connection(took: Duration) {
    histogram!(POOL_WAIT_SECONDS).record(took);
}

pub(super) fn conflict_retry() {
    counter!(CONFLICT_RETRIES).increment(1);
}

pub(super) fn batch(rotations: usize) {
    histogram!(GROUP_BATCH_ROTATIONS).record(real(rotations));
}

/// A gauge has 53 bits for a count, which is exact up to nine thousand million millions.
pub(crate) fn real(count: impl TryInto<u64>) -> f64 {
    let count = count.try_into().unwrap_or(u64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let real = count as f64;
    real
}
