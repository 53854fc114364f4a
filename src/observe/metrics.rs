//! What is counted, under which names; `metrics.md` is the table that they are documented in, and a test compares.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::group::GroupRotator;
use crate::janitor::Janitor;
use crate::observe::outcome::{Figures, Seen};
use crate::pool::RefreshTokenStore;
use crate::receipt::RevocationReport;
use crate::retention::{CleanupReport, RetentionBacklog};

const CALLS: &str = "refresh_tokens_calls_total";
const CALL_SECONDS: &str = "refresh_tokens_call_seconds";
const LOCK_STATEMENT_SECONDS: &str = "refresh_tokens_lock_statement_seconds";
const POOL_WAIT_SECONDS: &str = "refresh_tokens_pool_wait_seconds";
const CONFLICT_RETRIES: &str = "refresh_tokens_conflict_retries_total";
const GROUP_BATCH_ROTATIONS: &str = "refresh_tokens_group_batch_rotations";
const GROUP_WAITING: &str = "refresh_tokens_group_waiting";
const REVOKED_TOKENS: &str = "refresh_tokens_revoked_tokens_total";
const ENDED_SESSIONS: &str = "refresh_tokens_ended_sessions_total";
const CLEANED_ROWS: &str = "refresh_tokens_cleaned_rows_total";
const OVERDUE_TOKENS: &str = "refresh_tokens_retention_overdue_tokens";
const BEHIND_SECONDS: &str = "refresh_tokens_retention_behind_seconds";
const TABLE_ROWS: &str = "refresh_tokens_table_rows";
const DEAD_ROWS: &str = "refresh_tokens_table_dead_rows";
const TABLE_BYTES: &str = "refresh_tokens_table_bytes";
const INDEX_BYTES: &str = "refresh_tokens_index_bytes";
const POOL_CONNECTIONS: &str = "refresh_tokens_pool_connections";
const POOL_IDLE: &str = "refresh_tokens_pool_idle_connections";
const POOL_MAX: &str = "refresh_tokens_pool_max_connections";
const JANITOR_ALIVE: &str = "refresh_tokens_janitor_alive";
const JANITOR_WORKING: &str = "refresh_tokens_janitor_working";
const JANITOR_IDLE_SECONDS: &str = "refresh_tokens_janitor_idle_seconds";

/// Tells the recorder what each metric means, and its unit: once, after it was installed.
///
/// # Example
///
/// ```
/// // metrics::set_global_recorder(…)
/// refresh_tokens::observe::describe();
/// ```
pub fn describe() {
    for (name, unit, text) in [
        (CALLS, Unit::Count, "Calls by what came of them; of rotate_many, requests."),
        (
            CONFLICT_RETRIES,
            Unit::Count,
            "Transactions that the store ran again, because the server had rolled them back.",
        ),
        (REVOKED_TOKENS, Unit::Count, "Tokens that revocations and breach responses ended."),
        (ENDED_SESSIONS, Unit::Count, "Sessions that revocations and breach responses ended."),
        (CLEANED_ROWS, Unit::Count, "Rows that clean-up deleted or archived."),
    ] {
        describe_counter!(name, unit, text);
    }
    for (name, unit, text) in [
        (CALL_SECONDS, Unit::Seconds, "Time of a call."),
        (LOCK_STATEMENT_SECONDS, Unit::Seconds, "Time of a statement that waits for somebody's lock."),
        (POOL_WAIT_SECONDS, Unit::Seconds, "Wait for a pooled connection."),
        (GROUP_BATCH_ROTATIONS, Unit::Count, "Rotations that a group sent together."),
    ] {
        describe_histogram!(name, unit, text);
    }
    for (name, unit, text) in [
        (GROUP_WAITING, Unit::Count, "Callers who wait in a group."),
        (OVERDUE_TOKENS, Unit::Count, "Tokens that clean-up has before it."),
        (BEHIND_SECONDS, Unit::Seconds, "For how long the oldest expired token has been due."),
        (TABLE_ROWS, Unit::Count, "Rows of the table, by the server's statistics."),
        (DEAD_ROWS, Unit::Count, "Rows that wait for a vacuum, by the server's statistics."),
        (TABLE_BYTES, Unit::Bytes, "Size of the table without its indexes."),
        (INDEX_BYTES, Unit::Bytes, "Size of its indexes."),
        (POOL_CONNECTIONS, Unit::Count, "Connections that a pool has."),
        (POOL_IDLE, Unit::Count, "Connections of a pool that nobody uses."),
        (POOL_MAX, Unit::Count, "Connections that a pool may have."),
        (JANITOR_ALIVE, Unit::Count, "1 while the janitor's thread runs, else 0."),
        (JANITOR_WORKING, Unit::Count, "1 while a run is under way, else 0."),
        (JANITOR_IDLE_SECONDS, Unit::Seconds, "For how long the janitor has not ended a run."),
    ] {
        describe_gauge!(name, unit, text);
    }
}

/// Sets the gauges of a pool: call it before each scrape, or every few seconds.
///
/// `pool` tells several pools of a process apart.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let store = store(&database);
/// refresh_tokens::observe::record_pool(&store, "main");
/// ```
pub fn record_pool(store: &RefreshTokenStore, pool: &'static str) {
    let state = store.pool().state();
    gauge!(POOL_CONNECTIONS, "pool" => pool).set(state.connections);
    gauge!(POOL_IDLE, "pool" => pool).set(state.idle_connections);
    gauge!(POOL_MAX, "pool" => pool).set(store.pool().max_size());
}

/// Sets the gauge of a group: call it before each scrape, or every few seconds.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let store = store(&database);
/// let group = refresh_tokens::GroupRotator::new(store, &refresh_tokens::GroupConfig::default());
/// refresh_tokens::observe::record_group(&group, "main");
/// ```
pub fn record_group(group: &GroupRotator, name: &'static str) {
    gauge!(GROUP_WAITING, "group" => name).set(real(group.waiting()));
}

/// Sets the gauges of a janitor: call it before each scrape, or every few seconds.
///
/// Its runs are counted without: as verb `janitor_run`, with the rows that they took.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let store = store(&database);
/// use refresh_tokens::{Janitor, JanitorConfig, RetentionPolicy};
///
/// let janitor = Janitor::start(store, RetentionPolicy::default(), JanitorConfig::default())?;
/// refresh_tokens::observe::record_janitor(&janitor);
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
pub fn record_janitor(janitor: &Janitor) {
    let statistics = janitor.statistics();
    gauge!(JANITOR_ALIVE).set(u8::from(janitor.is_alive()));
    gauge!(JANITOR_WORKING).set(u8::from(statistics.is_running));
    gauge!(JANITOR_IDLE_SECONDS).set(statistics.since_last_run.unwrap_or_default());
}

pub(super) fn time(verb: &'static str, took: Duration) {
    histogram!(CALL_SECONDS, "verb" => verb).record(took);
}

pub(super) fn count(verb: &'static str, seen: &Seen<'_>) {
    counter!(CALLS, "verb" => verb, "outcome" => seen.outcome, "class" => seen.class.as_str()).increment(1);
    match seen.figures {
        Some(Figures::RevocationReport(receipt)) => revoked(verb, receipt),
        Some(Figures::Cleanup(report)) => cleaned(verb, report),
        Some(Figures::Backlog(backlog)) => due(backlog),
        None => {}
    }
}

fn revoked(verb: &'static str, receipt: RevocationReport) {
    let whole = |count| u64::try_from(count).unwrap_or(u64::MAX);
    counter!(REVOKED_TOKENS, "verb" => verb).increment(whole(receipt.tokens));
    counter!(ENDED_SESSIONS, "verb" => verb).increment(whole(receipt.sessions));
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

pub(super) fn made_again() {
    counter!(CONFLICT_RETRIES).increment(1);
}

pub(super) fn batch(rotations: usize) {
    histogram!(GROUP_BATCH_ROTATIONS).record(real(rotations));
}

/// A gauge has 53 bits for a count, which is exact up to nine thousand million millions.
fn real(count: impl TryInto<u64>) -> f64 {
    let count = count.try_into().unwrap_or(u64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let real = count as f64;
    real
}
