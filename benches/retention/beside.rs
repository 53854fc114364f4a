//! How long a rotation takes while somebody cleans up.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use refresh_tokens::{CleanupBudget, RefreshTokenRepository, RetentionPolicy, TokenHash};
use refresh_tokens_support::Database;
use refresh_tokens_support::reference;

use crate::bulk;
use crate::report::{Report, quantile};
use crate::scale::Scale;
use crate::table::{Half, Sample, Table, rotate};

/// Threads that rotate, and how often each does: at fixed instants, whether or not the one before is done, so that a
/// rotation that is late makes those late that follow it.
const ROTATORS: usize = 2;
const INTERVAL: Duration = Duration::from_millis(8);

/// Sessions that are rotated, from all over the table.
const SESSIONS: i64 = 20_000;

/// What was met in one phase.
struct Phase {
    name: &'static str,
    /// Of rotations, in milliseconds, sorted.
    latencies: Vec<f64>,
    took: Duration,
    rows: u64,
}

struct Rotator {
    conn: PgConnection,
    live: Vec<TokenHash>,
    next: usize,
}

impl Rotator {
    fn rotate_next(&mut self) {
        self.next = (self.next + 1) % self.live.len();
        rotate(&mut self.conn, &mut self.live[self.next]);
    }

    /// Milliseconds from when each rotation was to begin to when it was done.
    fn work(&mut self, stop: &AtomicBool) -> Vec<f64> {
        let mut latencies = Vec::new();
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            due += INTERVAL;
            sleep_until(due);
            self.rotate_next();
            latencies.push(due.elapsed().as_secs_f64() * 1e3);
        }
        latencies
    }
}

#[expect(clippy::disallowed_methods, reason = "rotations come at fixed instants, whatever became of those before")]
fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// Rotates on all threads while `work` runs, which returns how many rows went.
fn watch(rotators: &mut [Rotator], name: &'static str, work: impl FnOnce() -> u64) -> Phase {
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    thread::scope(|scope| {
        let stop = &stop;
        let threads: Vec<_> = rotators.iter_mut().map(|one| scope.spawn(move || one.work(stop))).collect();
        let rows = work();
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        let joined = threads.into_iter().flat_map(|thread| thread.join().expect("no rotation fails"));
        let mut latencies: Vec<f64> = joined.collect();
        latencies.sort_by(f64::total_cmp);
        Phase { name, latencies, took, rows }
    })
}

fn nobody(scale: &Scale) -> u64 {
    sleep_until(Instant::now() + scale.watch);
    0
}

fn ours(database: &Database, budget: &CleanupBudget) -> u64 {
    let mut conn = database.connect();
    let report = RefreshTokenRepository::new(&mut conn)
        .cleanup_with(&RetentionPolicy::default(), budget, |_| ControlFlow::Continue(()))
        .expect("it cleans up");
    report.tokens()
}

pub(crate) fn compare(scale: &Scale, table: &Table, report: &mut Report) {
    let samples = table.sample(Half::Second, SESSIONS);
    let mut rotators: Vec<Rotator> = (0..ROTATORS)
        .map(|number| Rotator {
            conn: table.database.connect(),
            live: samples.iter().skip(number).step_by(ROTATORS).map(Sample::live).collect(),
            next: 0,
        })
        .collect();
    let database = &table.database;
    let gentle = CleanupBudget::gentle().max_rows(scale.due_rows());
    let mut phases = vec![watch(&mut rotators, "nobody", || nobody(scale))];
    phases.push(watch(&mut rotators, "`cleanup`, as the janitor calls it", || ours(database, &gentle)));
    phases.push(watch(&mut rotators, "nobody", || nobody(scale)));
    bulk::compare(scale, table, report);
    phases.push(watch(&mut rotators, "the reference's one DELETE", || {
        let deleted = reference::cleanup_expired(&mut database.connect(), 30).expect("it cleans up");
        u64::try_from(deleted).unwrap_or(0)
    }));
    phases.push(watch(&mut rotators, "nobody", || nobody(scale)));

    report.head(&[
        "who cleans up",
        "rows",
        "seconds",
        "rotations",
        "p50 ms",
        "p99 ms",
        "max ms",
        "p99 / nobody's",
        "bar",
    ]);
    // Before and after: on a shared machine, no minute is like another.
    let mut undisturbed: Vec<f64> =
        phases.iter().filter(|phase| phase.rows == 0).flat_map(|phase| phase.latencies.clone()).collect();
    undisturbed.sort_by(f64::total_cmp);
    let reference_p99 = quantile(&undisturbed, 0.99);
    for phase in &phases {
        let at = |share| quantile(&phase.latencies, share);
        let cleaned = phase.rows > 0;
        report.row(&[
            phase.name.to_owned(),
            phase.rows.to_string(),
            format!("{:.1}", phase.took.as_secs_f64()),
            phase.latencies.len().to_string(),
            format!("{:.2}", at(0.5)),
            format!("{:.2}", at(0.99)),
            format!("{:.2}", at(1.0)),
            if cleaned { format!("{:.2}", at(0.99) / reference_p99) } else { String::new() },
            if phase.name.starts_with("`cleanup`") { "1.50".to_owned() } else { String::new() },
        ]);
    }
}
