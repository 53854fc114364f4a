//! A storm: many threads over few connections run every verb at random on few users, and a checker proves from what
//! they were answered, and from the table at the end, that none of the invariants 1 to 6 was broken.
//!
//! A failure names its seed. `REFRESH_TOKENS_STORM_SEED` repeats its draws, thread by thread; how the threads interleave
//! cannot be repeated, so it may take several runs. `REFRESH_TOKENS_STORM_OPERATIONS` sets the calls of each thread.

mod act;
mod archive;
mod check;
mod draw;
mod facts;
mod history;
mod killed;
mod known;
mod objections;
mod tally;
mod unknown;

use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use proptest::prelude::RngExt;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{GroupConfig, GroupRotator, RefreshToken, StoreConfig};
use refresh_tokens_support::database::RETRIES;
use refresh_tokens_support::{Database, Effort, race};
use uuid::Uuid;

use crate::common::open_patiently;

use act::Host;
use check::{check, explain};
use draw::Drawn;
use history::{Authenticated, Call, History, Op, Row, Stamp};
use known::Known;
use tally::Tally;

const THREADS: usize = 16;
const CONNECTIONS: u32 = 8;

/// What a busy machine may hold a call up by, before that is an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls of each thread in proof, and so many that every outcome is met; elsewhere fewer, unless
/// `REFRESH_TOKENS_STORM_OPERATIONS` says otherwise.
const OPERATIONS: usize = 500;

/// What a storm is made worse by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Under {
    Nothing,
    /// Rotations by the reference.
    TheReference,
    /// The server is killed again and again; whoever does not know what became of a call makes it again.
    Kills,
    /// Each transaction that does not say otherwise is SERIALIZABLE, and calls are made again after a conflict.
    Serializable,
}

/// Who takes part, beside the verbs that always do.
struct Profile {
    /// Tokens expire, and clean-up takes them and what is spent; without it, receipts are summed up to the row.
    cleans_up: bool,
    under: Under,
    /// Outcomes that must be met, each so often in a run of `OPERATIONS`.
    meets: &'static [(&'static str, &'static str, usize)],
}

const ALWAYS: &[(&str, &str, usize)] = &[
    ("create", "token", 100),
    ("create, authenticated", "token", 100),
    ("create, authenticated", "RevokedSinceLogin", 100),
    ("rotate", "token", 50),
    ("rotate", "Reused", 50),
    ("rotate", "Revoked", 50),
    ("rotate", "BindingMismatch", 3),
    ("rotate in group", "token", 50),
    ("rotate in group", "Reused", 50),
    ("rotate in group", "Revoked", 50),
    ("rotate_many", "token", 80),
    ("rotate_many", "Reused", 100),
    ("rotate_many", "Revoked", 80),
    ("rotate_many", "NotFound", 50),
    ("rotate_many", "BindingMismatch", 5),
    ("rotate_many for a host", "token", 20),
    ("rotate_to", "token", 30),
    ("rotate_to", "NotSaid", 30),
    ("redeem RevokeSession", "token", 10),
    ("redeem RevokeSession", "Revoked", 5),
    ("redeem RevokeSession", "Revoked, live", 3),
    ("redeem RevokeSession", "AlreadyHandled", 1),
    ("redeem RevokeSession in group", "token", 15),
    ("redeem RevokeSession in group", "Revoked", 8),
    ("redeem EndSession", "token", 8),
    ("redeem EndSession", "Revoked", 4),
    ("redeem EndSession in group", "token", 8),
    ("redeem RevokeChain", "token", 8),
    ("redeem RevokeChain", "Revoked", 4),
    ("redeem RevokeUser", "token", 4),
    ("redeem RevokeUser", "Revoked, live", 2),
    ("redeem ReportOnly", "ReportedOnly", 10),
    ("sent again", "the same answer", 15),
    ("revoke", "SessionEnded", 10),
    ("revoke", "SessionContinues", 1),
    ("revoke_by_hash", "SessionEnded", 20),
    ("revoke_by_hash", "SessionContinues", 1),
    ("revoke_token_chain", "live", 20),
    ("revoke_session", "live", 15),
    ("end_session", "live", 15),
    ("revoke_session_by_hash", "live", 15),
    ("revoke_all_for_user", "live", 30),
    ("revoke_all_for_user_except", "live", 10),
    ("revoke_all_for_user_except_session", "live", 10),
    ("revoke_all_for_user_in_org", "live", 20),
    ("revoke_all_for_org", "live", 5),
    ("revoke_all_for_everyone", "live", 2),
    ("get_valid_by_hash", "some", 50),
    ("get_valid_by_hash", "none", 50),
    ("check_token_reuse", "some", 5),
    ("get_active_tokens_for_user", "some", 50),
    ("list_sessions", "some", 50),
    ("the host", "rolls back", 50),
    ("calls", "overlapping", 1_000),
];

left_out!(under serializable: "it has no retries; `a_storm_under_serializable_breaks_no_invariant` has");
#[test]
fn a_storm_breaks_no_invariant_and_the_receipts_add_up() {
    storm(&Profile { cleans_up: false, under: Under::Nothing, meets: &[] });
}

left_out!(under serializable: "it has no retries; `a_storm_under_serializable_breaks_no_invariant` has");
left_out!(on other_tables: "it archives");
#[test]
fn a_storm_with_clean_up_breaks_no_invariant() {
    let meets = &[
        ("(expiry)", "rows", 100),
        ("(age)", "rows", 50),
        ("cleanup_expired", "rows", 15),
        ("cleanup", "rows", 10),
        ("cleanup into archive", "rows", 10),
        ("clean-ups", "overlapping", 8),
        ("rotate", "Expired", 1),
        ("rotate", "NotFound", 20),
        ("rotate_many", "NotFound", 50),
        ("redeem RevokeSession", "NotFound", 5),
    ];
    storm(&Profile { cleans_up: true, under: Under::Nothing, meets });
}

left_out!(under serializable: "it has no retries; `a_storm_under_serializable_breaks_no_invariant` has");
left_out!(on other_tables: "only the trigger makes the successors of other software members of the session");
#[test]
fn a_storm_beside_the_reference_breaks_no_invariant() {
    let meets = &[("reference's rotate", "token", 100), ("reference's rotate", "NotSaid", 50)];
    storm(&Profile { cleans_up: false, under: Under::TheReference, meets });
}

left_out!(on other_tables: "it archives");
/// As on servers that know no other isolation, or hosts that want no other.
#[test]
fn a_storm_under_serializable_breaks_no_invariant() {
    let meets = &[("cleanup_expired", "rows", 15)];
    storm(&Profile { cleans_up: true, under: Under::Serializable, meets });
}

fn seed() -> u64 {
    setting("REFRESH_TOKENS_STORM_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0)
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

fn storm(profile: &Profile) {
    let seed = seed();
    let operations =
        setting("REFRESH_TOKENS_STORM_OPERATIONS").unwrap_or_else(|| Effort::now().pick(40, 150, OPERATIONS));
    let mut history = run(profile, seed, operations);
    if profile.under == Under::Serializable {
        let refused = history.set_aside_what_is_refused();
        report(seed, &Tally::of(&refused));
        assert!(operations < OPERATIONS || refused.calls.len() > 100, "too few were refused: {}", refused.calls.len());
    }
    let tally = judge(&history, seed);
    // Deadlocks end some calls; but they are not what a storm is for.
    assert!(tally.failed() * 100 <= history.calls.len(), "REFRESH_TOKENS_STORM_SEED={seed}: too many errors");
    // The reference takes half of the rotations, and says less of them; calls that are made again take turns from others.
    let share = if matches!(profile.under, Under::TheReference | Under::Serializable) { 2 } else { 1 };
    let always = ALWAYS.iter().map(|(verb, outcome, times)| (*verb, *outcome, times / share));
    let is_rare = |(verb, outcome, times): &(&str, &str, usize)| tally.times(verb, outcome) < *times;
    let rare: Vec<_> = always.chain(profile.meets.iter().copied()).filter(is_rare).collect();
    assert!(operations < OPERATIONS || rare.is_empty(), "REFRESH_TOKENS_STORM_SEED={seed}: too rare: {rare:?}");
}

/// Fails where a rule was broken.
fn judge(history: &History, seed: u64) -> Tally {
    let tally = Tally::of(history);
    report(seed, &tally);
    let broken = check(history);
    assert!(broken.is_empty(), "REFRESH_TOKENS_STORM_SEED={seed}\n{}", explain(history, &broken));
    tally
}

#[expect(clippy::print_stdout, reason = "shown where the test fails, or with --nocapture")]
fn report(seed: u64, tally: &Tally) {
    println!("REFRESH_TOKENS_STORM_SEED={seed}\n{tally}\n");
}

fn run(profile: &Profile, seed: u64, operations: usize) -> History {
    // Without retries, so that a deadlock cannot hide, and with many where every other transaction ends in a conflict.
    let (database, retries) = if profile.under == Under::Serializable {
        (Database::migrated().with(&[("default_transaction_isolation", "serializable")]), RETRIES)
    } else {
        (Database::migrated(), 0)
    };
    let config = database.config().lock_timeout(PATIENCE).statement_timeout(PATIENCE).pool_timeout(PATIENCE);
    let shared = Shared::on(database.url(), config, retries, operations);
    if profile.cleans_up {
        // The next month's, too: it may begin meanwhile.
        shared.host.store.create_archive_partitions(1).expect("the role owns the archive");
    }
    let mut calls = blow(profile, &shared, seed, || ());
    if profile.cleans_up {
        calls.push(last_clean_up(&shared));
    }
    history(profile, &database, calls, 0)
}

/// The calls of all threads, while this one does something else.
fn blow(profile: &Profile, shared: &Shared, seed: u64, meanwhile: impl FnOnce()) -> Vec<Call> {
    let mut calls: Vec<Call> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || work(profile, shared, seed, thread))).collect();
        meanwhile();
        threads.into_iter().flat_map(|thread| thread.join().expect("no verb panics")).collect()
    });
    calls.sort_by_key(|call| call.start);
    calls
}

/// When nobody else is there, it takes all that is due, however small its batches are.
fn last_clean_up(shared: &Shared) -> Call {
    let op = Op::CleanUpBy { archives: true, batch: 2 };
    let [call] = attempt(shared, THREADS, &Drawn::One(op)).try_into().expect("it is one call");
    call
}

fn history(profile: &Profile, database: &Database, calls: Vec<Call>, kills: usize) -> History {
    let mut conn = database.connect();
    let table: Vec<RefreshToken> = dsl::refresh_tokens.select(RefreshToken::as_select()).load(&mut conn).unwrap();
    let archive = if profile.cleans_up { archive::rows(&mut conn) } else { Vec::new() };
    let table = table.iter().map(Row::from).collect();
    History { calls, table, archive, read_at: race::now(&mut conn), kills }
}

/// What all threads have in common.
struct Shared {
    host: Host,
    group: GroupRotator,
    clock: AtomicU64,
    known: Mutex<Known>,
    /// Calls of each thread, unless it ends before.
    operations: usize,
    has_ended: AtomicBool,
}

impl Shared {
    fn on(url: &str, config: StoreConfig, retries: u32, operations: usize) -> Self {
        let config = config.max_connections(CONNECTIONS).conflict_retries(retries);
        let store = open_patiently(url, &config);
        Self {
            group: GroupRotator::new(store.clone(), &GroupConfig::default().queue_timeout(PATIENCE)),
            host: Host { store, retries },
            clock: AtomicU64::new(1),
            known: Mutex::new(Known::default()),
            operations,
            has_ended: AtomicBool::new(false),
        }
    }

    fn tick(&self) -> Stamp {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

fn work(profile: &Profile, shared: &Shared, seed: u64, thread: usize) -> Vec<Call> {
    // The others, and whoever has a transaction, stay beside the group.
    let in_group = !thread.is_multiple_of(4);
    let mut authenticated = None;
    let mut calls = Vec::new();
    for operation in 0..shared.operations {
        if shared.has_ended.load(Ordering::SeqCst) {
            break;
        }
        let mut rng = draw::rng(seed, thread, operation);
        if rng.random_ratio(1, 4) {
            let start = shared.tick();
            let at = shared.host.store.now().ok();
            authenticated = at.map(|at| Authenticated { start, end: shared.tick(), at });
        }
        let drawn = draw::next(&mut rng, profile, &mut shared.known.lock().unwrap(), authenticated, in_group);
        let mut made = attempt(shared, thread, &drawn);
        if profile.under == Under::Kills {
            killed::send_again_until_known(shared, thread, &drawn, &mut made);
        }
        calls.extend(made);
    }
    calls
}

/// Makes the call once; it is one for each request of a batch.
fn attempt(shared: &Shared, thread: usize, drawn: &Drawn) -> Vec<Call> {
    let start = shared.tick();
    let answered = act::act(&shared.host, &shared.group, drawn);
    let end = shared.tick();
    let calls: Vec<Call> = answered.into_iter().map(|(op, answer)| Call { thread, start, end, op, answer }).collect();
    let mut known = shared.known.lock().unwrap();
    for call in &calls {
        known.learn(call);
    }
    drop(known);
    calls
}
