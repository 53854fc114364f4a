//! The janitor: it runs, rests, stops, and survives what it meets.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use refresh_tokens::{
    CleanupBudget, CleanupEnd, Error, InvalidInput, Janitor, JanitorConfig, RefreshTokenStore, RetentionPolicy,
};
use refresh_tokens_support::{Database, race};

use super::policy;
use super::rows::{count, expired_rows};

const NEVER: Duration = Duration::from_secs(86_400);

fn store(database: &Database) -> RefreshTokenStore {
    RefreshTokenStore::connect(database.url(), &database.config().max_connections(2)).unwrap()
}

/// Begins at once, and then only when it is called.
fn on_call() -> JanitorConfig {
    JanitorConfig::default().jitter(Duration::ZERO).interval(NEVER)
}

#[test]
fn it_cleans_up_at_its_start_and_when_it_is_called() {
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, 25);
    let (told, hears) = channel();
    let config = on_call().on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let janitor = Janitor::start(store(&database), policy(), config).unwrap();
    assert_eq!(hears.recv().unwrap().unwrap().tokens(), 25);
    expired_rows(&mut conn, 10);
    janitor.run_now();
    let report = hears.recv().unwrap().unwrap();
    assert_eq!((report.tokens(), report.end), (10, Some(CleanupEnd::Complete)));
    let statistics = janitor.stop();
    assert_eq!((statistics.runs, statistics.failures, statistics.tokens), (2, 0, 35));
    assert_eq!((statistics.last_report, statistics.last_error, statistics.is_running), (Some(report), None, false));
    assert!(statistics.since_last_run.is_some());
    assert_eq!(count(&mut conn), 0);
}

#[test]
fn it_runs_again_after_its_interval() {
    let database = Database::migrated();
    let (told, hears) = channel();
    let config = on_call().interval(Duration::from_millis(1)).on_run(move |outcome| drop(told.send(outcome.clone())));
    let _janitor = Janitor::start(store(&database), policy(), config).unwrap();
    for _ in 0..3 {
        assert_eq!(hears.recv().unwrap().unwrap().end, Some(CleanupEnd::Complete));
    }
}

/// What its budget left goes in the next runs, from the place on where the last one ended.
#[test]
fn it_goes_on_where_its_budget_ended_a_run() {
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, 100);
    let (told, hears) = channel();
    let config = on_call()
        .interval(Duration::ZERO)
        .budget(CleanupBudget::default().batch(10).max_rows(40))
        .on_run(move |outcome| drop(told.send(outcome.clone())));
    let janitor = Janitor::start(store(&database), policy(), config).unwrap();
    let runs: Vec<_> = (0..3).map(|_| hears.recv().unwrap().unwrap()).collect();
    assert_eq!(runs.iter().map(refresh_tokens::CleanupReport::tokens).collect::<Vec<_>>(), [40, 40, 20]);
    assert_eq!(runs[2].end, Some(CleanupEnd::Complete));
    assert_eq!(janitor.stop().tokens, 100);
}

/// It is dropped in the middle of a run, in a pause that would take a day.
#[test]
fn it_ends_when_it_is_dropped_and_its_run_between_two_batches() {
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, 100);
    let (told, hears) = channel();
    let budget = CleanupBudget::default().batch(10).pause(NEVER);
    let config = on_call().budget(budget).on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let store = store(&database);
    let janitor = Janitor::start(store.clone(), policy(), config).unwrap();
    race::wait_for(|| janitor.statistics().tokens == 10);
    assert!(janitor.statistics().is_running && janitor.is_alive());
    let began = Instant::now();
    drop(janitor);
    assert!(began.elapsed() < Duration::from_secs(30));
    let report = hears.recv().unwrap().unwrap();
    assert_eq!((report.tokens(), report.end), (10, Some(CleanupEnd::Interrupted)));
    assert!(hears.recv().is_err(), "its thread is gone");
    assert_eq!(count(&mut conn), 90);
    assert_eq!(store.pool().state().connections, store.pool().state().idle_connections);
}

#[test]
fn invariant_9_a_run_that_fails_is_counted_and_the_next_one_comes() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let (told, hears) = channel();
    let config = on_call().on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let janitor = Janitor::start(store(&database), policy(), config).unwrap();
    assert!(hears.recv().unwrap().is_ok());
    conn.batch_execute("ALTER TABLE refresh_tokens RENAME TO elsewhere").unwrap();
    janitor.run_now();
    assert_eq!(hears.recv().unwrap(), Err(Error::SchemaMissing));
    let statistics = janitor.statistics();
    assert_eq!((statistics.runs, statistics.failures), (2, 1));
    assert_eq!(statistics.last_error, Some(Error::SchemaMissing));
    conn.batch_execute("ALTER TABLE elsewhere RENAME TO refresh_tokens").unwrap();
    expired_rows(&mut conn, 5);
    janitor.run_now();
    assert_eq!(hears.recv().unwrap().unwrap().tokens(), 5);
    assert_eq!(janitor.stop().last_error, None);
}

#[test]
fn it_makes_the_partitions_that_it_archives_into() {
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, 5);
    let (told, hears) = channel();
    let config = on_call().months_ahead(3).on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let store = store(&database);
    let _janitor = Janitor::start(store.clone(), policy().archive(), config).unwrap();
    assert_eq!(hears.recv().unwrap().unwrap().tokens(), 5);
    assert_eq!(store.archive_partitions().unwrap().len(), 4);
}

#[test]
fn the_janitors_of_a_fleet_share_the_work() {
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, 3_000);
    let config = on_call().interval(Duration::from_millis(1)).budget(CleanupBudget::default().batch(50));
    let janitors: Vec<Janitor> =
        (0..3).map(|_| Janitor::start(store(&database), policy(), config.clone()).unwrap()).collect();
    race::wait_for(|| janitors.iter().map(|janitor| janitor.statistics().tokens).sum::<u64>() >= 3_000);
    let statistics: Vec<_> = janitors.into_iter().map(Janitor::stop).collect();
    assert_eq!(statistics.iter().map(|one| one.tokens).sum::<u64>(), 3_000, "no row is counted twice");
    assert!(statistics.iter().all(|one| one.failures == 0), "{statistics:?}");
    assert_eq!(count(&mut conn), 0);
}

#[test]
fn a_panic_of_the_hosts_is_the_janitors_end_and_not_the_hosts() {
    let database = Database::migrated();
    let config = on_call().on_run(|_| panic!("a log that is full"));
    let janitor = Janitor::start(store(&database), policy(), config).unwrap();
    race::wait_for(|| !janitor.is_alive());
    assert_eq!(janitor.stop().runs, 1);
}

#[test]
fn a_policy_out_of_range_starts_no_janitor() {
    let database = Database::migrated();
    let policy = RetentionPolicy::default().keep_rotated_for(TimeDelta::zero());
    let refused = InvalidInput::RetentionOutOfRange { field: "keep_rotated_for", least_seconds: 3_600 };
    assert_eq!(Janitor::start(store(&database), policy, on_call()).unwrap_err(), refused.into());
}
