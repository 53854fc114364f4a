//! What clean-up took, and what its company may answer because of that.

use std::rc::Rc;

use uuid::Uuid;

use crate::check::span;
use crate::fixture::{Row, Rows};
use crate::search::Run;
use crate::verbs::Verb;

/// A row is in one of the two tables: what leaves the one by a verb that archives is in the other from that COMMIT on, as
/// it was, and nothing else gets there.
pub(crate) fn archive_is_true(run: &Run, problems: &mut Vec<String>) {
    for pair in run.history.windows(2) {
        let ((.., before), (steps, process, after)) = (&pair[0], &pair[1]);
        let archives = run.verbs[*process] == Verb::CleanUpArchiving;
        let gone = before.tokens.values().filter(|row| archives && !after.tokens.contains_key(&row.id));
        let mut expected: Vec<&Row> = before.archived.iter().chain(gone).collect();
        let mut archived: Vec<&Row> = after.archived.iter().collect();
        expected.sort_by_key(|row| row.id);
        archived.sort_by_key(|row| row.id);
        if archived != expected {
            problems.push(format!("the archive has {archived:?} after step {steps}, and should have {expected:?}"));
        }
    }
}

/// Invariant 9: whoever holds what clean-up would take, it goes on without it.
pub(crate) fn clean_up_waits_for_nobody(run: &Run, problems: &mut Vec<String>) {
    for (number, (_, step)) in run.steps.iter().enumerate() {
        for process in step.blocked.iter().filter(|process| !run.verbs[**process].takes().is_empty()) {
            problems.push(format!("invariant 9: {} waits in step {}", run.verbs[*process].name(), number + 1));
        }
    }
}

/// Whether the token that a verb was called with was gone at some moment before its end.
pub(crate) fn may_be_unknown(run: &Run, process: usize) -> bool {
    let ended = span(run, process).1;
    let before_end = run.history.iter().filter(|(steps, ..)| *steps <= ended);
    run.verbs[process].stale().is_some_and(|token| before_end.into_iter().any(|(.., rows)| is_gone(rows, token)))
}

/// Whether it was gone before the first statement, which looks for it.
pub(crate) fn is_unknown(run: &Run, process: usize) -> bool {
    let began = span(run, process).0;
    let before = run.history.iter().rfind(|(steps, ..)| *steps <= began);
    run.verbs[process].stale().is_some_and(|token| before.is_some_and(|(.., rows)| is_gone(rows, token)))
}

fn is_gone(rows: &Rc<Rows>, token: Uuid) -> bool {
    !rows.tokens.contains_key(&token)
}
