//! A caller whose patience ends while its request is on its way to the server.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use diesel::PgConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use uuid::Uuid;

use super::*;
use crate::error::MAX_EXPIRY;

/// How long a thread may take to do what it must, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// So long is it seen to wait, which it would not if it gave up.
const MOMENT: Duration = Duration::from_millis(100);

/// Over a pool that never connects.
fn group(config: &GroupConfig) -> GroupRotator {
    let pool = Pool::builder().min_idle(Some(0)).build_unchecked(ConnectionManager::<PgConnection>::new(""));
    GroupRotator::new(RefreshTokenStore::from_pool(pool), config)
}

fn request() -> RotationRequest {
    let hash = || TokenHash::new("hash").expect("it is one");
    RotationRequest::new(hash(), Successor::expiring_at(Uuid::from_u128(1), hash(), MAX_EXPIRY))
}

/// Only the outcome can say whether it was made: neither `Busy`, nor a connection that is lost.
#[test]
fn who_is_on_its_way_at_the_end_of_its_patience_is_told_its_outcome() {
    let group = group(&GroupConfig::default().connections(1).queue_timeout(Duration::ZERO));
    let Ok(Entry::Lead(_lead, _)) = group.queue.enter(request()) else { panic!("the connection is free") };
    let Ok(Entry::Wait(place)) = group.queue.enter(request()) else { panic!("the connection is taken") };
    let on_its_way = group.queue.share();
    let (told, hears) = channel();
    let waits = group.clone();
    thread::spawn(move || told.send(waits.wait(&place)).expect("somebody listens"));
    let early = hears.recv_timeout(MOMENT);
    assert!(early.is_err(), "it gave up on what was on its way: {early:?}");
    for ticket in on_its_way {
        ticket.caller.tell(Err(Error::DuplicateId));
    }
    assert_eq!(hears.recv_timeout(LIMIT), Ok(Err(Error::DuplicateId)), "it was not told its outcome");
}
