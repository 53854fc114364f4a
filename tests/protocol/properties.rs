//! What must hold in every state, by the invariant's name; and what must happen, or the model would prove nothing.

use stateright::Property;

use crate::client::{At, Client, Outcome, Then};
use crate::database::{Row, Token};
use crate::model::{Protocol, State};
use crate::verb::Verb;

pub(crate) const ONE_LIVE_TOKEN: &str = "invariant 1: one live token per session";
pub(crate) const SINGLE_USE: &str = "invariant 2: single use";
pub(crate) const REVOCATION_WINS: &str = "invariant 3: revocation wins";
pub(crate) const MARK_IS_TRUE: &str = "invariant 3: a marked reuse has had its answer";
pub(crate) const ANSWER_IS_TRUE: &str = "invariant 3: a reuse that was answered before has had its answer";
pub(crate) const KEPT: &str = "the session to keep is kept";
pub(crate) const DEAD_STAY_DEAD: &str = "invariant 5: the dead stay dead";
pub(crate) const LIMIT_IS_EXACT: &str = "a limit of sessions is exact";
pub(crate) const NO_DEADLOCK: &str = "invariant 9: every wait ends";

pub(crate) const ROTATES: &str = "a rotation succeeds";
pub(crate) const WAITS: &str = "a statement waits for a row";
pub(crate) const WAITS_AT_GATE: &str = "somebody waits at a gate";
pub(crate) const WAITS_WITH_LOCKS: &str = "a statement waits in its middle, holding locks";
pub(crate) const KEEPS_STALE_LOCK: &str = "a failed re-check leaves its lock behind";
pub(crate) const THREE_PASSES: &str = "a revocation needs three passes";
pub(crate) const WALKS_AGAIN: &str = "a walk has skipped a locked token and waits for it";
pub(crate) const LOGIN_CUT_OFF: &str = "a login comes too late";
pub(crate) const SWITCH_CUT_OFF: &str = "a switch of organisation comes too late";
pub(crate) const SWITCH_WAITS: &str = "a switch of organisation has found its gate shut and begins again";
pub(crate) const REPEATED: &str = "one request is sent twice and has one answer";
pub(crate) const GIVEN_AGAIN: &str = "a spent token is answered within its grace period";
pub(crate) const MAKES_ROOM: &str = "a login ends another session";
pub(crate) const BATCH_SKIPS: &str = "a batch skips a locked token and rotates it alone";
pub(crate) const BATCH_WAITS: &str = "a batch waits for a token while it holds another";
pub(crate) const EXPIRES: &str = "a token expires before it is rotated";
pub(crate) const CLEANS_UP: &str = "clean-up deletes a token";
pub(crate) const GONE_UNMARKED: &str = "a breach response finds its token gone";
pub(crate) const THEFT_ANSWERED: &str = "reuse ends a session";

pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONE_LIVE_TOKEN, one_live_token),
        Property::always(SINGLE_USE, single_use),
        Property::always(REVOCATION_WINS, revocation_wins),
        Property::always(MARK_IS_TRUE, mark_is_true),
        Property::always(ANSWER_IS_TRUE, answer_is_true),
        Property::always(KEPT, kept),
        Property::always(DEAD_STAY_DEAD, dead_stay_dead),
        Property::always(LIMIT_IS_EXACT, limit_is_exact),
        Property::always(NO_DEADLOCK, no_deadlock),
        Property::sometimes(ROTATES, |protocol, state| said(protocol, state, Outcome::Rotated)),
        Property::sometimes(WAITS, |protocol, state| blocked(protocol, state).any(|client| client.statement.is_some())),
        Property::sometimes(WAITS_AT_GATE, |protocol, state| {
            blocked(protocol, state).any(|client| client.statement.is_none())
        }),
        Property::sometimes(WAITS_WITH_LOCKS, |protocol, state| {
            blocked(protocol, state).filter_map(|client| client.statement.as_ref()).any(|it| !it.locked.is_empty())
        }),
        Property::sometimes(KEEPS_STALE_LOCK, keeps_stale_lock),
        Property::sometimes(THREE_PASSES, |_, state: &State| state.clients.iter().any(|client| client.passes >= 2)),
        Property::sometimes(WALKS_AGAIN, |protocol, state| {
            blocked(protocol, state).any(|client| client.at == At::AwaitSkipped)
        }),
        Property::sometimes(LOGIN_CUT_OFF, |protocol, state| {
            protocol
                .returned(state)
                .any(|(verb, _, said)| said == Outcome::CutOff && matches!(verb, Verb::LogIn { .. }))
        }),
        Property::sometimes(SWITCH_CUT_OFF, |protocol, state| {
            protocol.returned(state).any(|(verb, _, said)| said == Outcome::CutOff && verb.exchange().is_some())
        }),
        Property::sometimes(SWITCH_WAITS, |protocol, state| {
            blocked(protocol, state).any(|client| client.at == At::PassGateFirst)
        }),
        Property::sometimes(BATCH_SKIPS, |protocol, state| {
            let of_batch = |client: &Client| client.batch.outcomes.contains(&Some(Outcome::Rotated));
            protocol.running(state).map(|me| &state.clients[me]).any(|it| of_batch(it) && it.at == At::RotateAtOnce)
        }),
        Property::sometimes(BATCH_WAITS, |protocol, state| {
            let waits = |client: &Client| client.statement.as_ref().is_some_and(|it| !it.locked.is_empty());
            blocked(protocol, state).any(|client| client.at == At::RotateTogether && waits(client))
        }),
        Property::sometimes(EXPIRES, |protocol, state| said(protocol, state, Outcome::Expired)),
        Property::sometimes(CLEANS_UP, |protocol: &Protocol, state: &State| {
            protocol.table.iter().any(|row| !state.database.committed().any(|left| left.token == row.token))
        }),
        Property::sometimes(REPEATED, |protocol, state| {
            let given = winners(protocol, state);
            given.iter().enumerate().any(|(at, one)| given[..at].contains(one))
        }),
        Property::sometimes(GIVEN_AGAIN, |protocol, state| {
            protocol.returned(state).any(|(.., said)| matches!(said, Outcome::Given(_)))
        }),
        Property::sometimes(MAKES_ROOM, |protocol, state| {
            protocol.running(state).any(|me| state.clients[me].at == At::EndOldest)
        }),
        Property::sometimes(GONE_UNMARKED, |protocol, state| {
            protocol.running(state).any(|me| {
                let presented = protocol.calls[me].verb.exchange().map(|(token, _)| token);
                let is_there = presented.is_some_and(|token| state.database.read(me, token).is_some());
                state.clients[me].at == At::ReadMarked && !is_there
            })
        }),
        Property::sometimes(THEFT_ANSWERED, |_, state: &State| state.database.committed().any(|row| row.reused)),
    ]
}

fn live(state: &State) -> impl Iterator<Item = &Row> {
    state.database.committed().filter(|row| row.is_live())
}

fn one_live_token(_: &Protocol, state: &State) -> bool {
    live(state).all(|one| live(state).filter(|row| row.session == one.session).count() == 1)
}

/// A token has at most one successor, and no two presenters were given different ones.
fn single_use(protocol: &Protocol, state: &State) -> bool {
    let rows = || state.database.committed();
    let winners = winners(protocol, state);
    rows().all(|one| one.predecessor.is_none() || rows().filter(|row| row.predecessor == one.predecessor).count() == 1)
        && winners.iter().all(|(presented, got)| winners.iter().all(|other| other.0 != *presented || other.1 == *got))
}

/// What clients presented, with what they were given for it.
fn winners(protocol: &Protocol, state: &State) -> Vec<(Token, Token)> {
    protocol.returned(state).flat_map(|(verb, client, said)| rotated(verb, client, said)).collect()
}

fn rotated(verb: Verb, client: &Client, said: Outcome) -> Vec<(Token, Token)> {
    match verb {
        Verb::RotateMany { requests, .. } => {
            let each = requests.into_iter().zip(client.batch.outcomes);
            each.filter(|(_, said)| *said == Some(Outcome::Rotated)).map(|(request, _)| request).collect()
        }
        verb => match (verb.exchange(), said) {
            (Some(exchange), Outcome::Rotated) => vec![exchange],
            (Some((presented, _)), Outcome::Given(successor)) => vec![(presented, successor)],
            _ => Vec::new(),
        },
    }
}

/// What a revocation ends: the tokens of its target whose session existed when it was called, or whose login was
/// authenticated before.
fn is_promised(protocol: &Protocol, verb: Verb, client: &Client, row: &Row) -> bool {
    let is_from_before = verb.cuts_off(&protocol.table).is_none()
        || client.existed.contains(&row.session)
        || row.authenticated_at.is_some_and(|authenticated_at| authenticated_at < client.cutoff);
    is_from_before
        && verb.targets(&protocol.table, row)
        && verb.spares(&protocol.table).is_none_or(|session| session != row.session)
}

fn revocation_wins(protocol: &Protocol, state: &State) -> bool {
    protocol
        .returned(state)
        .filter(|(.., said)| *said == Outcome::Revoked)
        .all(|(verb, client, _)| !live(state).any(|row| is_promised(protocol, verb, client, row)))
}

/// Or else the answer would be left out the next time.
fn mark_is_true(_: &Protocol, state: &State) -> bool {
    let mut marked = state.database.committed().filter(|row| row.reused);
    marked.all(|marked| live(state).all(|row| row.session != marked.session))
}

/// Whoever presents a spent token and is not the first: the session has ended.
fn answer_is_true(protocol: &Protocol, state: &State) -> bool {
    protocol.returned(state).all(|(verb, _, said)| {
        let Verb::Redeem { presented, .. } = verb else { return true };
        let row = protocol.table.iter().find(|row| row.token == presented);
        said != Outcome::Reused || row.is_none_or(|row| live(state).all(|live| live.session != row.session))
    })
}

/// Unless somebody else revokes it, or it expires.
fn kept(protocol: &Protocol, state: &State) -> bool {
    let verbs = || protocol.calls.iter().map(|call| call.verb);
    let is_harmless = |verb: Verb| {
        let rotates = matches!(verb, Verb::Rotate { .. } | Verb::RotateInGuard { .. } | Verb::RotateMany { .. });
        rotates || matches!(verb, Verb::LogIn { .. })
    };
    let is_alone = |one: &Verb| verbs().all(|verb| verb == *one || is_harmless(verb));
    let mut kept = verbs().filter(is_alone).filter_map(|verb| verb.spares(&protocol.table));
    kept.all(|session| live(state).any(|row| row.session == session))
}

/// From the end of a login that is to be alone on, unless somebody logs in without a limit.
fn limit_is_exact(protocol: &Protocol, state: &State) -> bool {
    let unlimited = protocol.calls.iter().any(|call| matches!(call.verb, Verb::LogIn { .. }));
    unlimited
        || protocol.returned(state).all(|(verb, _, said)| match verb {
            Verb::LogInAlone { user, .. } if said == Outcome::LoggedIn => {
                live(state).filter(|row| row.user == user && !state.database.has_expired(row)).count() <= 1
            }
            _ => true,
        })
}

fn dead_stay_dead(_: &Protocol, state: &State) -> bool {
    live(state).all(|row| !state.ended.contains(&row.token)) && no_dead_token_is_given(state)
}

/// Until COMMIT it is locked, so that it cannot end meanwhile.
fn no_dead_token_is_given(state: &State) -> bool {
    let given = state.clients.iter().filter_map(|client| match client.at {
        At::Commit(Then::Finish(Outcome::Given(token))) => Some(token),
        _ => None,
    });
    given.into_iter().all(|token| live(state).any(|row| row.token == token))
}

/// A cycle of waits ends with only its members running, whatever the others do.
fn no_deadlock(protocol: &Protocol, state: &State) -> bool {
    let mut running = protocol.running(state).peekable();
    running.peek().is_none() || !running.all(|me| protocol.is_blocked(state, me))
}

fn said(protocol: &Protocol, state: &State, outcome: Outcome) -> bool {
    protocol.returned(state).any(|(.., said)| said == outcome)
}

fn blocked<'a>(protocol: &'a Protocol, state: &'a State) -> impl Iterator<Item = &'a Client> {
    protocol.running(state).filter(|me| protocol.is_blocked(state, *me)).map(|me| &state.clients[me])
}

fn keeps_stale_lock(protocol: &Protocol, state: &State) -> bool {
    let is_refused = |me: &usize| matches!(state.clients[*me].at, At::ReadWhyNot | At::Rollback(Then::AskWhyNot));
    protocol.running(state).filter(is_refused).any(|me| {
        let presented = protocol.calls[me].verb.exchange().and_then(|(token, _)| state.database.read(me, token));
        presented.is_some_and(|row| !row.is_live() && state.database.locked_by(row.token) == Some(me))
    })
}
