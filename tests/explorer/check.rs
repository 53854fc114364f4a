//! The invariants, judged by what the verbs of a schedule answered and by the rows after each COMMIT.

use std::collections::{BTreeMap, BTreeSet};

use refresh_tokens::{Refusal, RevocationReport, TokenRevocation};
use uuid::Uuid;

use crate::act::{Outcome, SAME, newborn};
use crate::fixture::{A2, Row, Rows, SESSION_A, USER};
use crate::search::Run;
use crate::taken;
use crate::verbs::Verb;

/// What a process did to the rows with its COMMITs.
#[derive(Debug, Default)]
struct Change {
    /// As they were before.
    revoked: Vec<Row>,
    rotated: Vec<Uuid>,
    inserted: Vec<Uuid>,
    deleted: Vec<Uuid>,
    marked: Vec<Uuid>,
}

impl Change {
    fn of(run: &Run, process: usize) -> Self {
        let mut change = Self::default();
        for pair in run.history.windows(2).filter(|pair| pair[1].1 == process) {
            change.add(&pair[0].2, &pair[1].2);
        }
        change
    }

    fn add(&mut self, before: &Rows, after: &Rows) {
        for (id, old) in &before.tokens {
            let Some(new) = after.tokens.get(id) else {
                self.deleted.push(*id);
                continue;
            };
            if old.is_revoked != new.is_revoked {
                self.revoked.push(old.clone());
            }
            if old.rotated_to != new.rotated_to {
                self.rotated.push(*id);
            }
            if old.is_reused != new.is_reused {
                self.marked.push(*id);
            }
        }
        self.inserted.extend(after.tokens.keys().filter(|id| !before.tokens.contains_key(id)));
    }

    /// How many rows it revoked, rotated, inserted, deleted and marked.
    fn counts(&self) -> [usize; 5] {
        let Self { revoked, rotated, inserted, deleted, marked } = self;
        [revoked.len(), rotated.len(), inserted.len(), deleted.len(), marked.len()]
    }

    fn receipt(&self) -> (usize, usize, usize) {
        let live = || self.revoked.iter().filter(|row| row.is_live());
        let sessions: BTreeSet<Uuid> = live().map(|row| row.session_id).collect();
        (self.revoked.len(), live().count(), sessions.len())
    }
}

/// Where a verb began and ended, in steps.
pub(crate) fn span(run: &Run, process: usize) -> (usize, usize) {
    let began = run.steps.iter().position(|(by, _)| *by == process).unwrap_or(0);
    let ended = run.steps.iter().position(|(_, step)| step.finished.contains(&process));
    (began, ended.unwrap_or(run.steps.len()))
}

/// Each promise that the schedule broke.
pub(crate) fn problems(run: &Run) -> Vec<String> {
    let mut problems = Vec::new();
    if run.deadlocked {
        problems.push("deadlock: every verb that had not ended waited for another".to_owned());
    }
    one_live_token_per_session(run, &mut problems);
    single_use(run, &mut problems);
    a_limit_is_exact(run, &mut problems);
    the_dead_stay_dead(run, &mut problems);
    taken::archive_is_true(run, &mut problems);
    taken::clean_up_waits_for_nobody(run, &mut problems);
    for process in 0..run.verbs.len() {
        revocation_wins(run, process, &mut problems);
        answers_are_true(run, process, &mut problems);
        alone_it_succeeds(run, process, &mut problems);
    }
    problems
}

fn one_live_token_per_session(run: &Run, problems: &mut Vec<String>) {
    for (steps, _, rows) in &run.history {
        let mut sessions = BTreeSet::new();
        for row in rows.tokens.values().filter(|row| row.is_live()) {
            if !sessions.insert(row.session_id) {
                problems
                    .push(format!("invariant 1: session {} has two live tokens after step {steps}", row.session_id));
            }
        }
    }
}

fn single_use(run: &Run, problems: &mut Vec<String>) {
    let mut successors = BTreeMap::new();
    let rows = &run.history[run.history.len() - 1].2.tokens;
    for outcome in run.outcomes.iter().flatten() {
        let Outcome::Rotated { presented, successor, .. } = outcome else { continue };
        if *successors.entry(presented).or_insert(successor) != successor {
            problems.push(format!("invariant 2: two presenters of {presented} got different successors"));
        }
        if rows.get(presented).is_none_or(|row| row.rotated_to != Some(*successor)) || !rows.contains_key(successor) {
            problems.push(format!("invariant 2: {presented} was answered with {successor}, which the table denies"));
        }
    }
}

/// Where everybody who logs in obeys it: there are two sessions to begin with.
fn a_limit_is_exact(run: &Run, problems: &mut Vec<String>) {
    let has = |kinds: &[Verb]| run.verbs.iter().any(|verb| kinds.contains(verb));
    if !has(&[Verb::LoginAmongTwo]) || has(&[Verb::Login, Verb::LoginAt]) {
        return;
    }
    for (steps, _, rows) in &run.history {
        if rows.tokens.values().filter(|row| row.user_id == USER && row.is_live()).count() > 2 {
            problems.push(format!("the limit: there are more than two sessions after step {steps}"));
        }
    }
}

fn the_dead_stay_dead(run: &Run, problems: &mut Vec<String>) {
    for pair in run.history.windows(2) {
        let (before, (steps, _, after)) = (&pair[0].2, &pair[1]);
        for (id, old) in &before.tokens {
            match after.tokens.get(id) {
                Some(new) if !old.is_live() && new.is_live() => {
                    problems.push(format!("invariant 5: {id} came back to life in step {steps}"));
                }
                Some(new)
                    if old.rotated_to.is_some() && new.rotated_to != old.rotated_to
                        || old.is_revoked && !new.is_revoked =>
                {
                    problems.push(format!("invariant 5: the end of {id} was rewritten in step {steps}"));
                }
                None if old.is_live() => problems.push(format!("{id} was deleted alive in step {steps}")),
                _ => {}
            }
        }
    }
}

/// From the end of a revocation on, nothing is valid that existed, or was being born, when it was called.
fn revocation_wins(run: &Run, process: usize, problems: &mut Vec<String>) {
    let verb = run.verbs[process];
    let (began, ended) = span(run, process);
    let is_ended_by = |outcome: &Outcome, row: &Row| match outcome {
        // By somebody else, whose response had at least the session for its target.
        Outcome::Responded(None) | Outcome::RevokedOne(TokenRevocation::SessionEnded { .. }) => {
            row.session_id == SESSION_A
        }
        // By a token that was gone it finds nothing.
        Outcome::Revoked(_) if taken::is_unknown(run, process) => false,
        Outcome::Revoked(_) | Outcome::RevokedOne(_) | Outcome::Responded(Some(_)) | Outcome::Unchecked => {
            verb.ends(row)
        }
        _ => false,
    };
    let is_ended = |row: &Row| run.outcomes[process].iter().any(|outcome| is_ended_by(outcome, row));
    // A login that does not say when it was authenticated, and was not over when the revocation was called.
    let may_stay = |row: &Row| {
        let by = (0..run.verbs.len()).find(|other| newborn(*other) == row.id);
        by.is_some_and(|by| matches!(run.verbs[by], Verb::Login | Verb::LoginAmongTwo) && span(run, by).1 >= began)
    };
    for (steps, _, rows) in run.history.iter().filter(|(steps, ..)| *steps > ended) {
        for row in rows.tokens.values().filter(|row| row.is_live() && is_ended(row) && !may_stay(row)) {
            let name = verb.name();
            problems.push(format!("invariant 3: {} is valid after step {steps}, and {name} had returned", row.id));
        }
    }
}

/// The rows that a verb changed are those that it says, and a refusal changed none.
fn answers_are_true(run: &Run, process: usize, problems: &mut Vec<String>) {
    let (verb, outcomes) = (run.verbs[process], &run.outcomes[process]);
    let change = Change::of(run, process);
    let mut must = |holds: bool, what: &str| {
        if !holds {
            problems.push(format!("{} answered {outcomes:?}, but {what}: it changed {change:?}", verb.name()));
        }
    };
    must(change.revoked.iter().all(|row| verb.may_end(row)), "it revoked what was none of its business");
    must(change.deleted.iter().all(|id| verb.takes().contains(id)), "it took what it had to leave");
    let mut counts = [0; 5];
    for outcome in outcomes {
        // The counts of a revocation that does not say how many are left open.
        let told = told_by(run, process, outcome, &change, &mut must).unwrap_or(change.counts());
        counts = std::array::from_fn(|kind| counts[kind] + told[kind]);
    }
    must(change.counts() == counts, "it did more or less (invariant 4, where it refused)");
}

/// How many rows a verb revoked, rotated, inserted, deleted and marked, by one of its outcomes.
fn told_by(
    run: &Run,
    process: usize,
    outcome: &Outcome,
    change: &Change,
    must: &mut impl FnMut(bool, &str),
) -> Option<[usize; 5]> {
    let (verb, rows) = (run.verbs[process], &run.history[run.history.len() - 1].2.tokens);
    let is_receipt = |receipt: &RevocationReport| change.receipt() == (receipt.tokens, receipt.live, receipt.sessions);
    Some(match outcome {
        Outcome::Rotated { presented, successor, is_live } => {
            must(*is_live && was_live(run, process, *successor), "it handed out a dead token");
            let did = change.rotated.contains(presented) && change.inserted.contains(successor);
            must(did || repeats(run, process, *successor), "it did not rotate");
            [0, did.into(), did.into(), 0, 0]
        }
        Outcome::Refused(refusal) => {
            let is_true = match refusal {
                Refusal::Reused(token) => is_reused(run, process, rows, token.id),
                Refusal::Revoked(token) => rows.get(&token.id).is_some_and(|row| row.is_revoked),
                Refusal::NotFound => taken::may_be_unknown(run, process),
                Refusal::OrgRevoked(_) => has_begun(run, process, |other| matches!(other, Verb::InOrg | Verb::Org)),
                _ => false,
            };
            must(is_true, "that is not so");
            [0; 5]
        }
        Outcome::RefusedUnsaid => {
            must(rows.get(&A2).is_some_and(|row| !row.is_live()), "the token is live");
            [0; 5]
        }
        Outcome::Responded(Some(receipt)) => {
            must(is_receipt(receipt), "the receipt is wrong");
            // What was taken meanwhile cannot be marked.
            let marked = if taken::may_be_unknown(run, process) { change.marked.len() } else { 1 };
            [receipt.tokens, 0, 0, 0, marked]
        }
        Outcome::Responded(None) => [0; 5],
        Outcome::LoggedIn(id) => {
            must(change.inserted == [*id], "it made another token");
            let made_room = change.revoked.len();
            // One, and one more for who did not ask for room.
            must(made_room <= if verb == Verb::LoginAmongTwo { run.verbs.len() } else { 0 }, "it ended too many");
            [made_room, 0, 1, 0, 0]
        }
        Outcome::LoginRefused => {
            must(has_begun(run, process, Verb::cuts_off), "nothing had been revoked");
            [0; 5]
        }
        Outcome::Revoked(receipt) => {
            must(is_receipt(receipt), "the receipt is wrong");
            [receipt.tokens, 0, 0, 0, 0]
        }
        Outcome::RevokedOne(one) => {
            let (revoked, live) = match one {
                TokenRevocation::Unchanged => (0, 0),
                TokenRevocation::SessionEnded { .. } => (1, 1),
                TokenRevocation::SessionContinues { .. } => (1, 0),
            };
            must(change.receipt().1 == live, "that is not so");
            [revoked, 0, 0, 0, 0]
        }
        Outcome::Deleted(count) => [0, 0, 0, *count, 0],
        Outcome::Unchecked => return None,
        Outcome::Failed { error } => {
            must(false, &format!("none of these verbs may fail ({error})"));
            [0; 5]
        }
    })
}

/// Whether it was rotated, and not by the request that it is refused to: nobody uses what that one made.
fn is_reused(run: &Run, process: usize, rows: &BTreeMap<Uuid, Row>, token: Uuid) -> bool {
    let rotated_to = rows.get(&token).and_then(|row| row.rotated_to);
    rotated_to.is_some_and(|successor| !(successor == SAME && run.verbs[process].sends_same()))
}

/// Whether a token was live at some moment of the call.
fn was_live(run: &Run, process: usize, token: Uuid) -> bool {
    let (began, ended) = span(run, process);
    let before = run.history.iter().rposition(|(steps, ..)| *steps <= began).unwrap_or(0);
    let during = run.history[before..].iter().take_while(|(steps, ..)| *steps <= ended + 1);
    during.filter_map(|(_, _, rows)| rows.tokens.get(&token)).any(Row::is_live)
}

/// Whether the request for this successor was sent by another process, too; by its secret, the token that it is for.
fn repeats(run: &Run, process: usize, successor: Uuid) -> bool {
    let others = || (0..run.verbs.len()).filter(|other| *other != process);
    let made = |outcome: &Outcome| matches!(outcome, Outcome::Rotated { successor: made, .. } if *made == successor);
    if run.verbs[process] == Verb::Refresh {
        return others().any(|other| run.verbs[other] == Verb::Refresh && run.outcomes[other].iter().any(made));
    }
    successor == SAME && run.verbs[process].sends_same() && others().any(|other| run.verbs[other].sends_same())
}

/// Whether another verb of this kind had begun when this one ended.
fn has_begun(run: &Run, process: usize, kind: impl Fn(Verb) -> bool) -> bool {
    let ended = span(run, process).1;
    (0..run.verbs.len()).any(|other| other != process && kind(run.verbs[other]) && span(run, other).0 < ended)
}

/// A verb that was over before another began found the first rows, and had no reason to refuse.
fn alone_it_succeeds(run: &Run, process: usize, problems: &mut Vec<String>) {
    let ended = span(run, process).1;
    if has_begun(run, process, |_| true) || ended == run.steps.len() {
        return;
    }
    let (verb, first) = (run.verbs[process], &run.history[0].2.tokens);
    let live = first.values().filter(|row| row.is_live() && verb.ends(row)).count();
    let succeeds = |outcome: &Outcome| match outcome {
        Outcome::Refused(_)
        | Outcome::RefusedUnsaid
        | Outcome::LoginRefused
        | Outcome::Responded(None)
        | Outcome::Failed { .. } => false,
        Outcome::Responded(Some(receipt)) | Outcome::Revoked(receipt) => receipt.live == live,
        Outcome::RevokedOne(one) => matches!(one, TokenRevocation::SessionEnded { session_id: SESSION_A }),
        Outcome::Deleted(count) => *count == verb.takes().len(),
        Outcome::Rotated { .. } | Outcome::LoggedIn(_) | Outcome::Unchecked => true,
    };
    if !run.outcomes[process].iter().all(succeeds) {
        problems.push(format!("{} ran first and alone, and answered {:?}", verb.name(), run.outcomes[process]));
    }
}

/// The schedule as a list of steps, and what was answered.
pub(crate) fn describe(run: &Run) -> String {
    let mut lines = Vec::new();
    let mut blocked: &[usize] = &[];
    let name = |process: usize| format!("{process} {}", run.verbs[process].name());
    for (number, (process, step)) in run.steps.iter().enumerate() {
        let mut line = format!("{:3}. {:34} {}", number + 1, name(*process), step.name);
        if step.blocked.contains(process) {
            line += "  (waits)";
        }
        for other in blocked.iter().filter(|other| !step.blocked.contains(other)) {
            line.extend(["  (lets ", &name(*other), " go on)"]);
        }
        for other in &step.finished {
            line.extend(["  (", &name(*other), " has returned)"]);
        }
        blocked = &step.blocked;
        lines.push(line);
    }
    for (process, outcomes) in run.outcomes.iter().enumerate() {
        lines.extend(outcomes.iter().map(|outcome| format!("     {}: {outcome:?}", name(process))));
    }
    lines.join("\n")
}
