//! The rules that a history must obey, whatever the interleaving was.
//!
//! An answer with `Err` counts as "nothing was done", but for the revocations that go in steps, and for what a lost
//! connection leaves unknown.

mod deaths;
mod reasons;
mod retention;
mod table;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use refresh_tokens::BreachResponse;
use uuid::Uuid;

use super::facts::Facts;
use super::history::{Answer, By, Call, History, Op, Request, Row};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Rule {
    /// Invariant 1.
    OneLiveToken,
    /// Invariant 2.
    SingleUse,
    /// Invariant 3, of tokens and of logins.
    RevocationWins,
    /// Invariant 4: what was refused or rolled back left something behind.
    NothingDone,
    /// Invariant 5.
    DeadStayDead,
    /// Invariant 6.
    SameAnswer,
    /// Somebody was refused, or ended, for whom nothing in the history is a reason.
    HasReason,
    /// A breach response is given once.
    GivenOnce,
    /// What receipts say is what was revoked.
    Receipts,
    /// What clean-up took was due, is in one place at most, and is what it says.
    CleanUp,
    /// A token inherits from its predecessor what it should.
    Inheritance,
    /// An error that the documentation of the verb does not give for this.
    Errors,
}

/// A rule that was broken, and the calls that show it, by number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) rule: Rule,
    what: String,
    calls: Vec<usize>,
}

impl Broken {
    fn new(rule: Rule, what: impl Into<String>, calls: impl IntoIterator<Item = usize>) -> Self {
        Self { rule, what: what.into(), calls: calls.into_iter().collect() }
    }
}

/// Everything that is wrong with a history.
pub(super) fn check(history: &History) -> Vec<Broken> {
    let facts = Facts::of(history);
    let mut broken = Vec::new();
    for (number, call) in history.calls.iter().enumerate() {
        broken.extend(answer(&facts, call).map(|(rule, what)| Broken::new(rule, what, [number])));
        broken.extend(reasons::check(&facts, number, call));
    }
    broken.extend(single_use(history));
    broken.extend(given_once(history, &facts));
    broken.extend(deaths::check(history, &facts));
    broken.extend(table::check(history, &facts));
    broken
}

/// What is wrong, for whoever has to find out why: each rule with its first cases and their calls.
pub(super) fn explain(history: &History, broken: &[Broken]) -> String {
    let mut by_rule: BTreeMap<Rule, Vec<&Broken>> = BTreeMap::new();
    for broken in broken {
        by_rule.entry(broken.rule).or_default().push(broken);
    }
    let mut text = String::new();
    for (rule, cases) in by_rule {
        let _ = writeln!(text, "{rule:?}: {} times", cases.len());
        for case in cases.iter().take(3) {
            let _ = writeln!(text, "  {}", case.what);
            for call in case.calls.iter().filter_map(|number| history.calls.get(*number)) {
                let Call { thread, start, end, op, answer } = call;
                let _ = writeln!(text, "    {start}..{end} thread {thread}: {op:?}\n      -> {answer:?}");
            }
        }
    }
    text
}

/// What can be judged by one call alone, and by what the tokens in it were born as.
fn answer(facts: &Facts<'_>, call: &Call) -> Option<(Rule, String)> {
    match (&call.op, &call.answer) {
        (Op::Create(login), Answer::Born(row)) => {
            let is_asked_for = (row.id, row.user, row.org) == (login.token, login.user, login.org);
            let is_new = row.is_unspent() && row.generation == 0;
            (!is_asked_for || !is_new).then(|| (Rule::Inheritance, "a login got another token".to_owned()))
        }
        (Op::Rotate { request, .. }, Answer::Born(row)) => successor(facts, request, row),
        (Op::GetValid(_), Answer::Found(rows)) if rows.iter().any(|row| !row.is_unspent()) => {
            Some((Rule::DeadStayDead, "a dead token is said to be valid".to_owned()))
        }
        (Op::GetActive { user }, Answer::Found(rows)) => {
            let mut sessions = HashSet::new();
            if !rows.iter().all(|row| sessions.insert(row.session)) {
                return Some((Rule::OneLiveToken, "two active tokens of one session".to_owned()));
            }
            let is_right = rows.iter().all(|row| row.is_unspent() && row.user == *user);
            (!is_right).then(|| (Rule::DeadStayDead, "a token that is not active is listed".to_owned()))
        }
        (Op::ListSessions { .. }, Answer::Sessions(sessions)) => {
            let distinct: HashSet<&Uuid> = sessions.iter().collect();
            (distinct.len() < sessions.len()).then(|| (Rule::OneLiveToken, "a session is listed twice".to_owned()))
        }
        (_, Answer::Ended(receipt)) => {
            let agrees = receipt.live == receipt.sessions && receipt.live <= receipt.tokens;
            (!agrees).then(|| (Rule::Receipts, "a receipt whose numbers do not agree".to_owned()))
        }
        (_, Answer::Failed(error)) => (!is_documented(facts, call, error)).then(|| (Rule::Errors, error.clone())),
        _ => None,
    }
}

fn successor(facts: &Facts<'_>, request: &Request, row: &Row) -> Option<(Rule, String)> {
    if row.id != request.successor {
        return Some((Rule::SameAnswer, "a rotation answers with another successor".to_owned()));
    }
    if !row.is_unspent() {
        return Some((Rule::DeadStayDead, "a rotation answers with a dead successor".to_owned()));
    }
    let predecessor = facts.births.get(&request.presented)?;
    if request.binding.is_some_and(|user| user != predecessor.user) {
        return Some((Rule::NothingDone, "somebody else's token was rotated".to_owned()));
    }
    let expected = (predecessor.user, request.org.unwrap_or(predecessor.org), predecessor.session);
    let inherits = (row.user, row.org, row.session) == expected && row.generation == predecessor.generation + 1;
    (!inherits).then(|| (Rule::Inheritance, "a successor is not its predecessor's".to_owned()))
}

/// Waits may reach their bounds on a busy machine; how many may, the storm says.
fn is_documented(facts: &Facts<'_>, call: &Call, error: &str) -> bool {
    match &call.op {
        // The host holds the token while a revocation has shut the gate.
        Op::Rotate { by: By::Guard, request: Request { org: Some(_), .. }, .. } if error == "Conflict" => true,
        // Sent again, and it had happened: so it is in the table, and began before this call.
        Op::Create(login) if error == "DuplicateId" => {
            facts.is_killed && facts.births.get(&login.token).is_some_and(|birth| birth.start < call.start)
        }
        _ if error == "ConnectionLost" || error.starts_with("Unreachable") => facts.is_killed,
        _ => error.starts_with("Busy") || error.starts_with("PoolExhausted"),
    }
}

/// No two answers give different successors to one token, and no two tokens have one successor.
fn single_use(history: &History) -> Vec<Broken> {
    let mut successors: BTreeMap<Uuid, (Uuid, usize)> = BTreeMap::new();
    let mut predecessors: BTreeMap<Uuid, (Uuid, usize)> = BTreeMap::new();
    let mut broken = Vec::new();
    for (number, call) in history.calls.iter().enumerate().filter(|(_, call)| call.is_committed()) {
        let (Op::Rotate { request, .. }, Answer::Born(row)) = (&call.op, &call.answer) else { continue };
        let (successor, first) = *successors.entry(request.presented).or_insert((row.id, number));
        if successor != row.id {
            broken.push(Broken::new(Rule::SingleUse, "a token has two successors", [first, number]));
        }
        let (predecessor, first) = *predecessors.entry(row.id).or_insert((request.presented, number));
        if predecessor != request.presented {
            broken.push(Broken::new(Rule::SingleUse, "a token has two predecessors", [first, number]));
        }
    }
    broken
}

/// A breach response is given once for a token, and only after that it was given before.
fn given_once(history: &History, facts: &Facts<'_>) -> Vec<Broken> {
    let mut given: BTreeMap<Uuid, usize> = BTreeMap::new();
    let mut broken = Vec::new();
    let answers = || history.calls.iter().enumerate().filter(|(_, call)| call.is_committed());
    for (number, call) in answers() {
        let Answer::Reused(row, Some(BreachResponse::Revoked(_))) = &call.answer else { continue };
        let first = *given.entry(row.id).or_insert(number);
        // A row that was deleted has nothing on which to note it.
        let by = call.end.max(history.calls[first].end);
        if first != number && !facts.may_be_gone(row.id, by) {
            broken.push(Broken::new(Rule::GivenOnce, "two breach responses for one token", [first, number]));
        }
    }
    for (number, call) in history.calls.iter().enumerate() {
        let Answer::Reused(row, Some(BreachResponse::AlreadyHandled)) = &call.answer else { continue };
        let told = given.get(&row.id).map(|first| history.calls[*first].start);
        let first = told.into_iter().chain(facts.unknown_responses.get(&row.id).copied()).min();
        if first.is_none_or(|first| first > call.end) {
            broken.push(Broken::new(Rule::GivenOnce, "a breach response that nobody got", [number]));
        }
    }
    broken
}
