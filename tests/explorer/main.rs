//! Every interleaving of the verbs' statements on a real server, and the invariants after each.
//!
//! A connection is held before each statement until it is its turn. All schedules of every two writing verbs are run,
//! and of three where that matters. Beside a walk over the whole table, it is those with at most so many
//! preemptions as it prints. It prints how many, and a schedule that breaks a promise as a list of
//! steps.
//!
//! `scripts/proof` runs all combinations of verbs, and `scripts/test` a sample of them. Of each it is all schedules. Those
//! that are asked for by name are all run: `cargo test --test explorer -- --exact NAME`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

mod act;
mod check;
mod fixture;
mod lab;
mod report;
mod scenarios;
mod search;
mod stage;
mod statement;
mod taken;
mod verbs;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use refresh_tokens_support::Sample;

use lab::{Lab, Level};
use scenarios::{Expected, Scenario};
use search::{Found, search};

/// Each has its own schema; while one waits for the server, another runs.
const WORKERS: usize = 3;

/// The most verbs of a scenario.
const PROCESSES: usize = 3;

fn main() -> ExitCode {
    let arguments = Arguments::of(std::env::args().skip(1));
    let is_named = arguments.list || !arguments.filters.is_empty();
    let sample = if is_named { Sample::whole() } else { Sample::new(60, 12) };
    let all = scenarios::all();
    let combinations = all.len();
    let chosen: Vec<Scenario> = sampled(all, &sample).into_iter().filter(|one| arguments.choose(&one.name())).collect();
    if arguments.list {
        print(&chosen.iter().map(|one| one.name() + ": test\n").collect::<String>());
        return ExitCode::SUCCESS;
    }
    print(&format!("{} of {combinations} combinations: {sample}\n", chosen.len()));
    let is_serializable = |scenario: &Scenario| scenario.level == Level::Serializable;
    let (serializable, as_asked): (Vec<_>, Vec<_>) = chosen.into_iter().partition(is_serializable);
    let explored = [explore(as_asked, Level::AsAsked), explore(serializable, Level::Serializable)];
    if explored.iter().all(|failures| *failures == 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Of the pairs, of the triples and of those under SERIALIZABLE the same share; and the known flaws, without which nobody
/// would know that the explorer can see one.
fn sampled(all: Vec<Scenario>, sample: &Sample) -> Vec<Scenario> {
    let mut numbers: HashMap<(Level, usize), usize> = HashMap::new();
    let is_taken = |one: &Scenario| {
        let number = numbers.entry((one.level, one.verbs.len())).or_default();
        *number += 1;
        let of = format!("{:?} {}", one.level, one.verbs.len());
        one.expected != Expected::AllKept || sample.takes(&of, *number)
    };
    all.into_iter().filter(is_taken).collect()
}

/// Prints what was found, and returns how many scenarios failed.
fn explore(chosen: Vec<Scenario>, level: Level) -> usize {
    if chosen.is_empty() {
        return 0;
    }
    let started = Instant::now();
    let found = run(&chosen, level);
    let found: Vec<(Scenario, Found)> = chosen.into_iter().zip(found).collect();
    print(&report::counts(&found));
    let failures: Vec<String> = found.iter().filter_map(|(scenario, found)| report::failure(scenario, found)).collect();
    print(&failures.concat());
    print(&report::summary(&found, level, failures.len(), started.elapsed()));
    failures.len()
}

fn run(scenarios: &[Scenario], level: Level) -> Vec<Found> {
    let next = AtomicUsize::new(0);
    let found: Vec<Mutex<Found>> = scenarios.iter().map(|_| Mutex::default()).collect();
    let work = || {
        let mut lab = None;
        while let Some((scenario, found)) = take(&next, scenarios, &found) {
            let lab = lab.get_or_insert_with(|| Lab::new(PROCESSES, level));
            *found.lock().unwrap() =
                search(lab, &scenario.verbs, scenario.bound, scenario.expected != Expected::AllKept);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    found.into_iter().map(|found| found.into_inner().unwrap()).collect()
}

/// The next scenario that nobody has taken, from the end: the long ones are there.
fn take<'a>(
    next: &AtomicUsize,
    scenarios: &'a [Scenario],
    found: &'a [Mutex<Found>],
) -> Option<(&'a Scenario, &'a Mutex<Found>)> {
    let at = scenarios.len().checked_sub(next.fetch_add(1, Ordering::Relaxed) + 1)?;
    Some((&scenarios[at], &found[at]))
}

/// Those of libtest, as far as they make sense here.
#[derive(Debug, Default)]
struct Arguments {
    list: bool,
    exact: bool,
    filters: Vec<String>,
    skipped: Vec<String>,
}

impl Arguments {
    fn of(mut given: impl Iterator<Item = String>) -> Self {
        let mut arguments = Self::default();
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--list" => arguments.list = true,
                "--exact" => arguments.exact = true,
                "--skip" => arguments.skipped.extend(given.next()),
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(given.next()),
                other if other.starts_with('-') => {}
                filter => arguments.filters.push(filter.to_owned()),
            }
        }
        arguments
    }

    fn choose(&self, name: &str) -> bool {
        let matches = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(matches)) && !self.skipped.iter().any(matches)
    }
}

#[expect(clippy::print_stdout, reason = "how many schedules were run is the result")]
fn print(text: &str) {
    print!("{text}");
}
