//! The gauges that the host records by itself, and the descriptions of all metrics.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};

use crate::group::GroupRotator;
use crate::janitor::Janitor;
use crate::store::RefreshTokenStore;
use crate::telemetry::metrics::{self as names, real};

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
        (names::CALLS, Unit::Count, "Calls by what came of them; of rotate_many, requests."),
        (
            names::CONFLICT_RETRIES,
            Unit::Count,
            "Transactions that the store ran again, because the server had rolled them back.",
        ),
        (names::REVOKED_TOKENS, Unit::Count, "Tokens that revocations and breach responses ended."),
        (names::ENDED_SESSIONS, Unit::Count, "Sessions that revocations and breach responses ended."),
        (names::CLEANED_ROWS, Unit::Count, "Rows that clean-up deleted or archived."),
    ] {
        describe_counter!(name, unit, text);
    }
    for (name, unit, text) in [
        (names::CALL_SECONDS, Unit::Seconds, "Time of a call."),
        (names::LOCK_STATEMENT_SECONDS, Unit::Seconds, "Time of a statement that waits for somebody's lock."),
        (names::POOL_WAIT_SECONDS, Unit::Seconds, "Wait for a pooled connection."),
        (names::GROUP_BATCH_ROTATIONS, Unit::Count, "Rotations that a group sent together."),
    ] {
        describe_histogram!(name, unit, text);
    }
    for (name, unit, text) in [
        (names::GROUP_WAITING, Unit::Count, "Callers who wait in a group."),
        (names::OVERDUE_TOKENS, Unit::Count, "Tokens that clean-up has before it."),
        (names::BEHIND_SECONDS, Unit::Seconds, "For how long the oldest expired token has been due."),
        (names::TABLE_ROWS, Unit::Count, "Rows of the table, by the server's statistics."),
        (names::DEAD_ROWS, Unit::Count, "Rows that wait for a vacuum, by the server's statistics."),
        (names::TABLE_BYTES, Unit::Bytes, "Size of the table without its indexes."),
        (names::INDEX_BYTES, Unit::Bytes, "Size of its indexes."),
        (names::POOL_CONNECTIONS, Unit::Count, "Connections that a pool has."),
        (names::POOL_IDLE, Unit::Count, "Connections of a pool that nobody uses."),
        (names::POOL_MAX, Unit::Count, "Connections that a pool may have."),
        (names::JANITOR_ALIVE, Unit::Count, "1 while the janitor's thread runs, else 0."),
        (names::JANITOR_WORKING, Unit::Count, "1 while a run is under way, else 0."),
        (names::JANITOR_IDLE_SECONDS, Unit::Seconds, "For how long the janitor has not ended a run."),
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
    gauge!(names::POOL_CONNECTIONS, "pool" => pool).set(state.connections);
    gauge!(names::POOL_IDLE, "pool" => pool).set(state.idle_connections);
    gauge!(names::POOL_MAX, "pool" => pool).set(store.pool().max_size());
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
    gauge!(names::GROUP_WAITING, "group" => name).set(real(group.waiting()));
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
    gauge!(names::JANITOR_ALIVE).set(u8::from(janitor.is_alive()));
    gauge!(names::JANITOR_WORKING).set(u8::from(statistics.is_running));
    gauge!(names::JANITOR_IDLE_SECONDS).set(statistics.since_last_run.unwrap_or_default());
}
