//! The network dies and says nothing: packets are dropped, in either direction, from each message of a verb on.

use std::thread;
use std::time::{Duration, Instant};

use refresh_tokens::{Error, StoreConfig};
use refresh_tokens_support::{Direction, Fault};

use crate::cases;
use crate::lab::Lab;
use crate::print;

/// The shortest that the kernel's whole seconds allow: it asks after one, and again after another.
const WAIT: Duration = Duration::from_secs(1);

/// On a busy machine. Without the setting it would be Linux's own limit: 15 minutes, or two hours.
const BOUND: Duration = Duration::from_secs(15);

/// Rotation, on a connection for each message, all at once: each waits for nothing but the kernel.
#[test]
fn a_connection_that_dies_silently_ends_in_an_error_and_is_replaced() {
    let silenced: Vec<Option<(Duration, Result<String, Error>)>> = thread::scope(|scope| {
        let at = |direction, message| scope.spawn(move || rotate_in_silence(direction, message));
        let to_server = (0..MESSAGES).map(|message| at(Direction::ToServer, message));
        let to_client = (0..MESSAGES).map(|message| at(Direction::ToClient, message));
        let threads: Vec<_> = to_server.chain(to_client).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for of_direction in silenced.chunks(MESSAGES) {
        assert!(of_direction.last().unwrap().is_none(), "the verb has more messages than were silenced");
    }
    let silenced: Vec<_> = silenced.into_iter().flatten().collect();
    let longest = silenced.iter().map(|(took, _)| *took).max().unwrap();
    let lost = silenced.iter().filter(|(_, answer)| *answer == Err(Error::ConnectionLost)).count();
    print(&format!("{} silences, {lost} of them told, the longest after {longest:?}", silenced.len()));
    assert!(silenced.len() >= 20 && lost >= 10, "{silenced:?}");
}

/// More than a rotation has in one direction.
const MESSAGES: usize = 20;

/// How long it took and what it answered, or none if the verb had no such message.
fn rotate_in_silence(direction: Direction, message: usize) -> Option<(Duration, Result<String, Error>)> {
    let config = StoreConfig::default().network_timeout(WAIT).pool_timeout(BOUND);
    let mut lab = Lab::new(&config);
    let case = cases::exchanges().into_iter().find(|case| case.name == "rotate").unwrap();
    let undisturbed = lab.undisturbed(&case);
    lab.reset(&case);
    lab.wire.arm(Fault::Silence { direction, message });
    let started = Instant::now();
    let answer = lab.call(&case);
    let took = started.elapsed();
    let befell = lab.wire.disarm()?;
    lab.wire.settle();
    assert!(took < BOUND, "{befell}: {answer:?} took {took:?}");
    let left = lab.shape();
    undisturbed.judge(&case, &answer, &left, &befell);
    if answer.is_err() {
        assert_eq!(lab.call(&case), Ok(undisturbed.answer.clone()), "{befell}: sent again");
    }
    assert_eq!(lab.shape(), undisturbed.after, "{befell}");
    Some((took, answer))
}
