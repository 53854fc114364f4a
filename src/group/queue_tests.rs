//! Whatever callers and leaders do, in whatever order: connections are not idle while somebody waits, and nobody is
//! forgotten. Every step is one critical section, so a sequence of steps is a schedule of threads.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::error::MAX_EXPIRY;
use crate::values::{Successor, TokenHash};

#[derive(Debug, Clone, Copy)]
enum Op {
    Enter,
    /// A leader carries its share; so many of them turn out to have to be alone, perhaps the leader itself.
    Carry {
        leader: usize,
        alone: usize,
        itself_too: bool,
    },
    /// A leader is done, or panics.
    End {
        leader: usize,
    },
    /// The patience of one who waits is at its end.
    Leave {
        waiting: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Enter),
        3 => (0_usize..4, 0_usize..4, any::<bool>())
            .prop_map(|(leader, alone, itself_too)| Op::Carry { leader, alone, itself_too }),
        2 => (0_usize..4).prop_map(|leader| Op::End { leader }),
        1 => (0_usize..8).prop_map(|waiting| Op::Leave { waiting }),
    ]
}

fn request() -> RotationRequest {
    let hash = || TokenHash::new("hash").expect("it is one");
    RotationRequest::new(hash(), Successor::expiring_at(Uuid::from_u128(1), hash(), MAX_EXPIRY))
}

/// Every caller is in one of the two, or has been told its outcome.
struct World {
    queue: Arc<Queue>,
    leaders: Vec<(Lead, RotationRequest)>,
    places: Vec<Place>,
    answered: usize,
    entered: usize,
}

impl World {
    fn step(&mut self, op: Op) {
        let is_leader = |leader: usize, world: &Self| leader < world.leaders.len();
        match op {
            Op::Enter => match self.queue.enter(request()) {
                Ok(Entry::Lead(lead, request)) => {
                    self.entered += 1;
                    self.leaders.push((lead, request));
                }
                Ok(Entry::Wait(place)) => {
                    self.entered += 1;
                    self.places.push(place);
                }
                Err(error) => assert!(matches!(error, Error::QueueFull { .. }), "{error:?}"),
            },
            Op::Carry { leader, alone, itself_too } if is_leader(leader, self) => {
                let (lead, own) = self.leaders.remove(leader);
                let share = if lead.is_alone() { Vec::new() } else { self.queue.share() };
                if itself_too && !lead.is_alone() {
                    self.places.push(self.queue.wait_alone(own));
                } else {
                    self.answered += 1;
                }
                for (index, ticket) in share.into_iter().enumerate() {
                    if index < alone {
                        self.queue.make_alone(ticket);
                    } else {
                        ticket.caller.tell(Err(Error::Conflict));
                    }
                }
                drop(lead);
            }
            Op::End { leader } if is_leader(leader, self) => {
                drop(self.leaders.remove(leader));
                self.answered += 1;
            }
            Op::Leave { waiting } if waiting < self.places.len() && self.queue.leave(&self.places[waiting]) => {
                self.places.remove(waiting);
                self.answered += 1;
            }
            _ => {}
        }
        self.hear();
    }

    /// Each caller who was told something does it.
    fn hear(&mut self) {
        let mut index = 0;
        while index < self.places.len() {
            match self.places[index].turn.try_recv() {
                Ok(Turn::Lead(lead, request)) => self.leaders.push((lead, request)),
                Ok(Turn::Answer(_)) => self.answered += 1,
                Err(_) => {
                    index += 1;
                    continue;
                }
            }
            self.places.remove(index);
        }
    }

    fn check(&self, connections: usize) {
        let state = self.queue.state();
        let alone = self.leaders.iter().filter(|(lead, _)| lead.is_alone()).count();
        assert_eq!((state.leads, state.leads_alone), (self.leaders.len(), alone));
        assert!(state.leads <= connections);
        assert!(alone <= 1.max(connections - 1), "one connection is left for those who wait for no lock");
        assert!(state.waiting.is_empty() || state.leads == connections, "a connection is idle");
        let no_more_alone = alone == 1.max(connections - 1);
        assert!(state.alone.is_empty() || no_more_alone || state.leads == connections, "who is alone is forgotten");
        assert_eq!(state.waiting.len() + state.alone.len(), self.places.len());
        assert_eq!(self.leaders.len() + self.places.len() + self.answered, self.entered);
    }
}

/// With one connection, neither those who wait for locks nor the others have it for ever.
#[test]
fn with_one_connection_they_take_turns() {
    let queue = Queue::new(GroupConfig::default().connections(1).max_batch(1));
    let Ok(Entry::Lead(first, _)) = queue.enter(request()) else { panic!("the connection is free") };
    let places: Vec<Place> = (0..4)
        .map(|number| match (number % 2, queue.enter(request())) {
            (0, Ok(Entry::Wait(place))) => place,
            (_, Ok(Entry::Wait(place))) => {
                assert!(queue.leave(&place));
                queue.wait_alone(request())
            }
            _ => panic!("the connection is taken"),
        })
        .collect();
    let [together, alone, together_later, alone_later] = &places[..] else { panic!("four") };
    drop(first);
    for place in [alone, together, alone_later, together_later] {
        assert!(matches!(place.turn.try_recv(), Ok(Turn::Lead(..))), "its lead is dropped here");
    }
}

/// How long a thread may take to do what it must, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// The connection is taken, and so many wait for it.
fn taken(queue: &Arc<Queue>, waiting: usize) -> (Lead, Vec<Place>) {
    let Ok(Entry::Lead(lead, _)) = queue.enter(request()) else { panic!("the connection is free") };
    let place = |_| match queue.enter(request()) {
        Ok(Entry::Wait(place)) => place,
        _ => panic!("the connection is taken"),
    };
    (lead, (0..waiting).map(place).collect())
}

/// The places whose callers are told that they lead, by their indices, in the order in which they are: each goes on at once.
fn served(places: &[Place]) -> Vec<usize> {
    let mut order = Vec::new();
    while let Some(index) = places.iter().position(|place| matches!(place.turn.try_recv(), Ok(Turn::Lead(..)))) {
        order.push(index);
    }
    order
}

/// Also those whom a leader found to be locked when it carried them.
#[test]
fn who_waits_for_a_lock_is_served_in_the_order_of_arrival() {
    let queue = Queue::new(GroupConfig::default().connections(1));
    let (lead, places) = taken(&queue, 4);
    queue.share().into_iter().for_each(|ticket| queue.make_alone(ticket));
    drop(lead);
    assert_eq!(served(&places), [0, 1, 2, 3]);
}

/// A leader takes those along who came first, and leaves as many as the other connections can carry.
#[test]
fn a_leader_takes_its_share_of_those_who_came_first() {
    let shared = |config: GroupConfig, waiting| {
        let queue = Queue::new(config);
        let _others: Vec<Lead> = (1..queue.config.connections).map(|_| taken(&queue, 0).0).collect();
        let (_lead, places) = taken(&queue, waiting);
        let share: Vec<u64> = queue.share().iter().map(|ticket| ticket.caller.number).collect();
        let came_first: Vec<u64> = places.iter().map(|place| place.number).take(share.len()).collect();
        assert_eq!(share, came_first);
        share.len()
    };
    let config = GroupConfig::default;
    assert_eq!(shared(config().connections(2), 5), 3);
    assert_eq!(shared(config().connections(3), 7), 3);
    assert_eq!(shared(config().connections(1), 5), 5);
    assert_eq!(shared(config().connections(1).max_batch(3), 5), 2, "with its own");
    assert_eq!(shared(config().connections(1).max_batch(1), 5), 0);
}

/// The second one is not left behind when the last connection is given back.
#[test]
fn all_who_shut_it_down_return() {
    let queue = Queue::new(GroupConfig::default().connections(1));
    let (lead, _) = taken(&queue, 0);
    let (told, hears) = channel();
    for _ in 0..2 {
        let (shut, told) = (Arc::clone(&queue), told.clone());
        thread::spawn(move || {
            shut.shut();
            told.send(()).expect("somebody listens");
        });
        // Who has set it holds the lock until it waits. Reset, it shows when the second one does.
        let began = Instant::now();
        while !std::mem::take(&mut queue.state().is_shut) {
            assert!(began.elapsed() < LIMIT, "nobody began to shut the queue down");
            thread::yield_now();
        }
    }
    assert!(hears.try_recv().is_err(), "a caller has no answer yet");
    drop(lead);
    for returned in 0..2 {
        assert!(hears.recv_timeout(LIMIT).is_ok(), "{returned} of 2 shutdowns have returned, and no other does");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_forgotten_and_no_connection_is_idle(
        connections in 1_usize..4, max_batch in 1_usize..4, ops in vec(op(), 1..60)
    ) {
        let config = GroupConfig::default().connections(connections).max_batch(max_batch).max_queue(6);
        let queue = Queue::new(config);
        let mut world = World { queue, leaders: Vec::new(), places: Vec::new(), answered: 0, entered: 0 };
        for op in ops {
            world.step(op);
            world.check(connections);
        }
        while !world.leaders.is_empty() {
            world.step(Op::End { leader: 0 });
            world.check(connections);
        }
        prop_assert!(world.places.is_empty(), "somebody waits for ever");
        world.queue.shut();
    }
}
