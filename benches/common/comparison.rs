//! Contenders for the same work, measured by criterion and then against each other.
//!
//! Criterion measures one contender after the other and compares each with its own past. On a shared machine
//! the minutes between two contenders are the larger difference, so the ratios come from rounds of their own:
//! in each round every contender has a short turn, and a ratio is taken within its round.

use std::cell::OnceCell;
use std::env;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::{Database, Server};

use super::quartiles::Quartiles;

const SAMPLES: usize = 12;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASUREMENT: Duration = Duration::from_secs(2);

/// Rounds of a case, fewer where they would take longer than the limit.
const ROUNDS: usize = 41;
const FEWEST_ROUNDS: usize = 9;
const ROUNDS_LIMIT: Duration = Duration::from_secs(10);
/// How long one contender's turn in a round should take: many commits, and yet shorter than most disturbances.
const TURN: Duration = Duration::from_millis(50);

/// One way to do the work: does it that often and says how long it took, without set-up and clean-up.
pub(crate) type Contender = Box<dyn FnMut(u64) -> Duration>;

/// The contenders in the order of their names, and the databases that they use.
pub(crate) struct Case {
    pub(crate) contenders: Vec<Contender>,
    pub(crate) databases: Vec<Database>,
}

pub(crate) struct Comparison {
    criterion: Criterion,
    server: OnceCell<(String, Option<Server>)>,
    measures: bool,
    table: Vec<Line>,
}

/// Milliseconds are those of one iteration.
struct Line {
    case: String,
    other: &'static str,
    ours: f64,
    theirs: f64,
    ratio: Quartiles,
    rounds: usize,
}

impl Comparison {
    pub(crate) fn from_args() -> Self {
        let criterion = Criterion::default()
            .sample_size(SAMPLES)
            .warm_up_time(WARM_UP)
            .measurement_time(MEASUREMENT)
            .configure_from_args();
        // Cargo says --bench for `cargo bench` alone; criterion runs everything once without it.
        let has = |flag: &str| env::args().any(|arg| arg == flag);
        let measures = has("--bench") && !has("--test") && !has("--profile-time");
        Self { criterion, server: OnceCell::new(), measures, table: Vec::new() }
    }

    /// Measures the contenders of a case; the first is ours. One iteration is `elements` pieces of work.
    ///
    /// `set_up` gets the URL of the server, and is called only if a filter on the command line leaves the case in.
    pub(crate) fn case(
        &mut self,
        name: &str,
        elements: u64,
        contenders: &[&'static str],
        set_up: impl Fn(&str) -> Case,
    ) {
        let (criterion, server) = (&mut self.criterion, &self.server);
        let mut case: Option<Case> = None;
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(elements));
        group.sampling_mode(SamplingMode::Flat);
        for (index, contender) in contenders.iter().enumerate() {
            group.bench_function(*contender, |bencher| {
                let case = case.get_or_insert_with(|| set_up(&server.get_or_init(start).0));
                bencher.iter_custom(|iterations| case.contenders[index](iterations));
            });
        }
        group.finish();
        let Some(case) = case else { return };
        let mut racers = case.contenders;
        if self.measures {
            self.table.extend(in_rounds(name, contenders, &mut racers));
        }
        drop(racers); // and with them their connections, before the schemas go
        drop(case.databases);
    }

    /// Prints the ratios, and criterion's last words.
    pub(crate) fn finish(self) {
        self.criterion.final_summary();
        if self.table.is_empty() {
            return;
        }
        println!("Medians of interleaved rounds of this run; a ratio below 1 says that ours is faster.\n");
        println!(
            "{:<26} {:<19} {:>10} {:>10} {:>6}   {:<12}   rounds",
            "case", "the other", "ours", "the other", "ratio", "middle half"
        );
        for line in &self.table {
            println!(
                "{:<26} {:<19} {:>7.3} ms {:>7.3} ms {:>6.2}   {:.2} to {:.2}   {:>6}",
                line.case,
                line.other,
                line.ours,
                line.theirs,
                line.ratio.median,
                line.ratio.lower,
                line.ratio.upper,
                line.rounds,
            );
        }
    }
}

/// The server of `DATABASE_URL`, or a private one that waits for its disk at each COMMIT, as in production.
fn start() -> (String, Option<Server>) {
    if let Ok(url) = env::var("DATABASE_URL") {
        return (url, None);
    }
    match Server::temporary(Durability::Full) {
        Ok(server) => (server.url(), Some(server)),
        Err(error) => panic!("\n\n{error}\n"),
    }
}

fn in_rounds(name: &str, names: &[&'static str], contenders: &mut [Contender]) -> Vec<Line> {
    let iterations = iterations_in_a_turn(&mut contenders[0]);
    let mut turns: Vec<Vec<Duration>> = vec![Vec::new(); contenders.len()];
    let began = Instant::now();
    let mut rounds = 0;
    while rounds < FEWEST_ROUNDS || (rounds < ROUNDS && began.elapsed() < ROUNDS_LIMIT) {
        // Each round begins with another contender, so that none always has the place after another's garbage.
        for step in 0..contenders.len() {
            let index = (rounds + step) % contenders.len();
            turns[index].push(contenders[index](u64::from(iterations)));
        }
        rounds += 1;
    }
    let milliseconds = |turns: &[Duration]| {
        let turns = turns.iter().map(Duration::as_secs_f64).collect();
        Quartiles::of(turns).median * 1e3 / f64::from(iterations)
    };
    let ratios = |theirs: &[Duration]| {
        let within_rounds = turns[0].iter().zip(theirs);
        Quartiles::of(within_rounds.map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64()).collect())
    };
    let others = turns.iter().zip(names).skip(1);
    let lines = others.map(|(theirs, other)| Line {
        case: name.to_owned(),
        other,
        ours: milliseconds(&turns[0]),
        theirs: milliseconds(theirs),
        ratio: ratios(theirs),
        rounds,
    });
    lines.collect()
}

fn iterations_in_a_turn(contender: &mut Contender) -> u32 {
    let mut iterations = 1;
    while contender(u64::from(iterations)) < TURN / 2 {
        iterations *= 2;
    }
    iterations
}
