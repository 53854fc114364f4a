//! The complete protocol keeps every invariant in every state: all pairs and triples of verbs on a small table, and
//! chosen companies on larger ones.

mod clean_up;

use crate::algorithm::Algorithm;
use crate::check::Checked;
use crate::database::{Row, Session, Token};
use crate::model::Protocol;
use crate::properties::{
    BATCH_SKIPS, BATCH_WAITS, CLEANS_UP, EXPIRES, GIVEN_AGAIN, KEEPS_STALE_LOCK, LOGIN_CUT_OFF, MAKES_ROOM, REPEATED,
    ROTATES, SWITCH_CUT_OFF, SWITCH_WAITS, THEFT_ANSWERED, THREE_PASSES, WAITS, WAITS_AT_GATE, WAITS_WITH_LOCKS,
    WALKS_AGAIN,
};
use crate::tables::{ALICE, BOB, HERE, S0, S1, T0, T1, T2, THERE, session, short_lived};
use crate::verb::{OnReuse, Verb};

/// A spent token and a live one, of which those named expire.
fn chain(expire: &[Token]) -> Vec<Row> {
    short_lived(session(S0, ALICE, HERE, &[T0, T1]), expire)
}

/// A token that the client asks for.
fn fresh(client: u8) -> Token {
    Token(10 + client)
}

fn rotate(client: u8, presented: Token) -> Verb {
    Verb::Rotate { presented, successor: fresh(client), org: None }
}

fn guard(client: u8, presented: Token) -> Verb {
    Verb::RotateInGuard { presented, successor: fresh(client) }
}

/// Of the tokens in this order.
fn batch(client: u8, first: Token, second: Token, hosted: bool) -> Verb {
    Verb::RotateMany { requests: [(first, fresh(client)), (second, Token(20 + client))], hosted }
}

fn switch(client: u8, presented: Token) -> Verb {
    Verb::Rotate { presented, successor: fresh(client), org: Some(THERE) }
}

fn redeem(client: u8, presented: Token, on_reuse: OnReuse) -> Verb {
    Verb::Redeem { presented, successor: fresh(client), on_reuse }
}

fn log_in(client: u8, told: bool) -> Verb {
    Verb::LogIn { token: fresh(client), session: Session(10 + client), user: ALICE, org: HERE, told }
}

fn log_in_alone(client: u8) -> Verb {
    Verb::LogInAlone { token: fresh(client), session: Session(10 + client), user: ALICE, org: HERE }
}

const REVOKE_ALICE: Verb = Verb::RevokeUser { user: ALICE, keep: None };
const ALICE_EXCEPT_T1: Verb = Verb::RevokeUser { user: ALICE, keep: Some(T1) };

/// Every verb that one client can call on a chain, but those that walk over the table.
fn short_verbs(client: u8) -> Vec<Verb> {
    vec![
        rotate(client, T0),
        rotate(client, T1),
        guard(client, T1),
        switch(client, T1),
        // The same request, whoever sends it.
        Verb::Rotate { presented: T1, successor: T2, org: None },
        redeem(client, T1, OnReuse::Session),
        redeem(client, T0, OnReuse::Session),
        redeem(client, T1, OnReuse::SessionAfterGrace),
        redeem(client, T0, OnReuse::SessionAfterGrace),
        redeem(client, T0, OnReuse::Chain),
        redeem(client, T0, OnReuse::User),
        log_in(client, true),
        log_in(client, false),
        log_in_alone(client),
        Verb::Revoke(T1),
        Verb::RevokeChain(T0),
        Verb::RevokeSession(S0),
        REVOKE_ALICE,
        ALICE_EXCEPT_T1,
        Verb::RevokeMember(ALICE, HERE),
        Verb::RevokeMember(ALICE, THERE),
        Verb::CleanUp,
        Verb::CleanUpSpent,
    ]
}

const WALKS: [Verb; 3] = [Verb::RevokeOrg(HERE), Verb::RevokeOrg(THERE), Verb::RevokeEverybody];

/// All ways to choose one verb for each of two clients, whoever is first.
fn pairs(verbs: impl Fn(u8) -> Vec<Verb>) -> Vec<Vec<Verb>> {
    let second = verbs(1);
    let pairs = verbs(0).into_iter().enumerate();
    pairs.flat_map(|(at, first)| second[at..].iter().map(move |second| vec![first, *second])).collect()
}

#[test]
fn all_pairs() {
    let mut checked = Checked::many();
    for verbs in pairs(|client| [short_verbs(client), WALKS.to_vec()].concat()) {
        for expire in [&[T0][..], &[T1], &[T0, T1]] {
            checked.check(&chain(expire), &verbs);
        }
    }
    checked.report(&[
        ROTATES,
        WAITS,
        WAITS_AT_GATE,
        WAITS_WITH_LOCKS,
        KEEPS_STALE_LOCK,
        THREE_PASSES,
        WALKS_AGAIN,
        LOGIN_CUT_OFF,
        SWITCH_CUT_OFF,
        SWITCH_WAITS,
        EXPIRES,
        CLEANS_UP,
        THEFT_ANSWERED,
        REPEATED,
        GIVEN_AGAIN,
        MAKES_ROOM,
    ]);
}

#[test]
fn all_triples_without_a_walk() {
    let mut checked = Checked::many();
    let third = short_verbs(2);
    for (at, first) in short_verbs(0).into_iter().enumerate() {
        for (at, second) in short_verbs(1).into_iter().enumerate().skip(at) {
            for third in &third[at..] {
                checked.check(&chain(&[T0]), &[first, second, *third]);
            }
        }
    }
    checked.report(&[ROTATES, WAITS_WITH_LOCKS, KEEPS_STALE_LOCK, THREE_PASSES, REPEATED, THEFT_ANSWERED, CLEANS_UP]);
}

#[test]
fn all_triples_with_a_walk() {
    let mut checked = Checked::many();
    for verbs in pairs(short_verbs) {
        for walk in WALKS {
            checked.check(&chain(&[T0]), &[&verbs[..], &[walk]].concat());
        }
    }
    checked.report(&[ROTATES, WALKS_AGAIN, LOGIN_CUT_OFF, SWITCH_CUT_OFF, SWITCH_WAITS, THEFT_ANSWERED, CLEANS_UP]);
}

#[test]
fn all_triples_with_two_walks_or_three() {
    let mut checked = Checked::many();
    for verb in [short_verbs(0), WALKS.to_vec()].concat() {
        for walks in pairs(|_| WALKS.to_vec()) {
            checked.check(&chain(&[T0]), &[&[verb], &walks[..]].concat());
        }
    }
    checked.report(&[ROTATES, WALKS_AGAIN, LOGIN_CUT_OFF, SWITCH_CUT_OFF, THEFT_ANSWERED, CLEANS_UP]);
}

/// What fails has promised nothing, and stands in nobody's way.
#[test]
fn all_pairs_of_which_one_may_fail() {
    let mut checked = Checked::many();
    for verbs in pairs(|client| [short_verbs(client), WALKS.to_vec()].concat()) {
        let protocol = Protocol::new(Algorithm::COMPLETE, &chain(&[T0]), &verbs);
        checked.check_protocol(Protocol { may_fail: true, ..protocol });
    }
    checked.report(&[ROTATES, WALKS_AGAIN, THREE_PASSES, THEFT_ANSWERED]);
}

/// In one transaction, as its docstrings ask; its successors are members of the session by the table's trigger.
#[test]
fn the_reference_rotates_beside_revocations_of_the_library() {
    let mut checked = Checked::all();
    for verb in [short_verbs(2), WALKS.to_vec()].concat() {
        let mut protocol = Protocol::new(Algorithm::COMPLETE, &chain(&[T0]), &[rotate(0, T1), rotate(1, T1), verb]);
        protocol.calls[0].algorithm = Algorithm::REFERENCE;
        checked.check_protocol(protocol);
    }
    checked.report(&[ROTATES, THREE_PASSES, WALKS_AGAIN, THEFT_ANSWERED]);
}

/// As in the other walks, but with locks on more than one row.
#[test]
fn a_walk_in_larger_windows() {
    let mut checked = Checked::all();
    let table = [session(S0, ALICE, HERE, &[T0]), session(S1, ALICE, HERE, &[T1])].concat();
    for verb in short_verbs(1) {
        for walk in WALKS {
            let protocol = Protocol::new(Algorithm::COMPLETE, &table, &[rotate(0, T0), verb, walk]);
            checked.check_protocol(Protocol { window: 2, ..protocol });
        }
    }
    checked.report(&[ROTATES, WALKS_AGAIN, LOGIN_CUT_OFF, SWITCH_CUT_OFF]);
}

/// The successor is rotated in its turn, while its predecessor is revoked.
#[test]
fn two_generations_beside_a_revocation() {
    let mut checked = Checked::all();
    let two = [rotate(0, T1), rotate(1, fresh(0))];
    for revocation in [
        Verb::RevokeChain(T0),
        Verb::RevokeSession(S0),
        REVOKE_ALICE,
        ALICE_EXCEPT_T1,
        Verb::RevokeMember(ALICE, HERE),
        Verb::RevokeOrg(HERE),
        redeem(2, T0, OnReuse::Session),
        redeem(2, T1, OnReuse::Session),
    ] {
        checked.check(&chain(&[]), &[&two[..], &[revocation]].concat());
        checked.check(&chain(&[]), &[&two[..], &[revocation, Verb::Revoke(T1)]].concat());
        checked.check(&chain(&[T0, T1]), &[&two[..], &[revocation, Verb::CleanUp]].concat());
    }
    checked.report(&[ROTATES, THREE_PASSES]);
}

/// The predecessor comes again while its successor is used, by whoever holds that: one of the two is a thief.
#[test]
fn the_grace_period_beside_the_successors_first_use() {
    let mut checked = Checked::all();
    let presents = |client, presented| redeem(client, presented, OnReuse::SessionAfterGrace);
    for third in [presents(2, T1), rotate(2, fresh(0)), presents(2, T0), Verb::RevokeSession(S0), log_in_alone(2)] {
        for expire in [&[][..], &[T0]] {
            checked.check(&chain(expire), &[presents(0, T1), rotate(1, fresh(0)), third]);
        }
        checked.check(&chain(&[T0]), &[presents(0, T1), rotate(1, fresh(0)), third, Verb::CleanUp]);
    }
    checked.report(&[ROTATES, GIVEN_AGAIN, THEFT_ANSWERED, MAKES_ROOM]);
}

/// The sessions to end are two, and others are about to begin.
#[test]
fn logins_that_make_room() {
    const OF_S1: Token = Token(5);
    let mut checked = Checked::all();
    let table = [chain(&[]), session(S1, ALICE, THERE, &[OF_S1])].concat();
    for third in [short_verbs(2), vec![rotate(2, OF_S1)], WALKS.to_vec()].concat() {
        checked.check(&table, &[log_in_alone(0), rotate(1, T1), third]);
        checked.check(&table, &[log_in_alone(0), log_in_alone(1), third]);
    }
    checked.report(&[ROTATES, MAKES_ROOM, WAITS_AT_GATE, WAITS]);
}

/// A session that comes from an earlier authentication, by way of another organisation.
#[test]
fn a_login_that_switches_beside_revocations() {
    let mut checked = Checked::all();
    for told in [true, false] {
        let session = [log_in(0, told), switch(1, fresh(0))];
        for revocation in [
            Verb::RevokeMember(ALICE, HERE),
            Verb::RevokeMember(ALICE, THERE),
            Verb::RevokeOrg(HERE),
            Verb::RevokeOrg(THERE),
            Verb::RevokeEverybody,
            REVOKE_ALICE,
        ] {
            checked.check(&[], &[&session[..], &[revocation]].concat());
            checked.check(&[], &[&session[..], &[revocation, Verb::RevokeMember(ALICE, THERE)]].concat());
        }
    }
    checked.report(&[ROTATES, LOGIN_CUT_OFF, SWITCH_CUT_OFF, WALKS_AGAIN]);
}

/// Of two sessions of one user, whatever else happens to them.
#[test]
fn batches_beside_everything() {
    const OF_S1: Token = Token(5);
    let mut checked = Checked::many();
    let table = |expire: &[Token]| short_lived([chain(&[]), session(S1, ALICE, HERE, &[OF_S1])].concat(), expire);
    // One request is sent in two batches, or in a batch and alone.
    let same = |client| Verb::RotateMany { requests: [(T1, Token(30)), (OF_S1, fresh(client))], hosted: false };
    let same_alone = Verb::Rotate { presented: T1, successor: Token(30), org: None };
    // The second request presents what the first one makes, or what somebody else does.
    let births = [batch(0, T1, fresh(0), false), batch(0, fresh(1), OF_S1, false)];
    let hosted = batch(0, T1, OF_S1, true);
    let batches = |client| vec![batch(client, T1, OF_S1, false), batch(client, OF_S1, T1, false), same(client)];
    let others = [short_verbs(1), vec![rotate(1, OF_S1), same_alone], WALKS.to_vec(), batches(1)].concat();
    for other in &others {
        for one in [batches(0), births.to_vec(), vec![hosted]].concat() {
            checked.check(&table(&[T1]), &[one, *other]);
        }
        for third in [batch(2, OF_S1, T1, false), Verb::RevokeSession(S0), REVOKE_ALICE, rotate(2, OF_S1)] {
            checked.check(&table(&[T0]), &[batch(0, T1, OF_S1, false), *other, third]);
        }
    }
    // Where a host waits, no circle closes; but for one that it has to bear (`counterexamples`).
    let host = batch(1, OF_S1, T1, true);
    let others = [&short_verbs(2)[..], &[batch(2, T1, OF_S1, true), batch(2, OF_S1, T1, false)]].concat();
    for other in others {
        checked.check(&table(&[]), &[hosted, host, other]);
    }
    checked.report(&[
        BATCH_SKIPS,
        BATCH_WAITS,
        ROTATES,
        WAITS,
        THREE_PASSES,
        REPEATED,
        EXPIRES,
        THEFT_ANSWERED,
        CLEANS_UP,
    ]);
}

/// What a later pass finds may be older than what an earlier one has locked.
#[test]
fn two_revocations_of_a_user_beside_logins() {
    let mut checked = Checked::all();
    for revocation in [REVOKE_ALICE, Verb::RevokeMember(ALICE, HERE), Verb::RevokeEverybody] {
        for told in [true, false] {
            checked.check(&[], &[log_in(0, false), log_in(1, told), REVOKE_ALICE, revocation]);
            checked.check(&chain(&[]), &[log_in(0, told), rotate(1, T1), REVOKE_ALICE, revocation]);
        }
    }
    checked.report(&[ROTATES, LOGIN_CUT_OFF, WAITS_AT_GATE]);
}

/// Two users, each with a gate, and two organisations.
#[test]
fn tenants() {
    let mut checked = Checked::all();
    let table = [session(S0, ALICE, HERE, &[T0, T1]), session(S1, BOB, THERE, &[T2])].concat();
    let bob = Verb::RevokeUser { user: BOB, keep: None };
    for verbs in [
        [switch(0, T1), rotate(1, T2), Verb::RevokeOrg(THERE)],
        [switch(0, T1), rotate(1, T2), Verb::RevokeEverybody],
        [switch(0, T1), bob, Verb::RevokeOrg(THERE)],
        [switch(0, T1), REVOKE_ALICE, Verb::RevokeOrg(THERE)],
        [rotate(0, T1), Verb::RevokeOrg(HERE), Verb::RevokeEverybody],
        [redeem(0, T0, OnReuse::User), bob, Verb::RevokeEverybody],
        [log_in(0, true), rotate(1, T1), Verb::RevokeEverybody],
        [log_in(0, true), bob, Verb::RevokeOrg(HERE)],
    ] {
        checked.check(&table, &verbs);
    }
    // Two sessions of one user: the other one goes, this one stays.
    let table = [session(S0, ALICE, HERE, &[T0, T1]), session(S1, ALICE, THERE, &[T2])].concat();
    for verbs in [
        [rotate(0, T1), rotate(1, T2), ALICE_EXCEPT_T1],
        [rotate(0, T1), rotate(1, T2), Verb::RevokeUser { user: ALICE, keep: Some(T0) }],
        [rotate(0, T1), rotate(1, T2), REVOKE_ALICE],
        [switch(0, T1), rotate(1, T2), Verb::RevokeMember(ALICE, THERE)],
        [redeem(0, T1, OnReuse::User), redeem(1, T1, OnReuse::User), rotate(2, T2)],
        [redeem(0, T1, OnReuse::Session), redeem(1, T1, OnReuse::Session), ALICE_EXCEPT_T1],
    ] {
        checked.check(&table, &verbs);
    }
    checked.report(&[ROTATES, SWITCH_CUT_OFF, THREE_PASSES, WALKS_AGAIN]);
}
