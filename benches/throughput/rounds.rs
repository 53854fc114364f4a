//! Rounds in which every contender has a turn, and the table of their medians.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::awake::Awake;
use crate::plots;

/// What a turn measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    /// Of whatever the case counts.
    pub(crate) per_second: f64,
    /// In milliseconds, unsorted; empty where a case is about throughput alone.
    pub(crate) latencies: Vec<f64>,
    /// A figure of the case's own.
    pub(crate) note: Option<String>,
}

/// Works for about that long.
pub(crate) type Turn<'a> = Box<dyn FnMut(Duration) -> Measured + 'a>;

pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    pub(crate) turn: Turn<'a>,
    /// What the first contender's throughput divided by this one's ought to be at least.
    pub(crate) bar: Option<f64>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(name: &'static str, turn: impl FnMut(Duration) -> Measured + 'a) -> Self {
        Self { name, turn: Box::new(turn), bar: None }
    }

    pub(crate) fn bar(mut self, ratio: f64) -> Self {
        self.bar = Some(ratio);
        self
    }
}

/// A line of the table.
pub(crate) struct Line {
    pub(crate) case: String,
    pub(crate) name: &'static str,
    pub(crate) per_second: f64,
    ratio: Option<[f64; 3]>,
    bar: Option<f64>,
    /// Of all rounds, sorted.
    pub(crate) latencies: Vec<f64>,
    note: Option<String>,
}

pub(crate) struct Run {
    pub(crate) url: String,
    filters: Vec<String>,
    /// None to run everything once, for the tests.
    rounds: Option<usize>,
    turn: Duration,
    lines: Vec<Line>,
}

impl Run {
    pub(crate) fn from_args(url: String) -> Self {
        let args: Vec<String> = env::args().skip(1).collect();
        let measures = args.iter().any(|arg| arg == "--bench") && !args.iter().any(|arg| arg == "--test");
        let seconds = env::var("REFRESH_TOKENS_BENCH_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
        Self {
            url,
            filters: args.into_iter().filter(|arg| !arg.starts_with('-')).collect(),
            rounds: measures.then_some(7),
            turn: if measures { Duration::from_secs(seconds.unwrap_or(1)) } else { Duration::from_millis(20) },
            lines: Vec::new(),
        }
    }

    pub(crate) fn measures(&self) -> bool {
        self.rounds.is_some()
    }

    /// Rows that are in a table before, fewer where nothing is measured.
    pub(crate) fn rows(&self) -> i32 {
        if self.measures() { 100_000 } else { 1_000 }
    }

    pub(crate) fn wants(&self, case: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| case.contains(filter.as_str()))
    }

    /// Each round begins with another contender, so that none always has the place after another's garbage.
    pub(crate) fn race(&mut self, case: &str, mut contenders: Vec<Contender<'_>>) {
        println!("{case} …");
        // More than one keep each other awake, and would share their time with the loops.
        let _awake = (self.measures() && case.ends_with("/1")).then(Awake::all_processors);
        let rounds = self.rounds.unwrap_or(1);
        let mut turns: Vec<Vec<Measured>> = contenders.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            for step in 0..contenders.len() {
                let index = (round + step) % contenders.len();
                let measured = (contenders[index].turn)(self.turn);
                turns[index].push(measured);
            }
        }
        let firsts: Vec<f64> = turns[0].iter().map(|turn| turn.per_second).collect();
        for (index, (contender, turns)) in contenders.iter().zip(turns).enumerate() {
            let rates: Vec<f64> = turns.iter().map(|turn| turn.per_second).collect();
            let within_rounds = firsts.iter().zip(&rates).map(|(first, this)| first / this).collect();
            let mut latencies: Vec<f64> = turns.iter().flat_map(|turn| turn.latencies.iter().copied()).collect();
            latencies.sort_by(f64::total_cmp);
            self.lines.push(Line {
                case: case.to_owned(),
                name: contender.name,
                per_second: quartiles(rates)[1],
                ratio: (index > 0).then(|| quartiles(within_rounds)),
                bar: contender.bar,
                latencies,
                note: turns.into_iter().next_back().and_then(|turn| turn.note),
            });
        }
    }

    /// Prints the table and, with the pictures, writes it to the target folder.
    pub(crate) fn finish(self) {
        if !self.measures() {
            return;
        }
        let table = table(&self.lines);
        println!("\n{table}");
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let folder = target.join("throughput");
        fs::create_dir_all(&folder).expect("the target folder can be written");
        fs::write(folder.join("table.md"), table).expect("the target folder can be written");
        plots::draw(&folder, &self.lines);
        println!("With the pictures in {}.", folder.display());
    }
}

fn table(lines: &[Line]) -> String {
    let mut table = String::from(
        "| case | contender | per second | first / this | middle half | bar | p50 ms | p99 ms | max ms | |\n\
         |---|---|--:|--:|---|--:|--:|--:|--:|---|\n",
    );
    for line in lines {
        let Line { case, name, per_second, .. } = line;
        let (ratio, half) = line.ratio.map_or_else(Default::default, |[lower, median, upper]| {
            (format!("{median:.2}"), format!("{lower:.2} to {upper:.2}"))
        });
        let bar = line.bar.map(|bar| format!("{bar:.2}")).unwrap_or_default();
        let [p50, p99, max] = [0.5, 0.99, 1.0]
            .map(|part| percentile(&line.latencies, part).map(|ms| format!("{ms:.2}")).unwrap_or_default());
        let note = line.note.as_deref().unwrap_or_default();
        writeln!(
            table,
            "| `{case}` | {name} | {per_second:.0} | {ratio} | {half} | {bar} | {p50} | {p99} | {max} | {note} |"
        )
        .expect("a string can be written");
    }
    table
}

/// Of sorted values.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index into a list that is far shorter than 2^52"
)]
pub(crate) fn percentile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * part).round() as usize).copied()
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|part| percentile(&values, part).expect("there was a round"))
}
