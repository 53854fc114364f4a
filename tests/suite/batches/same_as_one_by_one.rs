//! Any batch, on any tokens, beside the same requests made one after the other in a table of the same rows.

use std::cell::RefCell;

use diesel::prelude::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{Binding, NewRefreshToken, RefreshTokenRepository, Result, Rotation, SessionOptions};
use refresh_tokens::{RotationRequest, Successor, TokenHash};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::in_days;
use uuid::Uuid;

use crate::common::expire;

/// What a token has gone through before.
#[derive(Debug, Clone, Copy)]
enum Past {
    None,
    Rotated,
    Revoked,
    Expired,
}

/// A request, in numbers that are taken modulo what there is.
#[derive(Debug, Clone)]
struct Draw {
    /// A token; or beyond them the successor of a request, or nobody's.
    presented: usize,
    /// 0 and 1 have the id, or the hash, of a token or of another request; the others have their own.
    taken: u8,
    taken_from: usize,
    /// 0 is a stranger's, 1 the owner's, 2 the owner's in another organisation, and the others are nobody's.
    binding: u8,
    /// 0 to another organisation, 1 to the same, and the others say nothing.
    org: u8,
    born_expired: bool,
    /// It repeats one before it.
    same_as: Option<usize>,
}

fn draw() -> impl Strategy<Value = Draw> {
    let same_as = prop_oneof![4 => Just(None), 1 => (0_usize..8).prop_map(Some)];
    let born_expired = prop_oneof![9 => Just(false), 1 => Just(true)];
    (0_usize..12, 0_u8..12, 0_usize..12, 0_u8..8, 0_u8..8, born_expired, same_as).prop_map(
        |(presented, taken, taken_from, binding, org, born_expired, same_as)| Draw {
            presented,
            taken,
            taken_from,
            binding,
            org,
            born_expired,
            same_as,
        },
    )
}

fn past() -> impl Strategy<Value = Past> {
    prop_oneof![4 => Just(Past::None), 1 => Just(Past::Rotated), 1 => Just(Past::Revoked), 1 => Just(Past::Expired)]
}

const USER: u128 = 1 << 64;
const ORG: u128 = 2 << 64;

fn hash_of(id: Uuid) -> TokenHash {
    TokenHash::new(format!("hash of {id}")).unwrap()
}

fn token_id(index: usize) -> Uuid {
    Uuid::from_u128(0x1_0000 + index as u128)
}

fn successor_id(index: usize) -> Uuid {
    Uuid::from_u128(0x2_0000 + index as u128)
}

/// The id that stands for a number: of a token, of the successor of a request, or of neither.
fn someones_id(number: usize, tokens: usize, requests: usize) -> Uuid {
    match number {
        token if token < tokens => token_id(token),
        other if other < tokens + requests => successor_id(other - tokens),
        _ => Uuid::from_u128(0x3_0000 + number as u128),
    }
}

type Request = (TokenHash, Successor, Binding);

fn requests(draws: &[Draw], tokens: usize) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for (index, draw) in draws.iter().enumerate() {
        if let Some(same) = draw.same_as.filter(|same| *same < requests.len()) {
            requests.push(requests[same].clone());
            continue;
        }
        let someones = |number| someones_id(number, tokens, draws.len());
        let own = successor_id(index);
        let (id, hash) = match draw.taken {
            0 => (someones(draw.taken_from), hash_of(own)),
            1 => (own, hash_of(someones(draw.taken_from))),
            _ => (own, hash_of(own)),
        };
        let mut successor = Successor::expiring_at(id, hash, in_days(if draw.born_expired { -1 } else { 30 }));
        match draw.org {
            0 => successor = successor.active_org_id(Uuid::from_u128(ORG + 1)),
            1 => successor = successor.active_org_id(Uuid::from_u128(ORG)),
            _ => {}
        }
        let binding = match draw.binding {
            0 => Binding::user(Uuid::from_u128(USER + 1)),
            1 => Binding::user(Uuid::from_u128(USER)).org(Uuid::from_u128(ORG)),
            2 => Binding::user(Uuid::from_u128(USER)).org(Uuid::from_u128(ORG + 1)),
            _ => Binding::ANY,
        };
        requests.push((hash_of(someones(draw.presented)), successor, binding));
    }
    requests
}

fn prepare(conn: &mut PgConnection, pasts: &[Past]) {
    diesel::delete(dsl::refresh_tokens).execute(conn).unwrap();
    for (index, past) in pasts.iter().enumerate() {
        let mut tokens = RefreshTokenRepository::new(conn);
        let id = token_id(index);
        tokens
            .create(&NewRefreshToken {
                id,
                user_id: Uuid::from_u128(USER),
                token_hash: hash_of(id),
                active_org_id: Uuid::from_u128(ORG),
                expires_at: in_days(30),
                session: SessionOptions::default(),
            })
            .unwrap();
        match past {
            Past::None => {}
            Past::Rotated => {
                let spent = Uuid::from_u128(0x4_0000 + index as u128);
                let successor = Successor::expiring_at(spent, hash_of(spent), in_days(30));
                assert!(matches!(tokens.rotate(&hash_of(id), &successor, Binding::ANY), Ok(Rotation::Rotated(_))));
            }
            Past::Revoked => assert!(tokens.revoke(id).unwrap().is_revoked()),
            Past::Expired => expire(conn, &hash_of(id), 1),
        }
    }
}

/// What an outcome says, but for instants and random ids.
fn said(outcome: &Result<Rotation>) -> String {
    match outcome {
        Ok(Rotation::Rotated(token)) => format!("{} of {}", token.id, token.generation),
        Ok(Rotation::Repeated(token)) => format!("{} again", token.id),
        Ok(Rotation::Refused(refusal)) => format!("{refusal} {:?}", refusal.token().map(|token| token.id)),
        Err(error) => format!("{error:?}"),
    }
}

type Row = (Uuid, TokenHash, Option<Uuid>, i32, Uuid);

fn rows(conn: &mut PgConnection) -> Vec<Row> {
    dsl::refresh_tokens
        .select((dsl::id, dsl::token_hash, dsl::rotated_to, dsl::generation, dsl::active_org_id))
        .order(dsl::id)
        .load(conn)
        .unwrap()
}

left_out!(under serializable:
    "its schedule is one of READ COMMITTED: who waits there is rolled back here, and comes later");
#[test]
fn a_batch_answers_and_leaves_what_one_by_one_does() {
    let [one_by_one, together] = [(); 2].map(|()| Database::migrated());
    let conns = RefCell::new([one_by_one.connect(), together.connect()]);
    let cases = (vec(past(), 1..6), vec(draw(), 1..10), any::<bool>());
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&cases, |(pasts, draws, in_transaction)| {
        let requests = requests(&draws, pasts.len());
        let mut conns = conns.borrow_mut();
        let [one_by_one, together] = &mut *conns;
        prepare(one_by_one, &pasts);
        prepare(together, &pasts);
        let mut tokens = RefreshTokenRepository::new(one_by_one);
        let expected: Vec<String> = requests
            .iter()
            .map(|(presented, successor, binding)| said(&tokens.rotate(presented, successor, *binding)))
            .collect();
        let batch: Vec<_> = requests
            .into_iter()
            .map(|(presented, successor, binding)| RotationRequest::new(presented, successor).binding(binding))
            .collect();
        let mut tokens = RefreshTokenRepository::new(together);
        let outcomes =
            if in_transaction { tokens.transaction(|tx| tx.rotate_many(&batch)) } else { tokens.rotate_many(&batch) };
        let outcomes: Vec<String> = outcomes.unwrap().iter().map(said).collect();
        prop_assert_eq!(outcomes, expected);
        prop_assert_eq!(rows(together), rows(one_by_one));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
