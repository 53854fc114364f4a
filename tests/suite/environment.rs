//! What goes wrong around the library: a full disk, no connection left, a read-only server, a clock that is set back, an
//! operator who ends a process. Each time a typed error within the bounds of the store, nothing lost, and the same store
//! works again afterwards.

left_out!(module, under serializable, on other_tables:
    "it starts servers of its own, or waits for every transaction of a server");

mod clock;
mod connections;
mod disk;
mod read_only;
mod terminated;

use std::time::{Duration, Instant};

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use refresh_tokens::{Error, RefreshTokenStore, Result, Wait};
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::{Database, Server, race};

use crate::common::open_patiently;
use crate::every_verb::{Case, VERBS, Verb};

const POOL: Duration = Duration::from_millis(100);
const LOCK: Duration = Duration::from_millis(100);

/// The verb whose login says when it was authenticated.
const AUTHENTICATED: &str = "create, authenticated and limited";

/// What a busy machine may add to a bound.
const BUSY: Duration = Duration::from_secs(5);

/// One connection, so that it is known which one a call takes.
fn store_on(database: &Database) -> RefreshTokenStore {
    let config = database.config().max_connections(1).pool_timeout(POOL).lock_timeout(LOCK);
    open_patiently(database.url(), &config)
}

fn private() -> (Server, Database) {
    let server = Server::temporary(Durability::Process).unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let database = Database::migrated_on(&server.url());
    (server, database)
}

fn cases(database: &Database) -> Vec<(&'static Verb, Case)> {
    cases_on(&mut database.connect())
}

fn cases_on(conn: &mut PgConnection) -> Vec<(&'static Verb, Case)> {
    VERBS.iter().map(|verb| (verb, Case::new(conn))).collect()
}

fn call(store: &RefreshTokenStore, verb: &Verb, case: &Case, bound: Duration) -> Result<&'static str> {
    let started = Instant::now();
    let outcome = store.with(|tokens| (verb.call)(tokens, case));
    assert!(started.elapsed() < bound + BUSY, "{}: {:?}", verb.name, started.elapsed());
    outcome
}

/// Every verb, in the fault, and again after it.
fn every_verb(
    database: &Database,
    store: &RefreshTokenStore,
    bound: Duration,
    fault: impl FnOnce(),
    is_meant: impl Fn(&Verb, &Result<&'static str>) -> bool,
    end: impl FnOnce(),
) {
    // Its observer needs no connection that the fault refuses.
    let mut conn = database.connect();
    let cases = cases_on(&mut conn);
    fault();
    for (verb, case) in &cases {
        let outcome = call(store, verb, case, bound);
        assert!(is_meant(verb, &outcome), "{}: {outcome:?}", verb.name);
        if let Err(error) = outcome {
            assert!(error.is_transient() && !error.is_outcome_unknown(), "{}: {error:?}", verb.name);
        }
    }
    end();
    for (verb, case) in &cases {
        assert!(case.is_untouched(&mut conn), "{}", verb.name);
    }
    for (verb, case) in &cases {
        let mut case = case.clone();
        if verb.name == AUTHENTICATED {
            // The first step of revoke_all_for_everyone may have been made.
            case.live.created_at = race::now(&mut conn);
        }
        assert_eq!(call(store, verb, &case, bound), Ok(verb.first), "{}, afterwards", verb.name);
    }
}

/// Somebody migrates, or vacuums fully. Even who only reads has to wait.
#[test]
fn invariant_9_a_table_locked_by_access_exclusive_is_busy_in_time() {
    let database = Database::migrated().with(&[("lock_timeout", "100ms")]);
    let store = store_on(&database);
    let holder = std::cell::RefCell::new(database.connect());
    let busy = |verb: &Verb, outcome: &Result<&'static str>| match verb.name {
        "now" => outcome.is_ok(),
        _ => *outcome == Err(Error::Busy(Wait::Lock)),
    };
    let lock = || {
        let text = "BEGIN; SET LOCAL lock_timeout = 0; LOCK TABLE refresh_tokens IN ACCESS EXCLUSIVE MODE";
        holder.borrow_mut().batch_execute(text).unwrap();
    };
    every_verb(&database, &store, 3 * LOCK, lock, busy, || holder.borrow_mut().batch_execute("COMMIT").unwrap());
}
