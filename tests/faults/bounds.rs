//! A message that is held for longer than any bound: which waits end by themselves, in which error, and which do not.

use std::iter;
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use refresh_tokens::{Binding, Error, StoreConfig, Wait};
use refresh_tokens_support::{Direction, Fault, race};

use crate::cases::{self, Case};
use crate::lab::{Lab, open};
use crate::print;

/// The shortest wait for an answer while a connection is opened: libpq makes two seconds of one.
const NETWORK: Duration = Duration::from_secs(1);

/// Until a caller is told that there is no connection.
const POOL: Duration = Duration::from_secs(3);

/// On a busy machine.
const BOUND: Duration = Duration::from_secs(20);

fn config() -> StoreConfig {
    StoreConfig::default()
        .network_timeout(NETWORK)
        .pool_timeout(POOL)
        .lock_timeout(Duration::from_millis(100))
        .statement_timeout(Duration::from_millis(200))
}

/// The attempt is given up: for another one, or, where nobody else can connect, for an error that says so.
#[test]
fn a_message_held_while_a_connection_is_opened_is_not_waited_for() {
    let lab = Lab::new(&config());
    lab.wire.arm(Fault::Hold { direction: Direction::ToServer, message: usize::MAX });
    drop(PgConnection::establish(&lab.host.url).unwrap());
    let ([_, of_server], _) = lab.wire.counted();
    let messages = iter::once((Direction::ToServer, 0)).chain((0..of_server).map(|at| (Direction::ToClient, at)));
    let waits: Vec<Duration> = thread::scope(|scope| {
        let held: Vec<_> = messages
            .flat_map(|message| [false, true].map(|is_for_good| (message, is_for_good)))
            .map(|((direction, message), is_for_good)| scope.spawn(move || connect(direction, message, is_for_good)))
            .collect();
        held.into_iter().map(|held| held.join().unwrap()).collect()
    });
    print(&format!(
        "{} messages held on new connections, the longest for {:?}",
        waits.len(),
        waits.iter().max().unwrap()
    ));
    assert!(waits.len() >= 2 * 10, "{waits:?}");
}

/// How long it took.
fn connect(direction: Direction, message: usize, is_for_good: bool) -> Duration {
    let lab = Lab::new(&config());
    let fault = Fault::Hold { direction, message };
    if is_for_good {
        lab.wire.arm_for_good(fault);
    } else {
        lab.wire.arm(fault);
    }
    let started = Instant::now();
    let opened = open(&lab.host.url, &lab.host.config);
    let took = started.elapsed();
    let befell = lab.wire.disarm().unwrap();
    lab.wire.release();
    assert!(took < BOUND, "{befell} held: {opened:?} took {took:?}");
    match opened {
        Ok(_) => assert!(!is_for_good, "{befell} held: nobody can connect"),
        Err(Error::Unreachable { .. }) if is_for_good => {}
        Err(error) => panic!("{befell} held: {error:?}"),
    }
    took
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
