//! The group rotator: each caller has its own outcome, whoever carries it; bounds, fairness, and what fails.
//!
//! To have callers queue up, a test locks a token that the group's first callers present.

mod bounds;
mod failures;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use refresh_tokens::{
    Binding, BreachResponse, Error, GroupConfig, GroupRotator, InvalidInput, OnReuse, Redemption, RefreshTokenStore,
    Result, RevokedReason, Rotation, Successor, TokenHash, Wait,
};
use refresh_tokens_support::doc::{fresh_hash, in_days, store, successor};
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

use crate::common::{By, chain, create, is_valid, rotate, row};

/// What the group's connections send.
#[derive(Debug, Clone)]
struct Sent {
    database: Arc<Database>,
    begins: Arc<AtomicUsize>,
    /// The next statement that contains this panics in its caller's thread.
    panic_at: Arc<Mutex<Option<&'static str>>>,
}

impl Sent {
    fn begins(&self) -> usize {
        self.begins.load(Ordering::SeqCst)
    }
}

impl Instrumentation for Sent {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        let InstrumentationEvent::StartQuery { query, .. } = event else { return };
        let text = query.to_string();
        if text.starts_with("BEGIN") {
            self.begins.fetch_add(1, Ordering::SeqCst);
        }
        let panics = self.panic_at.lock().unwrap().take_if(|at| text.contains(*at));
        assert!(panics.is_none(), "as the test wants it");
    }
}

impl CustomizeConnection<PgConnection, diesel::r2d2::Error> for Sent {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), diesel::r2d2::Error> {
        self.database.customize(conn);
        conn.set_instrumentation(self.clone());
        Ok(())
    }
}

/// A group over a pool of its own, and what it sends.
struct Group {
    database: Arc<Database>,
    pool: Pool<ConnectionManager<PgConnection>>,
    rotator: GroupRotator,
    sent: Sent,
}

impl Group {
    fn new(connections: usize, config: &GroupConfig) -> Self {
        let database = Arc::new(Database::migrated());
        let sent = Sent { database: Arc::clone(&database), begins: Arc::default(), panic_at: Arc::default() };
        let pool = Pool::builder()
            .max_size(u32::try_from(connections).unwrap())
            .connection_customizer(Box::new(sent.clone()))
            .build(ConnectionManager::new(database.url()))
            .unwrap();
        let store = RefreshTokenStore::from_pool(pool.clone());
        let rotator = GroupRotator::new(store, &config.clone().connections(connections));
        Self { database, pool, rotator, sent }
    }

    fn start(&self, presented: &TokenHash) -> JoinHandle<Result<Rotation>> {
        self.start_with(presented, successor())
    }

    fn start_with(&self, presented: &TokenHash, successor: Successor) -> JoinHandle<Result<Rotation>> {
        let (rotator, presented) = (self.rotator.clone(), presented.clone());
        thread::spawn(move || rotator.rotate(&presented, &successor, Binding::ANY))
    }

    /// Starts a caller and returns when it waits in the queue as the last of so many.
    fn queue_up(&self, presented: &TokenHash, length: usize) -> JoinHandle<Result<Rotation>> {
        let caller = self.start(presented);
        race::wait_until_that("a caller waits as the last of so many", || self.rotator.waiting() == length);
        caller
    }

    fn tokens<const N: usize>(&self) -> [TokenHash; N] {
        let mut conn = self.database.connect();
        [(); N].map(|()| create(&mut conn).token_hash)
    }

    /// Runs `work` while a token is locked and a caller waits for it, which is on all connections if there is one only.
    fn while_waiting_for<T>(&self, held: &TokenHash, work: impl FnOnce(&Self) -> T) -> (Result<Rotation>, T) {
        let mut holder = self.database.connect();
        let (waiting, done) = holder
            .transaction(|conn| {
                use refresh_tokens::schema::refresh_tokens::dsl;
                let pid = race::pid(conn);
                dsl::refresh_tokens
                    .filter(dsl::token_hash.eq(held))
                    .select(dsl::id)
                    .for_update()
                    .first::<Uuid>(conn)?;
                let waiting = self.start(held);
                race::wait_until_blocked(&mut self.database.connect_directly(), pid, 1);
                QueryResult::Ok((waiting, work(self)))
            })
            .unwrap();
        (answer(waiting), done)
    }
}

fn is_rotated(outcome: &Result<Rotation>) -> bool {
    matches!(outcome, Ok(Rotation::Rotated(_)))
}

/// What a caller is told.
fn answer(caller: JoinHandle<Result<Rotation>>) -> Result<Rotation> {
    race::join(caller, "a caller's wait for an answer").unwrap()
}

fn join_all(callers: Vec<JoinHandle<Result<Rotation>>>) -> Vec<Result<Rotation>> {
    callers.into_iter().map(answer).collect()
}

#[test]
fn it_is_shared_among_threads() {
    fn assert_shared<T: Clone + Send + Sync + 'static>() {}
    assert_shared::<GroupRotator>();
}

/// Many threads, good requests and bad: each has its own outcome.
#[test]
fn every_caller_has_its_own_outcome() {
    let group = Group::new(2, &GroupConfig::default());
    let tokens = group.tokens::<24>();
    let stale = chain(&mut group.database.connect(), 2).remove(0);
    let callers: Vec<_> = tokens
        .iter()
        .flat_map(|token| [token.clone(), fresh_hash(), stale.clone()])
        .map(|presented| {
            let wanted = successor();
            (format!("{wanted:?}"), group.start_with(&presented, wanted))
        })
        .collect();
    for (index, (wanted, caller)) in callers.into_iter().enumerate() {
        match (index % 3, answer(caller)) {
            (0, Ok(Rotation::Rotated(token))) => assert!(wanted.contains(&token.id.to_string()), "somebody else's"),
            (1, Ok(Rotation::Refused(refusal))) => assert_eq!(refusal.as_str(), "not_found"),
            (2, Ok(Rotation::Refused(refusal))) => assert_eq!(refusal.as_str(), "reused"),
            (_, other) => panic!("{other:?}"),
        }
    }
}

/// Those who come while the only connection is busy are one transaction when it is free.
#[test]
fn who_waits_together_is_carried_together() {
    let group = Group::new(1, &GroupConfig::default());
    let [held, rest @ ..] = group.tokens::<9>();
    let (first, (callers, before)) = group.while_waiting_for(&held, |group| {
        let callers: Vec<_> = (1..).zip(&rest).map(|(length, token)| group.queue_up(token, length)).collect();
        (callers, group.sent.begins())
    });
    assert!(is_rotated(&first));
    assert!(join_all(callers).iter().all(is_rotated));
    assert_eq!(group.sent.begins() - before, 1, "transactions for eight callers");
}

/// Fairness: with batches of one, the callers have their turn in the order in which they came.
#[test]
fn who_comes_first_is_served_first() {
    let group = Group::new(1, &GroupConfig::default().max_batch(1));
    let [held, rest @ ..] = group.tokens::<7>();
    let (_, callers) = group.while_waiting_for(&held, |group| {
        (1..).zip(&rest).map(|(length, token)| group.queue_up(token, length)).collect::<Vec<_>>()
    });
    let born: Vec<_> = join_all(callers)
        .into_iter()
        .map(|outcome| match outcome {
            Ok(Rotation::Rotated(token)) => token.created_at,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(born.is_sorted(), "{born:?}");
}

/// A token that somebody else holds is waited for on one connection; the other goes on, also for callers who came with
/// it in one batch.
#[test]
fn a_locked_token_does_not_hold_up_the_others() {
    let group = Group::new(2, &GroupConfig::default());
    let [held, rest @ ..] = group.tokens::<12>();
    let (first, again) = group.while_waiting_for(&held, |group| {
        // More callers of the locked token than there are connections.
        let again: Vec<_> = (1..4).map(|length| group.queue_up(&held, length)).collect();
        let outcomes = join_all(rest.iter().map(|token| group.start(token)).collect());
        assert!(outcomes.iter().all(is_rotated), "they waited for nobody");
        assert_eq!(group.rotator.waiting(), 3);
        again
    });
    let mut outcomes = join_all(again);
    outcomes.push(first);
    assert_eq!(outcomes.iter().filter(|outcome| is_rotated(outcome)).count(), 1, "invariant 1: {outcomes:?}");
}

#[test]
fn with_one_connection_a_locked_token_and_the_others_take_turns() {
    let group = Group::new(1, &GroupConfig::default());
    let [held, one, other] = group.tokens();
    let (first, callers) = group.while_waiting_for(&held, |group| {
        [(&held, 1), (&one, 2), (&held, 3), (&other, 4)].map(|(token, length)| group.queue_up(token, length))
    });
    assert!(is_rotated(&first));
    let outcomes = join_all(callers.into());
    assert_eq!(outcomes.iter().map(is_rotated).collect::<Vec<_>>(), [false, true, false, true], "{outcomes:?}");
}

#[test]
fn a_full_queue_turns_callers_away_before_anything_is_sent() {
    let group = Group::new(1, &GroupConfig::default().max_queue(1));
    let [held, waits, turned_away] = group.tokens();
    let (_, waiting) = group.while_waiting_for(&held, |group| {
        let waiting = group.queue_up(&waits, 1);
        let outcome = group.rotator.rotate(&turned_away, &successor(), Binding::ANY);
        assert_eq!(outcome, Err(Error::QueueFull { max: 1 }));
        assert!(outcome.is_err_and(|error| error.is_transient() && !error.is_outcome_unknown()));
        waiting
    });
    assert!(is_rotated(&answer(waiting)));
    assert!(is_valid(&group.database, &turned_away));
}

#[test]
fn invariant_9_a_wait_for_a_turn_ends_busy() {
    let group = Group::new(1, &GroupConfig::default().queue_timeout(Duration::from_millis(20)));
    let [held, given_up] = group.tokens();
    let (first, ()) = group.while_waiting_for(&held, |group| {
        let outcome = group.rotator.rotate(&given_up, &successor(), Binding::ANY);
        assert_eq!(outcome, Err(Error::Busy(Wait::Queue)));
        assert_eq!(group.rotator.waiting(), 0);
    });
    assert!(is_rotated(&first));
    assert!(is_valid(&group.database, &given_up), "nothing was changed");
}

/// Also where it waits for its token's lock, for which it has to be alone on a connection.
#[test]
fn invariant_9_a_wait_behind_another_one_for_a_lock_ends_busy() {
    let group = Group::new(2, &GroupConfig::default().queue_timeout(Duration::from_millis(20)));
    let [held] = group.tokens();
    let (first, ()) = group.while_waiting_for(&held, |group| {
        let outcome = answer(group.start(&held));
        assert_eq!(outcome, Err(Error::Busy(Wait::Queue)));
        assert_eq!(group.rotator.waiting(), 0);
    });
    assert!(is_rotated(&first));
}

/// Whoever was let in has an answer before it returns; whoever comes later is turned away.
#[test]
fn shutdown_waits_for_those_who_wait() {
    let group = Group::new(1, &GroupConfig::default());
    let [held, waits, late] = group.tokens();
    let (first, (waiting, shutdown)) = group.while_waiting_for(&held, |group| {
        let waiting = group.queue_up(&waits, 1);
        let rotator = group.rotator.clone();
        let shutdown = thread::spawn(move || rotator.shutdown());
        race::wait_until_that("the group turns callers away", || group.rotator.is_shut_down());
        assert!(!shutdown.is_finished(), "a caller is still waiting");
        (waiting, shutdown)
    });
    race::join(shutdown, "the shutdown").unwrap();
    assert!(is_valid(&group.database, &late));
    assert_eq!(group.rotator.rotate(&late, &successor(), Binding::ANY), Err(Error::GroupShutDown));
    assert!(is_rotated(&first) && is_rotated(&answer(waiting)));
    group.rotator.shutdown();
}

#[test]
fn bad_input_is_refused_before_it_queues() {
    let group = Group::new(1, &GroupConfig::default());
    let of_nobody = Successor::expiring_at(Uuid::nil(), fresh_hash(), in_days(30));
    let outcome = group.rotator.rotate(&fresh_hash(), &of_nobody, Binding::ANY);
    assert!(matches!(outcome, Err(Error::InvalidInput(InvalidInput::NilUuid { .. }))), "{outcome:?}");
    let outcome = group.rotator.rotate(&fresh_hash(), &successor(), Binding::user(Uuid::nil()));
    assert!(matches!(outcome, Err(Error::InvalidInput(InvalidInput::NilUuid { .. }))), "{outcome:?}");
    assert_eq!(group.sent.begins(), 0);
}

/// Invariant 6: a caller whose answer was lost sends the same request again.
#[test]
fn invariant_6_the_same_request_is_no_reuse() {
    let group = Group::new(1, &GroupConfig::default());
    let [token] = group.tokens();
    let wanted = successor();
    let first = group.rotator.rotate(&token, &wanted, Binding::ANY);
    let Ok(Rotation::Rotated(made)) = first else { panic!("{first:?}") };
    assert_eq!(group.rotator.rotate(&token, &wanted, Binding::ANY), Ok(Rotation::Repeated(made)));
}

#[test]
fn reuse_is_answered() {
    let database = Database::migrated();
    let session = chain(&mut database.connect(), 2);
    let store = store(&database).with_reason(RevokedReason::AccountCompromised);
    let group = GroupRotator::new(store, &GroupConfig::default());
    let outcome = group.redeem(&session[0], &successor(), Binding::ANY, OnReuse::RevokeSession).unwrap();
    let Redemption::Reused { response: BreachResponse::Revoked(receipt), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((receipt.sessions, receipt.live), (1, 1));
    assert!(!is_valid(&database, &session[1]));
    let revoked = row(&mut database.connect(), &session[1]);
    assert_eq!(revoked.revoked_reason, Some(RevokedReason::AccountCompromised), "the store's own reason");
}
