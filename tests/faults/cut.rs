//! The wire is cut in the place of each message of each verb, in both directions.

use refresh_tokens::{Error, StoreConfig};
use refresh_tokens_support::{Direction, Fault};

use crate::cases::{self, Case};
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

/// On a connection that has prepared nothing, and on one that has prepared its statements.
fn cut_everywhere(lab: &mut Lab, case: &Case) -> Tally {
    let undisturbed = lab.undisturbed(case);
    let mut tally = Tally::default();
    for is_warm in [false, true] {
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
fn cut(
    lab: &mut Lab,
    case: &Case,
    Undisturbed { before, answer, after }: &Undisturbed,
    is_warm: bool,
    fault: Fault,
    tally: &mut Tally,
) -> bool {
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
    let is_done = left == *after;
    match &first {
        Ok(said) => {
            assert_eq!(said, answer, "{name}");
            assert!(is_done, "{name}: an Ok that was not committed: {left:#?}");
        }
        Err(error) => {
            assert!(befell.is_some(), "{name}: nothing befell it");
            let is_undone = left == *before;
            assert!(is_undone || error.is_outcome_unknown(), "{name}: it did happen: {left:#?}");
            assert!(is_done || is_undone || !case.is_atomic, "{name}: a part of it happened: {left:#?}");
            assert!(error.is_transient(), "{name}: it may be sent again");
            assert_eq!(error, &Error::ConnectionLost, "{name}");
        }
    }
    if befell.is_none() {
        return false;
    }
    tally.cuts += 1;
    match first {
        Ok(_) => tally.answered += 1,
        Err(_) if is_done && case.writes => tally.unknown_done += 1,
        Err(_) => tally.unknown_undone += 1,
    }
    // The same request again, on what the pool has now: it is resolved.
    let again = lab.call(case);
    let is_resolved = match (&again, &case.was_done) {
        (Err(error), Some(was_done)) => is_done && error == was_done,
        (said, _) => *said == Ok(answer.clone()),
    };
    assert!(is_resolved, "{name}; again: {again:?}");
    let left = lab.shape();
    assert_eq!(left, *after, "{name}; again: {again:?}");
    true
}

#[test]
fn exchanges_survive_a_cut_at_every_message() {
    sweep(&cases::exchanges(), 500);
}

#[test]
fn revocations_survive_a_cut_at_every_message() {
    sweep(&cases::revocations(), 500);
}

#[test]
fn reads_survive_a_cut_at_every_message() {
    sweep(&cases::reads(), 100);
}

#[test]
fn retention_survives_a_cut_at_every_message() {
    sweep(&cases::retention(), 300);
}
