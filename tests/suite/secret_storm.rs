//! A storm over the service: many threads present secrets that they share, as clients, second tabs and thieves do, while
//! others log in and out; and what they were answered proves that no invariant was broken.
//!
//! `REFRESH_TOKENS_STORM_SEED` repeats its draws, `REFRESH_TOKENS_STORM_OPERATIONS` sets the calls of each thread.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};
use refresh_tokens::{
    Binding, IssuedToken, Login, Pepper, Peppers, RefreshOutcome, RefreshTokenStore, SessionLimit, SessionPolicy,
    SessionService,
};
use refresh_tokens_support::database::{RETRIES, is_serializable};
use refresh_tokens_support::{Database, Effort, race};
use uuid::Uuid;

const THREADS: usize = 12;
const USERS: u128 = 4;
const LIMIT: u32 = 3;
/// In proof.
const OPERATIONS: usize = 300;

/// Logical time: each call takes one stamp before and one after.
type Stamp = u64;

#[derive(Clone)]
struct Known {
    text: String,
    session: Uuid,
    user: Uuid,
}

enum Did {
    Began(Known),
    /// What was presented, its session, and the outcome with the text that was given.
    Refreshed(String, Uuid, &'static str, Option<Known>),
    Ended(Target),
}

enum Target {
    Session(Uuid),
    User(Uuid),
    /// All sessions of the user but this one.
    Others(Uuid, Uuid),
}

struct Call {
    start: Stamp,
    end: Stamp,
    did: Did,
}

struct Storm {
    service: SessionService,
    clock: AtomicU64,
    known: Mutex<Vec<Known>>,
}

impl Storm {
    fn tick(&self) -> Stamp {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Mostly one of the last that were given, which others have drawn as well.
    fn draw(&self, rng: &mut TestRng) -> Option<Known> {
        let known = self.known.lock().unwrap();
        let recent = if rng.random_ratio(1, 8) { known.len() } else { known.len().min(12) };
        (recent > 0).then(|| known[known.len() - 1 - rng.random_range(0..recent)].clone())
    }

    fn learn(&self, issued: &IssuedToken) -> Known {
        let text = issued.secret.expose().to_owned();
        let known = Known { text, session: issued.token.session_id, user: issued.token.user_id };
        self.known.lock().unwrap().push(known.clone());
        known
    }

    fn act(&self, rng: &mut TestRng) -> Did {
        let kind = rng.random_range(0..100);
        let Some(known) = self.draw(rng).filter(|_| kind >= 8) else {
            let login = Login::new(Uuid::from_u128(1 + rng.random_range(0..USERS)), Uuid::from_u128(99));
            return Did::Began(self.learn(&self.service.start_session(&login).expect("the oldest makes room")));
        };
        match kind {
            8..90 => {
                let outcome = self.service.refresh(&known.text, Binding::user(known.user)).expect("no error");
                let word = outcome.as_str();
                let issued = outcome.issued().map(|issued| self.learn(&issued));
                Did::Refreshed(known.text, known.session, word, issued)
            }
            90..94 => {
                self.service.log_out(&known.text).expect("no error");
                Did::Ended(Target::Session(known.session))
            }
            94..96 => {
                self.service.end_session_of(known.user, known.session).expect("no error");
                Did::Ended(Target::Session(known.session))
            }
            96..98 => match self.service.end_other_sessions(known.user, known.session).expect("no error") {
                Some(_) => Did::Ended(Target::Others(known.user, known.session)),
                None => panic!("the session exists"),
            },
            _ => {
                self.service.end_all_sessions(known.user).expect("no error");
                Did::Ended(Target::User(known.user))
            }
        }
    }
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn a_storm_of_secrets_breaks_no_invariant() {
    let seed = setting("REFRESH_TOKENS_STORM_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    let operations =
        setting("REFRESH_TOKENS_STORM_OPERATIONS").unwrap_or_else(|| Effort::now().pick(40, 100, OPERATIONS));
    let database = Database::migrated();
    // Where there is READ COMMITTED there must be no conflict.
    let retries = if is_serializable() { RETRIES } else { 0 };
    let config = database.config().max_connections(6).conflict_retries(retries);
    let store = RefreshTokenStore::connect(database.url(), &config).unwrap();
    let policy =
        SessionPolicy::default().grace(TimeDelta::milliseconds(30)).session_limit(SessionLimit::end_oldest(LIMIT));
    let service = SessionService::new(store, Peppers::new(Pepper::new(1, &[7; 32]).unwrap()), policy).unwrap();
    let storm = Storm { service, clock: AtomicU64::new(1), known: Mutex::default() };
    let over = AtomicBool::new(false);
    let calls: Vec<Call> = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&mut database.connect(), &over));
        let work = |thread: usize| {
            let storm = &storm;
            scope
                .spawn(move || (0..operations).map(|operation| one(storm, seed, thread, operation)).collect::<Vec<_>>())
        };
        let threads: Vec<_> = (0..THREADS).map(work).collect();
        let joined: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        watcher.join().expect("there were never too many live tokens");
        joined.into_iter().flat_map(|calls| calls.expect("no verb panics")).collect()
    });
    let again = format!("REFRESH_TOKENS_STORM_SEED={seed}");
    one_successor_for_each_secret(&calls, &again);
    nothing_ended_is_answered(&calls, &again);
    let counts = storm.service.counts();
    let refreshes = calls.iter().filter(|call| matches!(call.did, Did::Refreshed(..))).count();
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), refreshes as u64, "{again}");
    let wanted = [
        (RefreshOutcome::Rotated, 100),
        (RefreshOutcome::Repeated, 20),
        (RefreshOutcome::ReusedSuccessorUsed, 10),
        (RefreshOutcome::Revoked, 20),
    ];
    let rare: Vec<_> = wanted.into_iter().filter(|(outcome, times)| counts.of(*outcome) < *times).collect();
    assert!(operations < OPERATIONS || rare.is_empty(), "{again}: too rare: {rare:?} of {counts:?}");
}

fn one(storm: &Storm, seed: u64, thread: usize, operation: usize) -> Call {
    let mut bytes = [0; 32];
    for (place, part) in [seed, thread as u64, operation as u64].into_iter().enumerate() {
        bytes[8 * place..][..8].copy_from_slice(&part.to_le_bytes());
    }
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let start = storm.tick();
    let did = storm.act(&mut rng);
    Call { start, end: storm.tick(), did }
}

/// Invariant 1, and the limit, in every state that anybody can see.
fn watch(conn: &mut PgConnection, over: &AtomicBool) {
    #[derive(QueryableByName)]
    struct Most {
        #[diesel(sql_type = BigInt)]
        of_session: i64,
        #[diesel(sql_type = BigInt)]
        of_user: i64,
    }
    let text = "WITH live AS (SELECT user_id, session_id FROM refresh_tokens WHERE rotated_to IS NULL AND revoked_at IS NULL)
        SELECT coalesce((SELECT max(count) FROM (SELECT count(*) FROM live GROUP BY session_id) by_session), 0) AS of_session,
            coalesce((SELECT max(count) FROM (SELECT count(*) FROM live GROUP BY user_id) by_user), 0) AS of_user";
    loop {
        let is_last = over.load(Ordering::SeqCst);
        let most: Most = race::retrying(|| diesel::sql_query(text).get_result(conn)).unwrap();
        assert!(most.of_session <= 1, "invariant 1: a session has {} live tokens", most.of_session);
        assert!(most.of_user <= i64::from(LIMIT), "the limit: a user has {} live sessions", most.of_user);
        if is_last {
            return;
        }
    }
}

/// Invariant 2: whoever presents a secret gets the same one for it, and one of them rotated it.
fn one_successor_for_each_secret(calls: &[Call], again: &str) {
    let mut given: HashMap<&str, Vec<(&str, &str)>> = HashMap::new();
    for call in calls {
        if let Did::Refreshed(presented, _, word, Some(issued)) = &call.did {
            given.entry(presented).or_default().push((word, &issued.text));
        }
    }
    for answers in given.values() {
        assert!(answers.iter().all(|(_, text)| *text == answers[0].1), "{again}: two successors of one secret");
        assert_eq!(answers.iter().filter(|(word, _)| *word == "rotated").count(), 1, "{again}: rotated once");
    }
}

/// Invariant 3: once the end of a session has returned, nobody who asks afterwards is given anything for it.
fn nothing_ended_is_answered(calls: &[Call], again: &str) {
    let began: HashMap<Uuid, (&Known, Stamp)> = calls
        .iter()
        .filter_map(|call| match &call.did {
            Did::Began(known) => Some((known.session, (known, call.end))),
            _ => None,
        })
        .collect();
    let mut ended: HashMap<Uuid, Stamp> = HashMap::new();
    for call in calls {
        let is_ended = |known: &Known, began: Stamp| match &call.did {
            Did::Ended(Target::Session(session)) => known.session == *session,
            Did::Ended(Target::User(user)) => known.user == *user && began < call.start,
            Did::Ended(Target::Others(user, kept)) => {
                known.user == *user && known.session != *kept && began < call.start
            }
            // Also by the answer of another presentation, which was over before.
            Did::Refreshed(_, session, word, None) => known.session == *session && word.starts_with("reused"),
            _ => false,
        };
        for (known, _) in began.values().filter(|(known, began)| is_ended(known, *began)) {
            let end = ended.entry(known.session).or_insert(call.end);
            *end = call.end.min(*end);
        }
    }
    for call in calls {
        if let Did::Refreshed(_, session, word, Some(_)) = &call.did {
            let is_late = ended.get(session).is_some_and(|end| *end < call.start);
            assert!(!is_late, "{again}: invariant 3: {word}, after the session had ended");
        }
    }
}
