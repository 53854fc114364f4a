//! What clean-up took, and left: what is gone was due, it is in the archive where its policy said so, and the reports add up to it.

use std::collections::HashSet;

use uuid::Uuid;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Broken, Rule};
use crate::storm::facts::Facts;
use crate::storm::history::{Answer, History, Op, Row, Stamp};

pub(super) fn check(history: &History, facts: &Facts<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut object = |what: String| broken.push(Broken::new(Rule::CleanUp, what, []));
    let mut met = HashSet::new();
    for row in history.table.iter().chain(&history.archive).filter(|row| !met.insert(row.id)) {
        object(format!("a token that is there twice: {row:?}"));
    }
    for row in history.archive.iter().filter(|row| row.expires_at > history.read_at && !is_due(row, history.read_at)) {
        object(format!("a token in the archive that was not due: {row:?}"));
    }
    // The last of them ran alone, and in small batches.
    for row in history.table.iter().filter(|row| is_due(row, history.read_at)) {
        object(format!("a token that clean-up left: {row:?}"));
    }
    let left: HashSet<Uuid> = history.table.iter().map(|row| row.id).collect();
    let gone: Vec<Uuid> = facts.births.keys().filter(|token| !left.contains(token)).copied().collect();
    for token in gone.iter().filter(|token| !facts.may_be_gone(**token, Stamp::MAX)) {
        object(format!("a token is gone that was not due: {token}"));
    }
    // What failed may have taken something before.
    if let Some((taken, archived)) = reported(history)
        && (taken, archived) != (gone.len(), history.archive.len())
    {
        let (gone, archive) = (gone.len(), history.archive.len());
        object(format!("reports of {taken}, {archived} of them archived; {gone} are gone, {archive} are archived"));
    }
    broken
}

/// By a policy that is a little more patient than that of the storm, because the clock went on.
fn is_due(row: &Row, at: DateTime<Utc>) -> bool {
    let long_ago = at - TimeDelta::hours(1);
    row.expires_at < long_ago
        || row.rotated_at.is_some_and(|rotated_at| rotated_at < long_ago)
        || row.is_revoked && row.rotated_to.is_none()
}

/// How many rows were taken, and how many of these archived; none where one failed.
fn reported(history: &History) -> Option<(usize, usize)> {
    let mut sums = (0, 0);
    for call in &history.calls {
        let archives = match call.op {
            Op::CleanUp => false,
            Op::CleanUpBy { archives, .. } => archives,
            _ => continue,
        };
        let Answer::Rows(rows) = call.answer else { return None };
        sums.0 += rows;
        sums.1 += if archives { rows } else { 0 };
    }
    Some(sums)
}
