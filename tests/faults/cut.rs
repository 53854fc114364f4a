//! The wire is cut in the place of each message of each verb, in both directions.

use std::time::Duration;

use refresh_tokens::StoreConfig;
use refresh_tokens_support::{Direction, Fault, Sample};

use crate::cases::{self, Begins, Case};
use crate::jobs;
use crate::lab::{Lab, Undisturbed};
use crate::print;

/// What came of the cuts of one verb.
#[derive(Debug, Default)]
struct Tally {
    cuts: usize,
    /// The verb did what it was asked to do.
    answered: usize,
    /// Nothing had been done, and the error could not know.
    unknown_undone: usize,
    /// It had been committed, and the error said that this is unknown.
    unknown_done: usize,
}

impl Tally {
    const fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.answered += other.answered;
        self.unknown_undone += other.unknown_undone;
        self.unknown_done += other.unknown_done;
    }
}

/// Each waits for the server and for the wire by turns.
const WORKERS: usize = 3;

/// Which messages of which verb are cut, and on what connection.
#[derive(Debug, Clone, Copy)]
struct Way {
    case: usize,
    /// On a connection that has prepared its statements.
    is_warm: bool,
    direction: Direction,
    half: bool,
}

/// On a connection that has prepared nothing, and, where the tables stay, on one that has prepared its statements.
fn ways(cases: &[Case]) -> Vec<Way> {
    let mut ways = Vec::new();
    for (case, verb) in cases.iter().enumerate() {
        for &is_warm in if verb.begins == Begins::Rows { &[false, true][..] } else { &[false] } {
            for direction in [Direction::ToServer, Direction::ToClient] {
                ways.extend([false, true].map(|half| Way { case, is_warm, direction, half }));
            }
        }
    }
    ways
}

fn sweep(cases: &[Case], at_least: usize) {
    // First of the ways, each of which has to be learned.
    let of_ways = Sample::new(8, 2);
    let sample = of_ways.within(8, 4);
    let ways = ways(cases).into_iter().enumerate().filter(|(at, _)| of_ways.takes("ways", *at));
    let ways: Vec<Way> = ways.map(|(_, way)| way).collect();
    let tallies = jobs::shared_out(WORKERS.min(ways.len() / 8 + 1), ways, || {
        let (mut lab, sample) = (Lab::new(&StoreConfig::default()), &sample);
        move |way: Way| (way.case, cut_everywhere(&mut lab, &cases[way.case], way, sample))
    });
    let mut of_cases: Vec<Tally> = cases.iter().map(|_| Tally::default()).collect();
    for (case, tally) in &tallies {
        of_cases[*case].add(tally);
    }
    for (case, tally) in cases.iter().zip(&of_cases) {
        print(&format!("{:40} {tally:?}", case.name));
        let is_met = tally.unknown_done > 0 || tally.answered > 0 || !case.writes || !sample.is_whole();
        assert!(is_met, "{}: {tally:?}", case.name);
    }
    let cuts = of_cases.iter().map(|tally| tally.cuts).sum::<usize>();
    print(&format!("{cuts} cuts ({sample})"));
    assert!(cuts >= sample.at_least(at_least), "{cuts} cuts");
}

fn cut_everywhere(lab: &mut Lab, case: &Case, way: Way, sample: &Sample) -> Tally {
    let undisturbed = lab.undisturbed(case);
    let mut tally = Tally::default();
    let Way { is_warm, direction, half, .. } = way;
    let of = format!("{}, warm {is_warm}, half {half}", jobs::of(case, direction));
    let mut messages = (0..).filter(|message| sample.takes(&of, *message));
    let mut cut = |message| {
        let fault = Fault::Cut { direction, message, half };
        cut(lab, case, &undisturbed, is_warm, fault, &mut tally)
    };
    while messages.next().is_some_and(&mut cut) {}
    assert!(tally.cuts > 0 || !sample.is_whole(), "{}: nothing was sent", case.name);
    tally
}

/// Returns false where the verb came to its end before there was so much to cut.
fn cut(lab: &mut Lab, case: &Case, undisturbed: &Undisturbed, is_warm: bool, fault: Fault, tally: &mut Tally) -> bool {
    lab.reset(case);
    if is_warm {
        lab.call(case).expect("nothing befalls it");
        lab.reset(case);
    }
    lab.wire.arm(fault);
    let first = lab.call(case);
    let befell = lab.wire.disarm();
    lab.wire.settle();
    let left = lab.shape();
    let name = format!("{}, warm {is_warm}, {fault:?}, {befell:?}: {first:?}", case.name);
    let is_done = left == undisturbed.after;
    undisturbed.judge(case, &first, &left, &name);
    let is_lost = first.as_ref().err().is_none_or(|error| Undisturbed::is_loss(case, error));
    assert!(is_lost && (befell.is_some() || first.is_ok()), "{name}");
    if befell.is_none() {
        return false;
    }
    tally.cuts += 1;
    match first {
        Ok(_) => {
            tally.answered += 1;
            return true;
        }
        Err(_) if is_done && case.writes => tally.unknown_done += 1,
        Err(_) => tally.unknown_undone += 1,
    }
    undisturbed.resolve(lab, case, &name);
    true
}

#[test]
fn exchanges_survive_a_cut_at_every_message() {
    sweep(&cases::exchanges(), 4_000);
}

#[test]
fn revocations_survive_a_cut_at_every_message() {
    sweep(&cases::revocations(), 3_000);
}

#[test]
fn reads_survive_a_cut_at_every_message() {
    sweep(&cases::reads(), 3_000);
}

#[test]
fn upkeep_survives_a_cut_at_every_message() {
    sweep(&cases::upkeep(), 1_800);
}

#[test]
fn migrations_and_builds_of_indexes_survive_a_cut_at_every_message() {
    sweep(&cases::schema(), 500);
}

/// How long the pool tries to connect, and how long a busy machine may take for a connection.
const OUTAGE: Duration = Duration::from_secs(1);

/// Each waits until the pool gives up, and for little else.
const WORKERS_OF_OUTAGES: usize = 16;

/// After the cut nobody can connect. What asks once more by itself then hears another error, of another attempt.
#[test]
fn an_outage_does_not_hide_what_happened_before_it() {
    let (cases, sample) = (cases::exchanges(), jobs::sample());
    let ways = (0..cases.len()).flat_map(|case| [Direction::ToServer, Direction::ToClient].map(|way| (case, way)));
    let tallies = jobs::shared_out(WORKERS_OF_OUTAGES, ways, || {
        let mut lab = Lab::new(&StoreConfig::default().pool_timeout(OUTAGE));
        let (cases, sample) = (&cases, &sample);
        move |(case, direction): (usize, _)| cut_for_good(&mut lab, &cases[case], direction, sample)
    });
    let sum = |of: fn(&(usize, usize)) -> usize| tallies.iter().map(of).sum::<usize>();
    let (cuts, unknown) = (sum(|(cuts, _)| *cuts), sum(|(_, unknown)| *unknown));
    print(&format!("{cuts} cuts for good ({sample}), {unknown} of which hid a COMMIT"));
    assert!(cuts >= sample.at_least(500) && unknown >= sample.at_least(20), "{cuts} {unknown}");
}

/// How many cuts there were, and how many hid a COMMIT.
fn cut_for_good(lab: &mut Lab, case: &Case, direction: Direction, sample: &Sample) -> (usize, usize) {
    let (mut cuts, mut unknown) = (0, 0);
    let undisturbed = lab.undisturbed(case);
    let of = format!("{}, for good", jobs::of(case, direction));
    for message in (0..).filter(|message| sample.takes(&of, *message)) {
        lab.recover();
        lab.reset(case);
        lab.wire.arm_for_good(Fault::Cut { direction, message, half: false });
        let answer = lab.call(case);
        let Some(befell) = lab.wire.disarm() else { break };
        lab.wire.settle();
        let left = lab.shape();
        undisturbed.judge(case, &answer, &left, &format!("{}, {befell}: {answer:?}", case.name));
        cuts += 1;
        unknown += usize::from(answer.is_err() && case.writes && left == undisturbed.after);
    }
    lab.recover();
    (cuts, unknown)
}
