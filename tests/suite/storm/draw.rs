//! What a thread of a storm does next.

use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};
use refresh_tokens::OnReuse;
use uuid::Uuid;

use super::history::{Authenticated, By, Frame, Login, Op, Request, Row, Target};
use super::known::Known;
use super::{Profile, Under};

/// Few, so that the threads collide.
const USERS: u128 = 4;
const ORGS: u128 = 3;

/// The most requests of a batch.
const BATCH: u32 = 8;

/// What a thread does next.
pub(super) enum Drawn {
    One(Op),
    Batch { requests: Vec<Request>, frame: Frame },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Create,
    Rotate,
    RotateMany,
    PresentOld,
    SendAgain,
    GetValid,
    CheckReuse,
    GetActive,
    ListSessions,
    RevokeOne,
    RevokeSession,
    RevokeUser,
    RevokeOrg,
    RevokeEveryone,
    Expire,
    Age,
    CleanUp,
    CleanUpBy,
}

/// In thousandths.
const OFTEN: &[(u32, Kind)] = &[
    (160, Kind::Create),
    (255, Kind::Rotate),
    (40, Kind::RotateMany),
    (90, Kind::PresentOld),
    (100, Kind::SendAgain),
    (45, Kind::GetValid),
    (20, Kind::CheckReuse),
    (30, Kind::GetActive),
    (20, Kind::ListSessions),
    (40, Kind::RevokeOne),
    (60, Kind::RevokeSession),
    (45, Kind::RevokeUser),
    (7, Kind::RevokeOrg),
    (3, Kind::RevokeEveryone),
    (25, Kind::Expire),
    (40, Kind::Age),
    (10, Kind::CleanUp),
    (10, Kind::CleanUpBy),
];

/// The draws of one operation follow from the seed, the thread and the operation's number, whatever happened before;
/// which token is meant by them does depend on that.
pub(super) fn rng(seed: u64, thread: usize, operation: usize) -> TestRng {
    let mut bytes = [0; 32];
    for (place, number) in bytes.chunks_exact_mut(8).zip([seed, thread as u64, operation as u64]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

pub(super) fn user(rng: &mut TestRng) -> Uuid {
    Uuid::from_u128(0xa_0000 + rng.random_range(0..USERS))
}

fn org(rng: &mut TestRng) -> Uuid {
    Uuid::from_u128(0xb_0000 + rng.random_range(0..ORGS))
}

fn fresh(rng: &mut TestRng) -> Uuid {
    Uuid::from_u128(rng.random())
}

/// `authenticated` is when the users were whom this thread logs in; `in_group`, whether it rotates by the group rotator
/// where it has no transaction of its own.
pub(super) fn next(
    rng: &mut TestRng,
    profile: &Profile,
    known: &mut Known,
    authenticated: Option<Authenticated>,
    in_group: bool,
) -> Drawn {
    let kind = kind(rng);
    if kind == Kind::RotateMany {
        return batch(rng, known);
    }
    let mut op = one(rng, profile, known, authenticated, kind);
    if let Op::Rotate { by: By::Rotate | By::Redeem(_), frame: frame @ Frame::Own, .. } = &mut op
        && in_group
    {
        *frame = Frame::Group;
    }
    Drawn::One(op)
}

fn one(
    rng: &mut TestRng,
    profile: &Profile,
    known: &mut Known,
    authenticated: Option<Authenticated>,
    kind: Kind,
) -> Op {
    let is_for_retention = matches!(kind, Kind::Expire | Kind::Age | Kind::CleanUp | Kind::CleanUpBy);
    if is_for_retention && !profile.cleans_up {
        return Op::ListSessions { user: user(rng) };
    }
    match kind {
        Kind::GetActive => Op::GetActive { user: user(rng) },
        Kind::ListSessions => Op::ListSessions { user: user(rng) },
        Kind::CleanUp => Op::CleanUp,
        Kind::CleanUpBy => Op::CleanUpBy { archives: rng.random(), batch: rng.random_range(50..=250) },
        Kind::RevokeOrg => revoke(rng, |rng| Target::Org(org(rng))),
        Kind::RevokeEveryone => Op::Revoke { target: Target::Everyone, frame: Frame::Own },
        Kind::Create => create(rng, profile, authenticated),
        // The rest needs a token.
        kind => match token(rng, known, kind) {
            Some(token) => with_token(rng, profile, known, kind, &token),
            None => create(rng, profile, authenticated),
        },
    }
}

fn kind(rng: &mut TestRng) -> Kind {
    let mut pick: u32 = rng.random_range(0..1_000);
    for (weight, kind) in OFTEN {
        match pick.checked_sub(*weight) {
            None => return *kind,
            Some(rest) => pick = rest,
        }
    }
    Kind::Create
}

fn token(rng: &mut TestRng, known: &Known, kind: Kind) -> Option<Row> {
    let old_in_ten = match kind {
        Kind::Rotate => 0,
        Kind::PresentOld => 10,
        Kind::Age => 6,
        Kind::Expire => 4,
        _ => 3,
    };
    if rng.random_range(0..10) < old_in_ten { known.old(rng) } else { known.live(rng) }
}

fn create(rng: &mut TestRng, profile: &Profile, authenticated: Option<Authenticated>) -> Op {
    let authenticated = authenticated.filter(|_| rng.random_ratio(2, 3));
    let is_short = rng.random_ratio(1, 6) && profile.cleans_up;
    Op::Create(Login { token: fresh(rng), user: user(rng), org: org(rng), authenticated, is_short })
}

fn with_token(rng: &mut TestRng, profile: &Profile, known: &mut Known, kind: Kind, token: &Row) -> Op {
    match kind {
        Kind::GetValid => Op::GetValid(token.id),
        Kind::CheckReuse => Op::CheckReuse(token.id),
        Kind::Expire => Op::Expire(token.id),
        Kind::Age if rng.random() => Op::Age(token.id),
        Kind::Age => Op::AgeBetween(token.session),
        Kind::RevokeOne if rng.random() => revoke(rng, |_| Target::Token(token.id)),
        Kind::RevokeOne => revoke(rng, |_| Target::Hash(token.id)),
        Kind::RevokeSession => revoke(rng, |rng| match rng.random_range(0..4) {
            0 => Target::Chain(token.id),
            2 => Target::Live(token.session),
            1 => Target::Session(token.session),
            _ => Target::SessionOf(token.id),
        }),
        Kind::RevokeUser => revoke(rng, |rng| match rng.random_range(0..3) {
            0 => Target::User(token.user),
            1 if rng.random() => Target::Except { user: token.user, keep: token.id },
            1 => Target::ExceptSession { user: token.user, session: token.session },
            _ if rng.random() => Target::Member { user: token.user, org: token.org },
            // Sessions of other organisations may be switching to it.
            _ => Target::Member { user: token.user, org: org(rng) },
        }),
        Kind::SendAgain => match known.request(rng) {
            Some(request) => Op::Rotate { by: by(rng, profile, &request), request, frame: frame(rng, 0) },
            None => Op::GetValid(token.id),
        },
        _ => rotate(rng, profile, known, token),
    }
}

fn revoke(rng: &mut TestRng, target: impl Fn(&mut TestRng) -> Target) -> Op {
    let target = target(rng);
    // One of a whole organisation would hold every gate of the table until the host's COMMIT.
    let frame = if matches!(target, Target::Org(_)) { Frame::Own } else { frame(rng, 10) };
    Op::Revoke { target, frame }
}

fn request(rng: &mut TestRng, token: &Row) -> Request {
    let switch = rng.random_ratio(1, 3).then(|| org(rng));
    let binding = match rng.random_range(0..20) {
        0..2 => Some(user(rng)),
        2..10 => Some(token.user),
        _ => None,
    };
    Request { presented: token.id, successor: fresh(rng), org: switch, binding }
}

fn batch(rng: &mut TestRng, known: &mut Known) -> Drawn {
    let (frame, size) = (frame(rng, 10), rng.random_range(1..=BATCH));
    let requests: Vec<Request> = if frame == Frame::Own {
        let mut requests = Vec::new();
        for _ in 0..size {
            let request = of_batch(rng, known, &requests);
            requests.push(request);
        }
        requests
    } else {
        of_batch_for_a_host(rng, known, size)
    };
    // As of a single one: what is rolled back must not be anywhere.
    if frame != Frame::RolledBack {
        for request in &requests {
            known.send(*request);
        }
    }
    Drawn::Batch { requests, frame }
}

/// Live, dead and unknown tokens, requests that were sent before, and such as have to do with one of the same batch.
fn of_batch(rng: &mut TestRng, known: &Known, before: &[Request]) -> Request {
    let (pick, other) = (rng.random_range(0..20), rng.random::<u32>() as usize);
    let other = (!before.is_empty()).then(|| before[other % before.len()]);
    let unknown =
        |rng: &mut TestRng| Request { presented: fresh(rng), successor: fresh(rng), org: None, binding: None };
    let drawn = match (pick, other) {
        (0..2, Some(other)) => Some(other),
        (2..4, Some(other)) => Some(Request { successor: fresh(rng), ..other }),
        (4..6, Some(other)) => Some(Request { presented: other.successor, successor: fresh(rng), ..other }),
        (6, _) => None,
        (7..9, _) => known.old(rng).map(|token| request(rng, &token)),
        (9..12, _) => known.request(rng),
        _ => known.live(rng).map(|token| request(rng, &token)),
    };
    drawn.unwrap_or_else(|| unknown(rng))
}

/// It keeps its locks and waits for others: so at most one token of each user, beside whom it holds nothing that a
/// revocation of that user waits for, and no switch, which needs a gate.
fn of_batch_for_a_host(rng: &mut TestRng, known: &Known, size: u32) -> Vec<Request> {
    let mut tokens: Vec<Row> = Vec::new();
    for _ in 0..size {
        let token = if rng.random_ratio(1, 8) { known.old(rng) } else { known.live(rng) };
        tokens.extend(token.filter(|token| tokens.iter().all(|other| other.user != token.user)));
    }
    tokens.iter().map(|token| Request { org: None, ..request(rng, token) }).collect()
}

fn rotate(rng: &mut TestRng, profile: &Profile, known: &mut Known, token: &Row) -> Op {
    let request = request(rng, token);
    let frame = frame(rng, 8);
    // The successor of a rotation that was rolled back must not be anywhere, so nobody else is told of it.
    if frame != Frame::RolledBack {
        known.send(request);
    }
    Op::Rotate { by: by(rng, profile, &request), request, frame }
}

fn by(rng: &mut TestRng, profile: &Profile, request: &Request) -> By {
    // The reference knows no cutoffs, so it must not switch.
    if profile.under == Under::TheReference && request.org.is_none() && rng.random_ratio(1, 2) {
        return By::Reference;
    }
    match rng.random_range(0..20) {
        0..8 => By::Rotate,
        8..10 => By::Guard,
        10..13 => By::Redeem(OnReuse::RevokeSession),
        13..15 => By::Redeem(OnReuse::EndSession),
        15..17 => By::Redeem(OnReuse::RevokeChain),
        17 => By::Redeem(OnReuse::RevokeUser),
        _ => By::Redeem(OnReuse::ReportOnly),
    }
}

/// A host's transaction in one of four cases; so many in a hundred calls are rolled back on purpose.
fn frame(rng: &mut TestRng, rolled_back: u32) -> Frame {
    let pick = rng.random_range(0..100);
    if pick < rolled_back {
        Frame::RolledBack
    } else if pick < 25 {
        Frame::Committed
    } else {
        Frame::Own
    }
}
