//! Whoever is refused is refused for a reason that the history has: otherwise something that should have had no effect
//! had one.

use uuid::Uuid;

use super::{Broken, Rule};
use crate::storm::facts::{Birth, Facts};
use crate::storm::history::{Answer, Call, Op, Request, Row, Stamp, Target, Why};

fn was_ended(facts: &Facts<'_>, token: Uuid, by: Stamp) -> bool {
    facts.first_ending(token).is_some_and(|start| start < by)
}

fn was_spent(facts: &Facts<'_>, token: Uuid, by: Stamp) -> bool {
    facts.spent.get(&token).is_some_and(|spent| spent.start < by)
}

fn may_be_dead(facts: &Facts<'_>, token: Uuid, by: Stamp) -> bool {
    was_spent(facts, token, by) || facts.expirable.contains(&token) || was_ended(facts, token, by)
}

fn is_born(facts: &Facts<'_>, token: Uuid, before: Stamp) -> bool {
    facts.births.get(&token).is_some_and(|birth| birth.end < before)
}

/// Whether a revocation of this organisation, or of the user in it or (of a login) altogether, may be newer than an
/// instant between two stamps.
fn was_cut_off(facts: &Facts<'_>, user: Uuid, org: Uuid, is_login: bool, since: Stamp, by: Stamp) -> bool {
    facts.endings.iter().any(|ending| {
        let aims_at_it = match ending.target {
            Target::Org(named) => named == org,
            Target::Member { user: of, org: named } => (of, named) == (user, org),
            Target::User(named) | Target::Except { user: named, .. } | Target::ExceptSession { user: named, .. } => {
                is_login && named == user
            }
            Target::Everyone => is_login,
            _ => false,
        };
        aims_at_it && ending.end > since && ending.start < by
    })
}

pub(super) fn check(facts: &Facts<'_>, number: usize, call: &Call) -> Option<Broken> {
    let has_none = |what: &str| Some(Broken::new(Rule::HasReason, what, [number]));
    let by = call.end;
    match (&call.op, &call.answer) {
        (Op::Create(login), Answer::Refused(Why::RevokedSinceLogin, _)) => match login.authenticated {
            Some(it) if was_cut_off(facts, login.user, login.org, true, it.start, by) => None,
            Some(_) => has_none("a login is refused, and no revocation is newer"),
            None => has_none("a login is refused that did not say when it was authenticated"),
        },
        (Op::Rotate { request, .. }, Answer::Reused(row, _)) => reused(facts, number, request, row, by),
        (Op::Rotate { request, .. }, Answer::Refused(why, row)) => {
            if has_reason(facts, call, request, *why, row.as_ref()) {
                None
            } else {
                has_none(&format!("{why:?} without a reason"))
            }
        }
        (Op::GetValid(token), Answer::Found(found)) if found.is_empty() => {
            let is_right = !is_born(facts, *token, call.start) || may_be_dead(facts, *token, by);
            if is_right { None } else { has_none("not valid without a reason") }
        }
        (Op::CheckReuse(token), Answer::Found(found)) => {
            let was_spent_before = facts.spent.get(token).is_some_and(|spent| spent.end < call.start);
            if found.is_empty() && was_spent_before && !facts.may_be_gone(*token, by) {
                return Some(Broken::new(Rule::DeadStayDead, "a spent token is not known as spent", [number]));
            }
            if found.is_empty() || was_spent(facts, *token, by) { None } else { has_none("reuse of an unspent token") }
        }
        (Op::GetActive { user }, Answer::Found(found)) => {
            let is_lost = |token: &Uuid, birth: &Birth| {
                birth.user == *user
                    && birth.end < call.start
                    && !found.iter().any(|row| row.id == *token)
                    && !may_be_dead(facts, *token, by)
            };
            if facts.births.iter().any(|(token, birth)| is_lost(token, birth)) {
                has_none("an active token is not listed")
            } else {
                None
            }
        }
        _ => None,
    }
}

fn has_reason(facts: &Facts<'_>, call: &Call, request: &Request, why: Why, row: Option<&Row>) -> bool {
    let (presented, by) = (request.presented, call.end);
    let birth = facts.births.get(&presented);
    let is_somebody_elses = birth.is_some_and(|birth| request.binding.is_some_and(|user| user != birth.user));
    let may_be_gone = !is_born(facts, presented, call.start) || facts.may_be_gone(presented, by);
    match why {
        Why::NotFound => may_be_gone,
        Why::BindingMismatch => is_somebody_elses,
        Why::Revoked => row.is_some_and(|row| row.is_revoked && was_ended(facts, row.id, by)),
        Why::Expired => row.is_some_and(|row| facts.expirable.contains(&row.id)),
        Why::OrgRevoked => {
            let (Some(birth), Some(org)) = (birth, request.org) else { return false };
            let Some(begin) = facts.sessions.get(&birth.session) else { return false };
            // A session begins with the authentication.
            let since = begin.login.authenticated.map_or(begin.start, |it| it.start);
            org != birth.org && was_cut_off(facts, birth.user, org, false, since, by)
        }
        Why::NotSaid => may_be_gone || is_somebody_elses || may_be_dead(facts, presented, by),
        Why::RevokedSinceLogin => false,
    }
}

/// Reuse: by another request, or by one whose answer did arrive, for its successor was used or is gone.
fn reused(facts: &Facts<'_>, number: usize, request: &Request, row: &Row, by: Stamp) -> Option<Broken> {
    if !was_spent(facts, request.presented, by) || row.id != request.presented {
        return Some(Broken::new(Rule::HasReason, "reuse of a token that nobody had rotated", [number]));
    }
    let spent = &facts.spent[&request.presented];
    if row.rotated_to != Some(spent.successor) {
        return Some(Broken::new(Rule::SingleUse, "a token was rotated to a successor that nobody got", [number]));
    }
    let is_somebody_elses = request.binding.is_some_and(|user| user != row.user);
    let is_late = was_spent(facts, spent.successor, by) || facts.may_be_gone(spent.successor, by);
    if spent.successor == request.successor && !is_somebody_elses && !is_late {
        return Some(Broken::new(Rule::SameAnswer, "the same request sent again is said to be reuse", [number]));
    }
    None
}
