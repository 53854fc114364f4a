//! What was dead when a call started is not valid in it: invariants 3 and 5.

use uuid::Uuid;

use super::{Broken, Rule};
use crate::storm::facts::{Death, Facts};
use crate::storm::history::{Answer, By, Frame, History, Op, Stamp, Why};

pub(super) fn check(history: &History, facts: &Facts<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut judge = |what: &str, death: Option<Death>, used_at: Stamp, call: Option<usize>| {
        if let Some(death) = death.filter(|death| death.since < used_at) {
            let rule = if death.by_revocation { Rule::RevocationWins } else { Rule::DeadStayDead };
            broken.push(Broken::new(rule, what, [death.call].into_iter().chain(call)));
        }
    };
    for (number, call) in history.calls.iter().enumerate() {
        let at = Some(number);
        let mut token = |what: &str, token: Uuid| judge(what, facts.death(token), call.start, at);
        match (&call.op, &call.answer) {
            (Op::Create(_), Answer::Born(row)) => token("a login got a token that was dead before", row.id),
            (Op::Rotate { frame, by, request }, Answer::Born(row)) => {
                if *frame == Frame::RolledBack {
                    // Its successor is its own, so it was no request sent again.
                    token("a dead token was rotated, and that rolled back", request.presented);
                } else {
                    token("a dead successor was handed out", row.id);
                    // Neither makes out a request that is sent again: the answer is a rotation of its own.
                    if matches!(by, By::Guard | By::Reference) {
                        let own = facts.death(request.presented).filter(|death| death.call != number);
                        judge("a dead token was rotated", own, call.start, at);
                    }
                }
            }
            (Op::Rotate { .. }, Answer::Refused(Why::OrgRevoked, Some(row))) if !facts.expirable.contains(&row.id) => {
                token("a dead token is refused for its switch alone", row.id);
            }
            (Op::GetValid(_) | Op::GetActive { .. }, Answer::Found(rows)) => {
                for row in rows {
                    token("a dead token is said to be valid", row.id);
                }
            }
            (Op::ListSessions { .. }, Answer::Sessions(sessions)) => {
                for session in sessions {
                    judge("a dead session is listed", facts.session_death(*session), call.start, at);
                }
            }
            _ => {}
        }
    }
    // Of the answers that gave a token one successor, one rotated it, and that was not before the first of them.
    for (token, spent) in &facts.spent {
        judge("a dead token was rotated", facts.death(*token), spent.start, spent_by(history, *token));
    }
    for row in history.table.iter().filter(|row| row.is_unspent() && row.expires_at > history.read_at) {
        judge("a dead token is live at the end", facts.death(row.id), Stamp::MAX, None);
    }
    broken
}

fn spent_by(history: &History, token: Uuid) -> Option<usize> {
    history.calls.iter().position(|call| {
        let is_its = matches!(&call.op, Op::Rotate { request, .. } if request.presented == token);
        is_its && call.is_committed() && matches!(call.answer, Answer::Born(_))
    })
}
