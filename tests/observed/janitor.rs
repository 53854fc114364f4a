//! The janitor, whose thread is watched by whoever watches the process.

use std::sync::mpsc::channel;
use std::time::Duration;

use refresh_tokens::{CleanupBudget, Janitor, JanitorConfig, RefreshTokenStore, RetentionPolicy, observe};
use refresh_tokens_support::doc::store;
use refresh_tokens_support::race;

use crate::scene::Scene;
use crate::table;
use crate::watch::Watch;

const NEVER: Duration = Duration::from_secs(86_400);

fn config(budget: CleanupBudget) -> JanitorConfig {
    JanitorConfig::default().jitter(Duration::ZERO).interval(NEVER).budget(budget)
}

/// One run.
fn run(store: &RefreshTokenStore, budget: CleanupBudget) {
    let (told, hears) = channel();
    let config = config(budget).on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let janitor = Janitor::start(store.clone(), RetentionPolicy::default(), config).unwrap();
    let _ = race::hear(&hears, "the end of a run");
    janitor.stop();
}

#[test]
fn its_runs_are_counted_and_told() {
    let watch = Watch::of_the_process();
    let mut scene = Scene::new();
    scene.expired_rows(10);
    let store = store(&scene.database);
    let all = CleanupBudget::default();
    run(&store, all.clone().max_rows(2));
    run(&store, all.clone().batch(1).max_time(Duration::ZERO));

    let resting = Janitor::start(store.clone(), RetentionPolicy::default(), config(all.clone().batch(1).pause(NEVER)));
    let resting = resting.unwrap();
    race::wait_until_that("the first batch", || resting.statistics().tokens > 0);
    watch.during(|| observe::record_janitor(&resting));
    let at_work = watch.recorded();
    assert_eq!(at_work.gauge("refresh_tokens_janitor_alive", &[]).to_bits(), 1.0_f64.to_bits());
    assert_eq!(at_work.gauge("refresh_tokens_janitor_working", &[]).to_bits(), 1.0_f64.to_bits());
    resting.stop(); // interrupted

    // One that has ended its run, and has waited for a moment.
    let (told, hears) = channel();
    let done = config(all.clone().max_rows(0)).on_run(move |outcome| told.send(outcome.clone()).unwrap());
    let done = Janitor::start(store.clone(), RetentionPolicy::default(), done).unwrap();
    let _ = race::hear(&hears, "the end of a run");
    let since = || done.statistics().since_last_run.is_some_and(|since| since > Duration::from_millis(1));
    race::wait_until_that("a moment after a run", since);
    let idle = Watch::new();
    idle.during(|| observe::record_janitor(&done));
    let idle = idle.recorded();
    assert_eq!(idle.gauge("refresh_tokens_janitor_working", &[]).to_bits(), 0.0_f64.to_bits());
    assert!(idle.gauge("refresh_tokens_janitor_idle_seconds", &[]) > 0.001);
    done.stop();

    run(&store, all.clone());
    scene.sql("ALTER TABLE refresh_tokens RENAME TO elsewhere");
    run(&store, all);

    let recorded = watch.recorded();
    let runs: Vec<_> = at_work.sightings().into_iter().chain(recorded.sightings()).collect();
    let mut expected: Vec<_> = table::outcomes().into_iter().filter(|(verb, ..)| verb == "janitor_run").collect();
    let failed = ("janitor_run".to_owned(), "schema_missing".to_owned(), "failed".to_owned());
    assert_eq!(expected.len(), 4);
    expected.push(failed);
    for run in &expected {
        assert!(runs.contains(run), "{run:?} in {runs:?}");
    }
    let rows = [&at_work, &recorded]
        .map(|seen| seen.counter("refresh_tokens_cleaned_rows_total", &[("verb", "janitor_run"), ("kind", "expired")]));
    assert_eq!(rows.iter().sum::<u64>(), 10);
    let told = watch.events().into_iter().filter(|event| event.field("verb") == "janitor_run").count();
    assert_eq!(told, 6);
}
