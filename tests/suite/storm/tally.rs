//! How often each verb had which outcome.

use std::collections::BTreeMap;
use std::fmt;

use refresh_tokens::{BreachResponse, TokenRevocation};

use super::history::{Answer, By, Call, Frame, History, Op, Target};

pub(super) struct Tally(BTreeMap<(String, String), usize>);

impl Tally {
    pub(super) fn of(history: &History) -> Self {
        let mut counts = BTreeMap::new();
        for call in &history.calls {
            *counts.entry((verb(call), outcome(call))).or_default() += 1;
            if call.frame() == Frame::RolledBack {
                *counts.entry(("the host".to_owned(), "rolls back".to_owned())).or_default() += 1;
            }
        }
        let mut tally = Self(counts);
        tally.add("sent again", "the same answer", repeats(history));
        tally.add("calls", "overlapping the next to start", overlaps(&history.calls));
        let cleanings: Vec<Call> = history.calls.iter().filter(|call| call.is_clean_up()).cloned().collect();
        tally.add("clean-ups", "overlapping the next to start", overlaps(&cleanings));
        tally
    }

    fn add(&mut self, verb: &str, outcome: &str, times: usize) {
        self.0.insert((verb.to_owned(), outcome.to_owned()), times);
    }

    /// The sum over all verbs and outcomes that begin like this.
    pub(super) fn times(&self, verb: &str, outcome: &str) -> usize {
        let is_meant = |((of, with), _): &(&(String, String), &usize)| of == verb && with.starts_with(outcome);
        self.0.iter().filter(is_meant).map(|(_, times)| times).sum()
    }

    pub(super) fn failed(&self) -> usize {
        self.0.iter().filter(|((_, outcome), _)| outcome.starts_with("Err")).map(|(_, times)| times).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for ((verb, outcome), times) in &self.0 {
            if verb != last {
                write!(f, "{}{verb}:", if last.is_empty() { "" } else { "\n" })?;
                last = verb;
            }
            write!(f, " {outcome} {times},")?;
        }
        Ok(())
    }
}

/// Answers to a request that somebody had been given before.
fn repeats(history: &History) -> usize {
    let mut given = std::collections::HashSet::new();
    let born = history.calls.iter().filter(|call| call.is_committed() && matches!(call.answer, Answer::Born(_)));
    born.filter(|call| matches!(call.op, Op::Rotate { request, .. } if !given.insert(request.successor))).count()
}

fn overlaps(calls: &[Call]) -> usize {
    calls.windows(2).filter(|pair| pair[1].start < pair[0].end).count()
}

fn verb(call: &Call) -> String {
    match &call.op {
        Op::Create(login) if login.authenticated.is_some() => "create, authenticated".to_owned(),
        Op::Create(_) => "create".to_owned(),
        Op::Rotate { by: By::Rotate, frame: Frame::Group, .. } => "rotate in group".to_owned(),
        Op::Rotate { by: By::Redeem(on_reuse), frame: Frame::Group, .. } => format!("redeem {on_reuse:?} in group"),
        Op::Rotate { by: By::Rotate, .. } => "rotate".to_owned(),
        Op::Rotate { by: By::Redeem(on_reuse), .. } => format!("redeem {on_reuse:?}"),
        Op::Rotate { by: By::Many, frame: Frame::Own, .. } => "rotate_many".to_owned(),
        Op::Rotate { by: By::Many, .. } => "rotate_many for a host".to_owned(),
        Op::Rotate { by: By::Guard, .. } => "rotate_to".to_owned(),
        Op::Rotate { by: By::Reference, .. } => "reference's rotate".to_owned(),
        Op::Revoke { target, .. } => match target {
            Target::Token(_) => "revoke",
            Target::Hash(_) => "revoke_by_hash",
            Target::Chain(_) => "revoke_token_chain",
            Target::Session(_) => "revoke_session",
            Target::Live(_) => "end_session",
            Target::SessionOf(_) => "revoke_session_by_hash",
            Target::User(_) => "revoke_all_for_user",
            Target::Except { .. } => "revoke_all_for_user_except",
            Target::ExceptSession { .. } => "revoke_all_for_user_except_session",
            Target::Member { .. } => "revoke_all_for_user_in_org",
            Target::Org(_) => "revoke_all_for_org",
            Target::Everyone => "revoke_all_for_everyone",
        }
        .to_owned(),
        Op::GetValid(_) => "get_valid_by_hash".to_owned(),
        Op::CheckReuse(_) => "check_token_reuse".to_owned(),
        Op::GetActive { .. } => "get_active_tokens_for_user".to_owned(),
        Op::ListSessions { .. } => "list_sessions".to_owned(),
        Op::Expire(_) => "(expiry)".to_owned(),
        Op::Age(_) | Op::AgeBetween(_) => "(age)".to_owned(),
        Op::CleanUp => "cleanup_expired".to_owned(),
        Op::CleanUpBy { archives: false, .. } => "cleanup".to_owned(),
        Op::CleanUpBy { archives: true, .. } => "cleanup into archive".to_owned(),
    }
}

fn outcome(call: &Call) -> String {
    match &call.answer {
        Answer::Born(_) => "token".to_owned(),
        Answer::Refused(why, _) => format!("{why:?}"),
        Answer::Reused(_, Some(BreachResponse::Revoked(receipt))) if receipt.live > 0 => "Revoked, live".to_owned(),
        Answer::Reused(_, Some(BreachResponse::Revoked(_))) => "Revoked".to_owned(),
        Answer::Reused(_, Some(response)) => format!("{response:?}"),
        Answer::Reused(_, None) => "Reused".to_owned(),
        Answer::Found(rows) => if rows.is_empty() { "none" } else { "some" }.to_owned(),
        Answer::Sessions(sessions) => if sessions.is_empty() { "none" } else { "some" }.to_owned(),
        Answer::Ended(receipt) if receipt.live > 0 => "live".to_owned(),
        Answer::Ended(receipt) => if receipt.tokens > 0 { "spent" } else { "nothing" }.to_owned(),
        Answer::EndedOne(TokenRevocation::Unchanged) => "Unchanged".to_owned(),
        Answer::EndedOne(TokenRevocation::SessionEnded { .. }) => "SessionEnded".to_owned(),
        Answer::EndedOne(TokenRevocation::SessionContinues { .. }) => "SessionContinues".to_owned(),
        Answer::Rows(rows) => if *rows == 0 { "no row" } else { "rows" }.to_owned(),
        Answer::Failed(error) => format!("Err({error})"),
    }
}
