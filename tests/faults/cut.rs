//! The wire is cut in the place of each message of each verb, in both directions.

use std::time::Duration;

use refresh_tokens::StoreConfig;
use refresh_tokens_support::{Direction, Fault};

use crate::cases::{self, Begins, Case};
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

fn sweep(cases: &[Case], at_least: usize) {
    let mut lab = Lab::new(&StoreConfig::default());
    let mut cuts = 0;
    for case in cases {
        let tally = cut_everywhere(&mut lab, case);
        print(&format!("{:40} {tally:?}", case.name));
        assert!(tally.unknown_done > 0 || tally.answered > 0 || !case.writes, "{}: {tally:?}", case.name);
        cuts += tally.cuts;
    }
    print(&format!("{cuts} cuts"));
    assert!(cuts >= at_least, "{cuts} cuts");
}

/// On a connection that has prepared nothing, and, where the tables stay, on one that has prepared its statements.
fn cut_everywhere(lab: &mut Lab, case: &Case) -> Tally {
    let undisturbed = lab.undisturbed(case);
    let mut tally = Tally::default();
    let ways: &[bool] = if case.begins == Begins::Rows { &[false, true] } else { &[false] };
    for &is_warm in ways {
        for direction in [Direction::ToServer, Direction::ToClient] {
            for half in [false, true] {
                let mut message = 0;
                while cut(lab, case, &undisturbed, is_warm, Fault::Cut { direction, message, half }, &mut tally) {
                    message += 1;
                }
                assert!(message > 0, "{}: nothing was sent", case.name);
            }
        }
    }
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

/// After the cut nobody can connect. What asks once more by itself then hears another error, of another attempt.
#[test]
fn an_outage_does_not_hide_what_happened_before_it() {
    let mut lab = Lab::new(&StoreConfig::default().pool_timeout(Duration::from_millis(200)));
    let (mut cuts, mut unknown) = (0, 0);
    for case in cases::exchanges() {
        let undisturbed = lab.undisturbed(&case);
        for direction in [Direction::ToServer, Direction::ToClient] {
            for message in 0.. {
                lab.recover();
                lab.reset(&case);
                lab.wire.arm_for_good(Fault::Cut { direction, message, half: false });
                let answer = lab.call(&case);
                let Some(befell) = lab.wire.disarm() else { break };
                lab.wire.settle();
                let left = lab.shape();
                undisturbed.judge(&case, &answer, &left, &format!("{}, {befell}: {answer:?}", case.name));
                cuts += 1;
                unknown += usize::from(answer.is_err() && case.writes && left == undisturbed.after);
            }
        }
        lab.recover();
    }
    print(&format!("{cuts} cuts for good, {unknown} of which hid a COMMIT"));
    assert!(cuts >= 500 && unknown >= 20, "{cuts} {unknown}");
}
