//! A server on which advisory locks do nothing, as distributed ones have it: functions of their names stand before
//! PostgreSQL's in the search path.

left_out!(module, through pgbouncer:
    "it builds under a lock of the session: that is for a connection to PostgreSQL itself");
left_out!(module, on other_tables: "it is about how the tables are made");

use std::sync::{Arc, Barrier};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{Error, build_indexes, migrate, verify_schema};
use refresh_tokens_support::{Database, database};

use crate::migrations::NAMES;

const PROCESSES: usize = 8;

/// A schema in which nobody can lock anything by a number.
fn without_locks() -> (Database, String) {
    let empty = Database::empty();
    let path = format!("{}, pg_catalog", empty.schema());
    let empty = empty.with(&[("search_path", &path)]);
    let url = empty.url().to_owned();
    let mut conn = database::connect(&url);
    conn.batch_execute(
        "CREATE FUNCTION pg_advisory_xact_lock(bigint) RETURNS void LANGUAGE sql AS '';
         CREATE FUNCTION pg_try_advisory_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE FUNCTION pg_advisory_unlock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';",
    )
    .unwrap();
    (empty, url)
}

/// What so many answer who all begin at once.
fn at_once<T: Send + 'static>(url: &str, work: fn(&mut PgConnection) -> T) -> Vec<T> {
    let start = Arc::new(Barrier::new(PROCESSES));
    let threads: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let (mut conn, start) = (database::connect(url), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                work(&mut conn)
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn the_locks_are_not_there() {
    diesel::define_sql_function! { fn pg_try_advisory_lock(key: diesel::sql_types::BigInt) -> Bool; }
    let (_database, url) = without_locks();
    let locked = at_once(&url, |conn| diesel::select(pg_try_advisory_lock(1)).get_result::<bool>(conn).unwrap());
    assert_eq!(locked, [true; PROCESSES]);
}

#[test]
fn many_processes_migrate_at_once_all_the_same() {
    for _ in 0..10 {
        let (_database, url) = without_locks();
        let applied: Vec<String> = at_once(&url, migrate).into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(applied, NAMES, "each once");
        assert_eq!(verify_schema(&mut database::connect(&url)), Ok(()));
    }
}

/// As after an update of the library: the ledger is there, so nobody collides in making it.
#[test]
fn many_processes_migrate_at_once_from_an_earlier_version() {
    for _ in 0..10 {
        let (_database, url) = without_locks();
        let ledger = "CREATE TABLE refresh_tokens_migrations (
            version    text        PRIMARY KEY,
            adopted    boolean     NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )";
        database::connect(&url).batch_execute(ledger).unwrap();
        let applied: Vec<String> = at_once(&url, migrate).into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(applied, NAMES, "each once");
        assert_eq!(verify_schema(&mut database::connect(&url)), Ok(()));
    }
}

left_out!(under serializable: "it waits for every transaction of a server");
/// They run into each other, and are told; whoever calls again until it is answered leaves all indexes behind.
#[test]
fn many_processes_build_the_indexes_at_once_all_the_same() {
    for _ in 0..2 {
        let (_database, url) = without_locks();
        let mut conn = database::connect(&url);
        migrate(&mut conn).unwrap();
        conn.batch_execute("DROP INDEX refresh_tokens_user_id_idx, refresh_tokens_session_id_idx").unwrap();
        let tries = at_once(&url, |conn| {
            // A role that may not set it waits the server's second for the victim of a deadlock.
            let _ = conn.batch_execute("SET deadlock_timeout = '50ms'");
            let built = |_: &usize| match build_indexes(conn) {
                Err(error) if error.is_transient() => false,
                outcome => outcome.map(|_| true).unwrap(),
            };
            (1..1_000).find(built)
        });
        assert!(tries.iter().all(Option::is_some), "{tries:?}");
        let left = build_indexes(&mut conn);
        assert_eq!(left, Ok::<_, Error>(Vec::new()));
        assert_eq!(verify_schema(&mut conn), Ok(()));
    }
}
