//! A message that is held for longer than any bound: which waits end by themselves, in which error, and which do not.

use std::iter;
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use refresh_tokens::{Binding, Error, RefreshTokenStore, Result, StoreConfig, Wait};
use refresh_tokens_support::{Direction, Fault, Wire, race};

use crate::cases::{self, Case};
use crate::jobs;
use crate::lab::{Lab, server};
use crate::print;

/// The shortest wait for an answer while a connection is opened: libpq makes two seconds of one.
const NETWORK: Duration = Duration::from_secs(1);

/// Until a caller is told that there is no connection.
const POOL: Duration = Duration::from_secs(6);

/// Each waits for clocks and for nothing else.
const WORKERS: usize = 32;

/// On a busy machine.
const BOUND: Duration = Duration::from_secs(20);

fn config() -> StoreConfig {
    StoreConfig::default()
        .network_timeout(NETWORK)
        .pool_timeout(POOL)
        .lock_timeout(Duration::from_millis(100))
        .statement_timeout(Duration::from_millis(200))
}

/// What came of a message that was held on a new connection.
struct Held {
    message: (Direction, usize),
    befell: String,
    is_for_good: bool,
    opened: Result<RefreshTokenStore>,
    took: Duration,
}

/// In the handshake the attempt is given up for another one. After it the connection is set up by statements, which have
/// no bound while the network lives: then whoever waits is told that no connection could be opened, in time.
#[test]
fn a_message_held_while_a_connection_is_opened_is_not_waited_for() {
    let lab = Lab::new(&config());
    lab.wire.arm(jobs::NEVER);
    drop(PgConnection::establish(&lab.host.url).unwrap());
    let ([_, of_server], _) = lab.wire.counted();
    let messages = iter::once((Direction::ToServer, 0)).chain((0..of_server).map(|at| (Direction::ToClient, at)));
    let holds = messages.flat_map(|message| [(message, false), (message, true)]);
    let url = lab.url();
    let mut held =
        jobs::shared_out(WORKERS, holds, || move |(message, is_for_good)| connect(url, message, is_for_good));
    held.sort_by_key(|held| (held.message.0 as usize, held.message.1));
    let mut opened = 0;
    for Held { befell, is_for_good, opened: outcome, took, .. } in &held {
        assert!(*took < BOUND, "{befell} held: {outcome:?} took {took:?}");
        match outcome {
            Ok(_) if !is_for_good => opened += 1,
            Err(Error::Unreachable { .. }) => {}
            other => panic!("{befell} held, for good {is_for_good}: {other:?}"),
        }
    }
    let longest = held.iter().map(|held| held.took).max().unwrap();
    print(&format!(
        "{} messages held on new connections, {opened} of them for another one; the longest for {longest:?}",
        held.len()
    ));
    // The handshake ends where the server says for the first time that it is ready.
    let in_handshake: Vec<&Held> =
        held.iter().filter(|held| !held.is_for_good).take_while(|held| !held.befell.contains(": Z")).collect();
    assert!(in_handshake.len() >= 10 && in_handshake.iter().all(|held| held.opened.is_ok()));
}

/// By a wire of its own.
fn connect(url: &str, (direction, message): (Direction, usize), is_for_good: bool) -> Held {
    let wire = Wire::to(server());
    let fault = Fault::Hold { direction, message };
    if is_for_good {
        wire.arm_for_good(fault);
    } else {
        wire.arm(fault);
    }
    let started = Instant::now();
    let opened = RefreshTokenStore::connect(&wire.url(url), &config().max_connections(1));
    let took = started.elapsed();
    let befell = wire.disarm().unwrap();
    wire.release();
    Held { message: (direction, message), befell, is_for_good, opened, took }
}

/// Behind a call whose answer is held, everybody is told in time: who wants the connection, and who wants the lock. The
/// call itself has no bound while the network lives: the server has done what it bounds, and the kernel is answered.
#[test]
fn an_answer_that_is_held_is_waited_for_and_nobody_waits_behind_it_for_long() {
    let mut lab = Lab::new(&config());
    let rotate = cases::all().into_iter().find(|case| case.name == "rotate").unwrap();
    let undisturbed = lab.undisturbed(&rotate);
    lab.reset(&rotate);
    let commit = find(&mut lab, &rotate, "Q COMMIT");
    lab.reset(&rotate);
    lab.wire.arm(Fault::Hold { direction: Direction::ToServer, message: commit });
    let (host, rival, fixture, wire, conn) = (&lab.host, &lab.rival, &lab.fixture, &lab.wire, &mut lab.conn);
    let answer = thread::scope(|scope| {
        let verb = scope.spawn(|| (rotate.call)(host, fixture));
        let befell = wire.wait_for_fault().unwrap();
        assert!(befell.contains("COMMIT"), "{befell}");
        assert_eq!(host.store.now(), Err(Error::PoolExhausted { waited: POOL }), "who wants the connection");
        let locked = rival.store.rotate(&fixture.live.token_hash, &fixture.successors[1], Binding::ANY);
        assert_eq!(locked, Err(Error::Busy(Wait::Lock)), "who wants the lock");
        // Both bounds have passed since, several times.
        let later = race::now(conn) + NETWORK * 3;
        race::wait_until(conn, later);
        assert!(!verb.is_finished(), "the call is not bounded, and this says so");
        wire.release();
        verb.join().unwrap()
    });
    lab.wire.disarm();
    assert_eq!(answer, Ok(undisturbed.answer.clone()));
    assert_eq!(lab.shape(), undisturbed.after);
}

/// The number of the first message to the server that begins so.
fn find(lab: &mut Lab, case: &Case, beginning: &str) -> usize {
    for message in 0.. {
        lab.reset(case);
        lab.wire.arm(Fault::Cut { direction: Direction::ToServer, message, half: false });
        let _ = lab.call(case);
        let befell = lab.wire.disarm().expect("there is such a message");
        lab.wire.settle();
        if befell.contains(&format!(": {beginning}")) {
            return message;
        }
    }
    unreachable!("the numbers end no sooner than the messages")
}
