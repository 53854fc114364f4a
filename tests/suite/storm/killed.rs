//! The storm while the server is killed and restarted, again and again. Whoever lost an answer sends the same request
//! again until it is answered; nothing that was acknowledged may be missing then, and nothing may have happened twice.
//!
//! `REFRESH_TOKENS_KILLS` sets how often.

left_out!(module, through pgbouncer, under serializable, on other_tables: "it starts a server of its own");

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proptest::prelude::RngExt;
use refresh_tokens::StoreConfig;
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::{Database, Effort, Server};

use super::draw::{self, Drawn};
use super::history::{Answer, Call};
use super::{Profile, Shared, THREADS, Under, attempt, blow, history, judge, seed, setting};

/// Kills in proof; elsewhere fewer, unless `REFRESH_TOKENS_KILLS` says otherwise.
const KILLS: usize = 100;

/// How long the server may take to come back on a busy machine, and a call until it is answered.
const LIMIT: Duration = Duration::from_secs(60);

const PROFILE: Profile = Profile { cleans_up: false, under: Under::Kills, meets: &[] };

#[test]
fn a_storm_over_a_server_that_is_killed_loses_nothing_and_does_nothing_twice() {
    let (seed, kills) = (seed(), setting("REFRESH_TOKENS_KILLS"));
    let kills = kills.unwrap_or_else(|| Effort::now().pick(4, 20, KILLS));
    let mut server = Server::temporary(Durability::Process).unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let database = Database::migrated_on(&server.url());
    // A pool that cannot connect tries again after half of this.
    let config = StoreConfig::default().pool_timeout(Duration::from_millis(200));
    let shared = Shared::on(database.url(), config, 0, usize::MAX);
    let mut outcome = Ok(());
    let calls = blow(&PROFILE, &shared, seed, || {
        outcome = (0..kills).try_for_each(|kill| kill_at_work(&mut server, &shared, seed, kill));
        shared.has_ended.store(true, Ordering::SeqCst);
    });
    outcome.unwrap_or_else(|error| panic!("REFRESH_TOKENS_STORM_SEED={seed}: {error}"));
    let history = history(&PROFILE, &database, calls, kills);
    let tally = judge(&history, seed);
    let lost = history.calls.iter().filter(|call| call.is_unknown()).count();
    assert!(lost >= kills, "{lost} answers were lost by {kills} kills: they do not come at work\n{tally}");
    for (verb, outcome) in [("create", "token"), ("rotate", "token"), ("rotate in group", "token")] {
        let is_met = 4 * tally.times(verb, outcome) >= kills || kills < KILLS;
        assert!(is_met, "{verb}: {outcome} is too rare\n{tally}");
    }
}

/// After so many stamps that every thread has begun something, and some have begun it just now.
fn kill_at_work(server: &mut Server, shared: &Shared, seed: u64, kill: usize) -> Result<(), String> {
    let mut rng = draw::rng(seed, THREADS, kill);
    let due = shared.clock.load(Ordering::SeqCst) + rng.random_range(2 * THREADS as u64..12 * THREADS as u64);
    let started = Instant::now();
    while shared.clock.load(Ordering::SeqCst) < due {
        if started.elapsed() > LIMIT {
            return Err(format!("the storm did not go on after kill {kill}"));
        }
        #[expect(clippy::disallowed_methods, reason = "the threads tell nobody when they go on; bounded by LIMIT")]
        std::thread::sleep(Duration::from_micros(200));
    }
    server.crash().map_err(|error| error.to_string())
}

/// Makes a call that failed once more, as a host would: also one that failed for another reason, for an earlier
/// attempt at it may have succeeded.
pub(super) fn send_again_until_known(shared: &Shared, thread: usize, drawn: &Drawn, calls: &mut Vec<Call>) {
    let started = Instant::now();
    let mut last = calls.clone();
    while last.iter().any(is_to_be_sent_again) {
        assert!(started.elapsed() < LIMIT, "nobody answers it: {last:?}");
        last = attempt(shared, thread, drawn);
        calls.extend(last.iter().cloned());
    }
}

fn is_to_be_sent_again(call: &Call) -> bool {
    let Answer::Failed(error) = &call.answer else { return false };
    ["ConnectionLost", "Unreachable", "PoolExhausted", "Busy", "Conflict"].iter().any(|kind| error.starts_with(kind))
}
