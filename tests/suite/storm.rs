//! A storm: many threads over few connections run every verb at random on few users, and a checker proves from what
//! they were answered, and from the table at the end, that no invariant was broken (design.md §4, 1 to 6).
//!
//! A failure names its seed. `REFRESH_TOKENS_STORM_SEED` repeats its draws, thread by thread; how the threads interleave
//! cannot be repeated, so it may take several runs. `REFRESH_TOKENS_STORM_OPERATIONS` sets the calls of each thread.

mod act;
mod check;
mod draw;
mod facts;
mod history;
mod known;
mod objections;
mod tally;

use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use diesel::prelude::*;
use proptest::prelude::RngExt;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{GroupConfig, GroupRotator, RefreshToken, RefreshTokenStore};
use refresh_tokens_support::database::config;
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

use check::{check, explain};
use history::{Authenticated, Call, History, Row};
use known::Known;
use tally::Tally;

const THREADS: usize = 16;
const CONNECTIONS: u32 = 8;

/// Calls of each thread, unless `REFRESH_TOKENS_STORM_OPERATIONS` says otherwise.
const OPERATIONS: usize = 500;

/// Who takes part, beside the verbs that always do.
struct Profile {
    /// Tokens expire, and clean-up deletes them; without it, receipts are summed up to the row.
    cleans_up: bool,
    beside_the_reference: bool,
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
    ("redeem RevokeSession", "Given", 5),
    ("redeem RevokeSession", "Given, live", 3),
    ("redeem RevokeSession", "GivenBefore", 1),
    ("redeem RevokeSession in group", "token", 15),
    ("redeem RevokeSession in group", "Given", 8),
    ("redeem EndSession", "token", 8),
    ("redeem EndSession", "Given", 4),
    ("redeem EndSession in group", "token", 8),
    ("redeem RevokeChain", "token", 8),
    ("redeem RevokeChain", "Given", 4),
    ("redeem RevokeUser", "token", 4),
    ("redeem RevokeUser", "Given, live", 2),
    ("redeem ReportOnly", "ReportedOnly", 10),
    ("sent again", "the same answer", 15),
    ("revoke", "SessionEnded", 10),
    ("revoke", "SessionGoesOn", 1),
    ("revoke_by_hash", "SessionEnded", 20),
    ("revoke_by_hash", "SessionGoesOn", 1),
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

#[test]
fn a_storm_breaks_no_invariant_and_the_receipts_add_up() {
    storm(&Profile { cleans_up: false, beside_the_reference: false, meets: &[] });
}

#[test]
fn a_storm_with_clean_up_breaks_no_invariant() {
    let meets = &[("cleanup_expired", "rows", 30), ("(expiry)", "rows", 100), ("rotate", "Expired", 2)];
    storm(&Profile { cleans_up: true, beside_the_reference: false, meets });
}

#[test]
fn a_storm_beside_the_reference_breaks_no_invariant() {
    let meets = &[("reference's rotate", "token", 100), ("reference's rotate", "NotSaid", 50)];
    storm(&Profile { cleans_up: false, beside_the_reference: true, meets });
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

fn storm(profile: &Profile) {
    let seed = setting("REFRESH_TOKENS_STORM_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    let operations = setting("REFRESH_TOKENS_STORM_OPERATIONS").unwrap_or(OPERATIONS);
    let history = run(profile, seed, operations);
    let tally = Tally::of(&history);
    report(seed, &tally);
    let broken = check(&history);
    assert!(broken.is_empty(), "REFRESH_TOKENS_STORM_SEED={seed}\n{}", explain(&history, &broken));
    // Waits have bounds, and a machine may be busy; but they are not what a storm is for.
    assert!(tally.failed() * 100 <= history.calls.len(), "REFRESH_TOKENS_STORM_SEED={seed}: too many errors");
    let is_rare = |(verb, outcome, times): &&(&str, &str, usize)| tally.times(verb, outcome) < *times;
    let rare: Vec<_> = ALWAYS.iter().chain(profile.meets).filter(is_rare).collect();
    assert!(operations < OPERATIONS || rare.is_empty(), "REFRESH_TOKENS_STORM_SEED={seed}: too rare: {rare:?}");
}

#[expect(clippy::print_stdout, reason = "shown where the test fails, or with --nocapture")]
fn report(seed: u64, tally: &Tally) {
    println!("REFRESH_TOKENS_STORM_SEED={seed}\n{tally}\n");
}

fn run(profile: &Profile, seed: u64, operations: usize) -> History {
    let database = Database::migrated();
    // Without retries, so that a deadlock cannot hide.
    let config = config().max_connections(CONNECTIONS).conflict_retries(0);
    let store = RefreshTokenStore::connect(database.url(), &config).expect("the database answers");
    let group = GroupRotator::new(store.clone(), &GroupConfig::default());
    let shared = Shared { store, group, clock: AtomicU64::new(1), known: Mutex::new(Known::default()) };
    let mut calls: Vec<Call> = std::thread::scope(|scope| {
        let thread = |thread| {
            let shared = &shared;
            scope.spawn(move || work(profile, shared, seed, thread, operations))
        };
        let threads: Vec<_> = (0..THREADS).map(thread).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no verb panics")).collect()
    });
    calls.sort_by_key(|call| call.start);
    let mut conn = database.connect();
    let table: Vec<RefreshToken> = dsl::refresh_tokens.select(RefreshToken::as_select()).load(&mut conn).unwrap();
    History { calls, table: table.iter().map(Row::from).collect(), read_at: race::now(&mut conn) }
}

/// What all threads have in common.
struct Shared {
    store: RefreshTokenStore,
    group: GroupRotator,
    clock: AtomicU64,
    known: Mutex<Known>,
}

fn work(profile: &Profile, shared: &Shared, seed: u64, thread: usize, operations: usize) -> Vec<Call> {
    let Shared { store, group, clock, known } = shared;
    let tick = || clock.fetch_add(1, Ordering::SeqCst);
    // The others, and whoever has a transaction, stay beside the group.
    let in_group = !thread.is_multiple_of(4);
    let mut authenticated = None;
    let mut calls = Vec::with_capacity(operations);
    for operation in 0..operations {
        let mut rng = draw::rng(seed, thread, operation);
        if rng.random_ratio(1, 4) {
            let start = tick();
            let at = store.now().ok();
            authenticated = at.map(|at| Authenticated { start, end: tick(), at });
        }
        let drawn = draw::next(&mut rng, profile, &mut known.lock().unwrap(), authenticated, in_group);
        let start = tick();
        let answered = act::act(store, group, drawn);
        let end = tick();
        for (op, answer) in answered {
            let call = Call { thread, start, end, op, answer };
            known.lock().unwrap().learn(&call);
            calls.push(call);
        }
    }
    calls
}
