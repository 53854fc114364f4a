//! The janitor: it runs, rests, stops, and survives what it meets.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use refresh_tokens::{
    CleanupBudget, CleanupEnd, CleanupReport, Error, InvalidInput, Janitor, JanitorConfig, RefreshTokenStore, Result,
    RetentionPolicy,
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

/// What a run told the host.
#[track_caller]
fn a_run(hears: &Receiver<Result<CleanupReport>>) -> Result<CleanupReport> {
    race::hear(hears, "the end of a run")
}

#[test]
fn it_cleans_up_at_its_start_and_when_it_is_called() {
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, 25);
    let (told, hears) = channel();
    let config = on_call().on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let janitor = Janitor::start(store(&database), policy(), config).unwrap();
    assert_eq!(a_run(&hears).unwrap().tokens(), 25);
    expired_rows(&mut conn, 10);
    janitor.run_now();
    let report = a_run(&hears).unwrap();
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
        assert_eq!(a_run(&hears).unwrap().end, Some(CleanupEnd::Complete));
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
        .budget(CleanupBudget::default().batch(10).max_rows(40))
        .on_run(move |outcome| drop(told.send(outcome.clone())));
    let janitor = Janitor::start(store(&database), policy(), config).unwrap();
    let first = a_run(&hears).unwrap();
    assert_eq!((first.tokens(), first.end), (40, Some(CleanupEnd::RowBudget)));
    // What is before that place has its turn when the walk is over.
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'older ' || n, gen_random_uuid(), now() - interval '90 days'
         FROM generate_series(1, 30) n",
    )
    .unwrap();
    for (tokens, end) in [(40, CleanupEnd::RowBudget), (20, CleanupEnd::Complete), (30, CleanupEnd::Complete)] {
        janitor.run_now();
        let report = a_run(&hears).unwrap();
        assert_eq!((report.tokens(), report.end), (tokens, Some(end)));
    }
    assert_eq!(janitor.stop().tokens, 130);
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
    race::wait_until_that("the first batch", || janitor.statistics().tokens == 10);
    assert!(janitor.statistics().is_running && janitor.is_alive());
    // On another thread, so that one that never ends is seen.
    let dropping = std::thread::spawn(move || drop(janitor));
    race::wait_until_that("the end of its thread", || dropping.is_finished());
    dropping.join().unwrap();
    let report = a_run(&hears).unwrap();
    assert_eq!((report.tokens(), report.end), (10, Some(CleanupEnd::Interrupted)));
    race::hear_the_end(&hears, "the janitor's thread");
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
    assert!(a_run(&hears).is_ok());
    conn.batch_execute("ALTER TABLE refresh_tokens RENAME TO elsewhere").unwrap();
    janitor.run_now();
    assert_eq!(a_run(&hears), Err(Error::SchemaMissing));
    let statistics = janitor.statistics();
    assert_eq!((statistics.runs, statistics.failures), (2, 1));
    assert_eq!(statistics.last_error, Some(Error::SchemaMissing));
    conn.batch_execute("ALTER TABLE elsewhere RENAME TO refresh_tokens").unwrap();
    expired_rows(&mut conn, 5);
    janitor.run_now();
    assert_eq!(a_run(&hears).unwrap().tokens(), 5);
    assert_eq!(janitor.stop().last_error, None);
}

left_out!(on other_tables: "it archives");
#[test]
fn it_makes_the_partitions_that_it_archives_into() {
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, 5);
    let (told, hears) = channel();
    let config = on_call().months_ahead(3).on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let store = store(&database);
    let _janitor = Janitor::start(store.clone(), policy().archive(), config).unwrap();
    assert_eq!(a_run(&hears).unwrap().tokens(), 5);
    assert_eq!(store.archive_partitions().unwrap().len(), 4);
}

left_out!(on other_tables: "it archives");
/// Next month's partition cannot be made, and this month's is there: the run is well, and the error is not kept back.
#[test]
fn why_the_next_months_could_not_be_made_is_told() {
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, 5);
    let store = store(&database);
    store.create_archive_partitions(0).unwrap();
    conn.batch_execute(
        "DO $$ BEGIN
             EXECUTE format('CREATE TABLE refresh_tokens_archive_%s (id int)',
                 to_char(date_trunc('month', statement_timestamp() AT TIME ZONE 'UTC') + interval '1 month', 'YYYY_MM'));
         END $$",
    )
    .unwrap();
    let (told, hears) = channel();
    let config = on_call().months_ahead(1).on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let janitor = Janitor::start(store, policy().archive(), config).unwrap();
    assert_eq!(a_run(&hears).unwrap().tokens(), 5);
    let statistics = janitor.stop();
    let error = statistics.last_error;
    let is_it = |error: &Error| matches!(error, Error::Database { message } if message.ends_with("already exists"));
    assert!(error.as_ref().is_some_and(is_it), "{error:?}");
    assert_eq!((statistics.runs, statistics.failures, statistics.tokens), (1, 0, 5));
}

/// The second batch fails, and the first one is done.
#[test]
fn what_a_run_had_done_before_it_failed_is_counted() {
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, 25);
    conn.batch_execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
         CREATE TRIGGER refuse BEFORE DELETE ON refresh_tokens FOR EACH ROW
             WHEN (OLD.token_hash = 'expired 25') EXECUTE FUNCTION refuse()",
    )
    .unwrap();
    let (told, hears) = channel();
    let config =
        on_call().budget(CleanupBudget::default().batch(10)).on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let janitor = Janitor::start(store(&database), policy(), config).unwrap();
    let refused = Error::Database { message: "not this one".to_owned() };
    for runs in 1..=2 {
        assert_eq!(a_run(&hears), Err(refused.clone()));
        let statistics = janitor.statistics();
        assert_eq!((statistics.runs, statistics.failures, statistics.tokens), (runs, runs, 20));
        assert_eq!((statistics.last_report, statistics.is_running), (None, false));
        janitor.run_now();
    }
    assert_eq!(count(&mut conn), 5);
}

left_out!(on other_tables: "it archives");
#[test]
fn one_that_deletes_makes_no_partitions() {
    let database = Database::migrated();
    let (told, hears) = channel();
    let config = on_call().on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let store = store(&database);
    let _janitor = Janitor::start(store.clone(), policy(), config).unwrap();
    assert_eq!(a_run(&hears).unwrap().end, Some(CleanupEnd::Complete));
    assert_eq!(store.archive_partitions(), Ok(Vec::new()));
}

/// Over all its runs.
#[test]
fn the_cutoffs_that_it_deleted_are_counted() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let (told, hears) = channel();
    let config = on_call().on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let policy = policy().keep_cutoffs_for(TimeDelta::days(10));
    let old = "INSERT INTO refresh_token_cutoffs (user_id, org_id, revoked_at)
        SELECT gen_random_uuid(), gen_random_uuid(), now() - interval '11 days' FROM generate_series(1, 3)";
    conn.batch_execute(old).unwrap();
    let janitor = Janitor::start(store(&database), policy, config).unwrap();
    assert_eq!(a_run(&hears).unwrap().cutoffs, 3);
    conn.batch_execute(old).unwrap();
    janitor.run_now();
    assert_eq!(a_run(&hears).unwrap().cutoffs, 3);
    assert_eq!(janitor.stop().cutoffs, 6);
}

left_out!(under serializable:
    "its schedule is one of READ COMMITTED: who waits there is rolled back here, and comes later");
#[test]
fn the_janitors_of_a_fleet_share_the_work() {
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, 3_000);
    let config = on_call().interval(Duration::from_millis(1)).budget(CleanupBudget::default().batch(50));
    let janitors: Vec<Janitor> =
        (0..3).map(|_| Janitor::start(store(&database), policy(), config.clone()).unwrap()).collect();
    let taken = || janitors.iter().map(|janitor| janitor.statistics().tokens).sum::<u64>();
    race::wait_until_that("all rows are gone", || taken() >= 3_000);
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
    race::wait_until_that("the janitor's end", || !janitor.is_alive());
    assert_eq!(janitor.stop().runs, 1);
}

#[test]
fn a_policy_out_of_range_starts_no_janitor() {
    let database = Database::migrated();
    let policy = RetentionPolicy::default().keep_rotated_for(TimeDelta::zero());
    let refused = InvalidInput::RetentionOutOfRange { field: "keep_rotated_for", least_seconds: 3_600 };
    assert_eq!(Janitor::start(store(&database), policy, on_call()).unwrap_err(), refused.into());
}

/// What is kept at the beginning of the walk is passed once, and not by each run again, which would get no further.
#[test]
fn it_gets_past_what_is_kept_though_each_run_is_over_after_one_batch() {
    let database = Database::migrated();
    let mut conn = database.connect();
    // Rotated a moment ago, and so kept; then what expires later, but was rotated long ago.
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, rotated_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'h' || n, gen_random_uuid(), now() + n * interval '1 minute',
             gen_random_uuid(), CASE WHEN n <= 30 THEN now() ELSE now() - interval '8 days' END
         FROM generate_series(1, 40) n",
    )
    .unwrap();
    let (told, hears) = channel();
    let config = on_call()
        .interval(Duration::ZERO)
        .budget(CleanupBudget::default().batch(10).max_time(Duration::ZERO))
        .on_run(move |outcome| drop(told.send(outcome.clone())));
    let janitor = Janitor::start(store(&database), policy(), config).unwrap();
    let tokens: u64 = (0..5).map(|_| hears.recv().unwrap().unwrap().tokens()).sum();
    assert_eq!(tokens, 10, "within five runs");
    drop(janitor);
    assert_eq!(count(&mut conn), 30);
}

/// To run never by itself, and only when it is called.
#[test]
fn an_interval_without_end_is_no_end_of_the_janitor() {
    let database = Database::migrated();
    let (told, hears) = channel();
    let config =
        JanitorConfig::default().interval(Duration::MAX).on_run(move |outcome| drop(told.send(outcome.clone())));
    let config = config.jitter(Duration::from_millis(1));
    let janitor = Janitor::start(store(&database), policy(), config).unwrap();
    for run in 1..=3 {
        assert!(hears.recv().is_ok_and(|outcome| outcome.is_ok()), "run {run}");
        janitor.run_now();
    }
}

#[test]
fn by_default_it_runs_every_five_minutes_and_up_to_one_later() {
    let config = format!("{:?}", JanitorConfig::default());
    assert!(config.contains("interval: 300s, jitter: 60s"), "{config}");
}
