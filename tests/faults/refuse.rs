//! The server refuses each statement of each verb once, COMMIT included, in favour of another transaction: as any
//! server may, and distributed ones often do.

use refresh_tokens::{Error, StoreConfig};
use refresh_tokens_support::wire::AMBIGUOUS;
use refresh_tokens_support::{Fault, Sample};

use crate::cases::{self, Again, Case};
use crate::jobs;
use crate::lab::{Lab, Undisturbed};
use crate::print;

const SERIALIZATION: (&str, &str) = ("40001", "could not serialize access due to concurrent update");
const DEADLOCK: (&str, &str) = ("40P01", "deadlock detected");

/// Each waits for the server and for the wire by turns.
const WORKERS: usize = 3;

/// Calls the verb with each of its statements refused, in turn.
fn refuse_each(
    lab: &mut Lab,
    case: &Case,
    (code, message): (&'static str, &'static str),
    sample: &Sample,
    mut judge: impl FnMut(&mut Lab, Result<String, Error>, &str),
) -> usize {
    let mut refused = 0;
    for statement in (0..).filter(|statement| sample.takes(case.name, *statement)) {
        lab.reset(case);
        lab.wire.arm(Fault::Refuse { statement, code, message });
        let answer = lab.call(case);
        let (_, statements) = lab.wire.counted();
        if let Some(befell) = lab.wire.disarm() {
            refused += 1;
            judge(lab, answer, &format!("{}, {code} at statement {statement}: {befell}", case.name));
        } else if statements <= statement {
            break; // and not ROLLBACK, which is never refused
        }
    }
    refused
}

/// Whether the caller is told of a conflict, and so that nothing has happened, and can make it again; else it is done,
/// once.
fn is_told(lab: &mut Lab, case: &Case, undisturbed: &Undisturbed, answer: Result<String, Error>, name: &str) -> bool {
    let left = lab.shape();
    match answer {
        Ok(said) => {
            assert_eq!((said, left), (undisturbed.answer.clone(), undisturbed.after.clone()), "{name}");
            false
        }
        Err(error) => {
            let names_it = error == Error::Conflict || case.connects && matches!(error, Error::Unreachable { .. });
            let is_undone = left == undisturbed.before || !case.is_atomic;
            assert!(names_it && is_undone, "{name}: {error:?}, {left:#?}");
            undisturbed.resolve(lab, case, name);
            true
        }
    }
}

/// Has the workers refuse each statement of these verbs, and sums up how many they were, and how many are to be told.
fn refuse_each_of(
    cases: &[Case],
    config: &StoreConfig,
    refusal: (&'static str, &'static str),
    sample: &Sample,
    is_told: impl Fn(&mut Lab, &Case, &Undisturbed, Result<String, Error>, &str) -> bool + Sync,
) -> (usize, usize) {
    let is_told = &is_told;
    let counts = jobs::shared_out(WORKERS, cases, || {
        let mut lab = Lab::new(config);
        move |case: &Case| {
            let (undisturbed, mut told) = (lab.undisturbed(case), 0);
            let refused = refuse_each(&mut lab, case, refusal, sample, |lab, answer, name| {
                told += usize::from(is_told(lab, case, &undisturbed, answer, name));
            });
            (refused, told)
        }
    });
    counts.into_iter().fold((0, 0), |(refused, told), (more, more_told)| (refused + more, told + more_told))
}

fn succeed_once_and_only_once(refusal: (&'static str, &'static str)) {
    let (cases, sample) = (cases::all(), jobs::sample());
    let config = StoreConfig::default();
    let (refused, told) = refuse_each_of(&cases, &config, refusal, &sample, |lab, case, undisturbed, answer, name| {
        let is_told = is_told(lab, case, undisturbed, answer, name);
        assert!(!is_told || case.again == Again::Caller, "{name}: it was not made again");
        is_told
    });
    let (code, _) = refusal;
    print(&format!(
        "{code} at each of {refused} statements ({sample}): done once, but for {told} that are the caller's"
    ));
    let most = if sample.is_whole() { refused / 4 } else { refused / 2 };
    assert!(refused >= sample.at_least(450) && told <= most, "{refused} {told}");
}

#[test]
fn a_serialization_failure_at_any_statement_is_retried() {
    succeed_once_and_only_once(SERIALIZATION);
}

#[test]
fn a_deadlock_at_any_statement_is_retried() {
    succeed_once_and_only_once(DEADLOCK);
}

/// Without retries it is the caller's to see.
#[test]
fn without_retries_a_conflict_is_told_and_nothing_has_happened() {
    let cases: Vec<Case> = cases::all().into_iter().filter(|case| case.again != Again::Itself).collect();
    for refusal in [SERIALIZATION, DEADLOCK] {
        let (sample, config) = (jobs::sample(), StoreConfig::default().conflict_retries(0));
        let (refused, told) = refuse_each_of(&cases, &config, refusal, &sample, is_told);
        let (code, _) = refusal;
        print(&format!("{code} at each of {refused} statements ({sample}), without retries: told {told} times"));
        // Not the pool's check of a connection, which it then replaces; nor a rotation of many that one may leave.
        assert!(told >= sample.at_least(150) && refused - told <= 2 * cases::all().len(), "{told} of {refused}");
    }
}

/// COMMIT happens, and the server says that it does not know: nor does the error.
#[test]
fn a_commit_that_the_server_has_lost_sight_of_is_unknown() {
    let (cases, sample) = (cases::all().into_iter().filter(|case| case.writes && case.is_atomic), jobs::sample());
    let cases: Vec<Case> = cases.collect();
    let ambiguous = (AMBIGUOUS, "result is ambiguous: replica unavailable");
    let config = StoreConfig::default();
    let (_, unknown) = refuse_each_of(&cases, &config, ambiguous, &sample, |lab, case, undisturbed, answer, name| {
        let left = lab.shape();
        let is_done = left == undisturbed.after;
        let is_unknown = answer.is_err() && is_done;
        match answer {
            Ok(said) => assert!(said == undisturbed.answer && is_done, "{name}: {left:#?}"),
            Err(error) => {
                assert!(left == undisturbed.before || is_done && error.is_outcome_unknown(), "{name}: {error:?}");
                undisturbed.resolve(lab, case, name);
            }
        }
        is_unknown
    });
    print(&format!("{unknown} COMMITs of which the server did not know ({sample})"));
    assert!(unknown >= sample.at_least(20), "{unknown}");
}
