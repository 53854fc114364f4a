//! The server refuses each statement of each verb once, COMMIT included, in favour of another transaction: as any
//! server may, and distributed ones often do.

use refresh_tokens::{Error, StoreConfig};
use refresh_tokens_support::Fault;
use refresh_tokens_support::wire::AMBIGUOUS;

use crate::cases::{self, Again, Case};
use crate::lab::{Lab, Undisturbed};
use crate::print;

const SERIALIZATION: (&str, &str) = ("40001", "could not serialize access due to concurrent update");
const DEADLOCK: (&str, &str) = ("40P01", "deadlock detected");

/// Calls the verb with each of its statements refused, in turn.
fn refuse_each(
    lab: &mut Lab,
    case: &Case,
    (code, message): (&'static str, &'static str),
    mut judge: impl FnMut(&mut Lab, Result<String, Error>, &str),
) -> usize {
    let mut refused = 0;
    for statement in 0.. {
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

fn succeed_once_and_only_once(refusal: (&'static str, &'static str)) {
    let mut lab = Lab::new(&StoreConfig::default());
    let (mut refused, mut told) = (0, 0);
    for case in cases::all() {
        let undisturbed = lab.undisturbed(&case);
        refused += refuse_each(&mut lab, &case, refusal, |lab, answer, name| {
            let is_told = is_told(lab, &case, &undisturbed, answer, name);
            assert!(!is_told || case.again == Again::Caller, "{name}: it was not made again");
            told += usize::from(is_told);
        });
    }
    print(&format!("{} at each of {refused} statements: done once, but for {told} that are the caller's", refusal.0));
    assert!(refused >= 450 && told <= refused / 4, "{refused} {told}");
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
    for refusal in [SERIALIZATION, DEADLOCK] {
        let mut lab = Lab::new(&StoreConfig::default().conflict_retries(0));
        let (mut told, mut refused) = (0, 0);
        for case in cases::all().into_iter().filter(|case| case.again != Again::Itself) {
            let undisturbed = lab.undisturbed(&case);
            refused += refuse_each(&mut lab, &case, refusal, |lab, answer, name| {
                told += usize::from(is_told(lab, &case, &undisturbed, answer, name));
            });
        }
        print(&format!("{} at each of {refused} statements, without retries: told {told} times", refusal.0));
        // Not the pool's check of a connection, which it then replaces; nor a rotation of many that one may leave.
        assert!(told >= 150 && refused - told <= 2 * cases::all().len(), "{told} of {refused}");
    }
}

/// COMMIT happens, and the server says that it does not know: nor does the error.
#[test]
fn a_commit_that_the_server_has_lost_sight_of_is_unknown() {
    let mut lab = Lab::new(&StoreConfig::default());
    let ambiguous = (AMBIGUOUS, "result is ambiguous: replica unavailable");
    let mut unknown = 0;
    for case in cases::all().into_iter().filter(|case| case.writes && case.is_atomic) {
        let undisturbed = lab.undisturbed(&case);
        refuse_each(&mut lab, &case, ambiguous, |lab, answer, name| {
            let left = lab.shape();
            let is_done = left == undisturbed.after;
            unknown += usize::from(answer.is_err() && is_done);
            match answer {
                Ok(said) => assert!(said == undisturbed.answer && is_done, "{name}: {left:#?}"),
                Err(error) => {
                    assert!(left == undisturbed.before || is_done && error.is_outcome_unknown(), "{name}: {error:?}");
                    undisturbed.resolve(lab, &case, name);
                }
            }
        });
    }
    print(&format!("{unknown} COMMITs of which the server did not know"));
    assert!(unknown >= 20, "{unknown}");
}
