//! The table at the end: what is in it came from answers, and what answers gave is in it.

use std::collections::{HashMap, HashSet};

use refresh_tokens::{BreachResponse, RevokedReason, TokenRevocation};
use uuid::Uuid;

use super::{Broken, Rule, retention};
use crate::storm::facts::Facts;
use crate::storm::history::{Answer, Call, History, Row, Target};

pub(super) fn check(history: &History, facts: &Facts<'_>) -> Vec<Broken> {
    let rows: HashMap<Uuid, &Row> = history.table.iter().chain(&history.archive).map(|row| (row.id, row)).collect();
    let mut live = HashSet::new();
    let mut broken = Vec::new();
    let mut object = |rule: Rule, what: &str, row: &Row| broken.push(Broken::new(rule, format!("{what}: {row:?}"), []));
    for row in history.table.iter().chain(&history.archive) {
        if row.is_unspent() && !live.insert(row.session) {
            object(Rule::OneLiveToken, "a session with two live tokens", row);
        }
        let Some(birth) = facts.births.get(&row.id) else {
            object(Rule::NothingDone, "a token that no answer gave", row);
            continue;
        };
        if row.rotated_to != facts.spent.get(&row.id).map(|spent| spent.successor) {
            object(Rule::NothingDone, "a successor that no answer gave", row);
        }
        if (row.user, row.org, row.session, row.generation) != (birth.user, birth.org, birth.session, birth.generation)
        {
            object(Rule::Inheritance, "a token that has changed", row);
        }
        if row.is_revoked && facts.first_ending(row.id).is_none() {
            object(Rule::HasReason, "a token that nobody revoked", row);
        }
        if row.rotated_to.is_none() && row.reason == Some(RevokedReason::OthersRevoked) && !is_other(facts, row) {
            object(Rule::HasReason, "the token that was to be kept", row);
        }
        if let Some(successor) = row.rotated_to.and_then(|successor| rows.get(&successor)) {
            let inherits = successor.session_started_at == row.session_started_at
                && successor.session == row.session
                && successor.created_at >= row.created_at;
            if !inherits {
                object(Rule::Inheritance, "a token that does not go on from its predecessor", successor);
            }
        }
    }
    broken.extend(marks(history, facts));
    if history.calls.iter().any(Call::is_clean_up) {
        broken.extend(retention::check(history, facts));
    } else {
        broken.extend(nothing_deleted(history, facts, &rows));
    }
    broken
}

/// Whether a call that revoked all others of the user was to keep another session than this row's.
fn is_other(facts: &Facts<'_>, row: &Row) -> bool {
    // If it ended unspent, so did its session.
    let is_taken = |keep: Uuid, by| {
        facts.expirable.contains(&keep) || facts.spent.contains_key(&keep) && facts.may_be_gone(keep, by)
    };
    facts.endings.iter().any(|ending| match ending.target {
        Target::Except { user, keep } if user == row.user => {
            facts.births.get(&keep).is_none_or(|keep| keep.session != row.session) || is_taken(keep, ending.end)
        }
        Target::ExceptSession { user, session } => user == row.user && session != row.session,
        _ => false,
    })
}

/// A token is marked if, and only if, its reuse was answered; or the answer was lost, or clean-up had taken it by then.
fn marks(history: &History, facts: &Facts<'_>) -> Vec<Broken> {
    let mut given = HashSet::new();
    for call in history.calls.iter().filter(|call| call.is_committed()) {
        if let Answer::Reused(row, Some(BreachResponse::Revoked(_))) = &call.answer {
            given.insert(row.id);
        }
    }
    let unmarked = history.table.iter().filter(|row| !row.is_reused && given.contains(&row.id));
    let may_be_marked = |row: &Row| given.contains(&row.id) || facts.unknown_responses.contains_key(&row.id);
    let rows = history.table.iter().chain(&history.archive);
    let marked = rows.filter(|row| row.is_reused && !may_be_marked(row));
    unmarked.chain(marked).map(|row| Broken::new(Rule::GivenOnce, format!("a wrong mark: {row:?}"), [])).collect()
}

/// Where no row is ever deleted, the sums are exact.
fn nothing_deleted(history: &History, facts: &Facts<'_>, rows: &HashMap<Uuid, &Row>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for token in facts.births.keys().filter(|token| !rows.contains_key(token)) {
        broken.push(Broken::new(Rule::NothingDone, format!("a token is gone: {token}"), []));
    }
    let (mut tokens, mut live) = (0, 0);
    for call in history.calls.iter().filter(|call| call.is_committed()) {
        match &call.answer {
            Answer::Ended(receipt) | Answer::Reused(_, Some(BreachResponse::Revoked(receipt))) => {
                tokens += receipt.tokens;
                live += receipt.live;
            }
            Answer::EndedOne(ended) => {
                tokens += usize::from(ended.is_revoked());
                live += usize::from(matches!(ended, TokenRevocation::SessionEnded { .. }));
            }
            _ => {}
        }
    }
    let revoked = || history.table.iter().filter(|row| row.is_revoked);
    let in_table = (revoked().count(), revoked().filter(|row| row.rotated_to.is_none()).count());
    let is_exact = facts.endings.iter().all(|ending| ending.is_whole) && facts.expirable.is_empty();
    if is_exact && in_table != (tokens, live) {
        let what = format!("receipts of {tokens} tokens, {live} of them live; in the table there are {in_table:?}");
        broken.push(Broken::new(Rule::Receipts, what, []));
    }
    broken
}
