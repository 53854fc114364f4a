//! Whoever cleans up is killed in the middle of it, or the server is: each row is in one place afterwards.

left_out!(module, through pgbouncer, under serializable, on other_tables:
    "it starts a server of its own, and processes that others wait for");

use std::cell::RefCell;
use std::process::{Command, Stdio};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use refresh_tokens::{CleanupBudget, Janitor, JanitorConfig, RefreshTokenRepository, RefreshTokenStore, StoreConfig};
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::{Database, Effort, Server, race};

use super::policy;
use super::rows::expired_rows;

const ROWS: i32 = 6_000;

/// Small, so that there are many moments to be killed at.
const BATCH: u32 = 20;

/// In proof.
const KILLS: u64 = 8;

fn kills() -> u64 {
    Effort::now().pick(2, 4, KILLS)
}

#[derive(Debug, PartialEq, Eq, QueryableByName)]
struct Places {
    #[diesel(sql_type = BigInt)]
    table: i64,
    #[diesel(sql_type = BigInt)]
    archive: i64,
    /// In one of the two or in both.
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

fn places(conn: &mut PgConnection) -> Places {
    let query = "SELECT (SELECT count(*) FROM refresh_tokens) AS table,
        (SELECT count(*) FROM refresh_tokens_archive) AS archive,
        (SELECT count(*) FROM (SELECT id FROM refresh_tokens UNION SELECT id FROM refresh_tokens_archive) all_of_them)
            AS rows";
    sql_query(query).get_result(conn).unwrap()
}

/// Each row is in one of the two tables, and not all have moved.
fn assert_in_one_place(places: &Places) {
    assert_eq!((places.rows, places.table + places.archive), (i64::from(ROWS), i64::from(ROWS)), "{places:?}");
}

fn filled(database: &Database) -> PgConnection {
    let mut conn = database.connect();
    expired_rows(&mut conn, ROWS);
    RefreshTokenRepository::new(&mut conn).create_archive_partitions(0).unwrap();
    conn
}

/// The server process of a killed client may be in its last batch still, and clean-up skips what is locked: it is called
/// until nothing is left, as a host does.
fn finish(conn: &mut PgConnection) {
    let conn = RefCell::new(conn);
    race::wait_for(|| {
        let conn = &mut **conn.borrow_mut();
        RefreshTokenRepository::new(conn).cleanup(&policy().archive(), &CleanupBudget::default()).unwrap();
        let places = places(conn);
        assert_in_one_place(&places);
        places.table == 0
    });
}

const INNER: &str = "REFRESH_TOKENS_TEST_CLEANS_UP_AT";

/// Two processes: the inner one archives, the outer one kills it once it is at work, again and again.
#[test]
fn each_row_is_in_one_place_after_the_process_was_killed() {
    if let Ok(url) = std::env::var(INNER) {
        let mut conn = PgConnection::establish(&url).unwrap();
        let budget = CleanupBudget::default().batch(BATCH);
        RefreshTokenRepository::new(&mut conn).cleanup(&policy().archive(), &budget).unwrap();
        return;
    }
    let database = Database::migrated();
    let mut conn = filled(&database);
    for kill in 1..=kills() {
        let mut inner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "retention::killed::each_row_is_in_one_place_after_the_process_was_killed"])
            .env(INNER, database.url())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let before = places(&mut conn).archive;
        let observer = RefCell::new(&mut conn);
        race::wait_for(|| places(*observer.borrow_mut()).archive > before);
        inner.kill().unwrap(); // SIGKILL
        inner.wait().unwrap();
        let places = places(&mut conn);
        assert_in_one_place(&places);
        assert!(places.table > 0, "it was killed at work {kill} times");
    }
    finish(&mut conn);
}

/// The janitor goes on over it. Its last batches may be undone, because it does not wait for the disk: then they are due.
#[test]
fn each_row_is_in_one_place_after_the_server_was_killed() {
    let mut server = Server::temporary(Durability::Process).unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let database = Database::migrated_on(&server.url());
    drop(filled(&database));
    let store =
        RefreshTokenStore::connect(database.url(), &StoreConfig::default().max_connections(2)).expect("it runs");
    let config = JanitorConfig::default()
        .jitter(Duration::ZERO)
        .interval(Duration::from_millis(1))
        .budget(CleanupBudget::default().batch(BATCH).pause(Duration::from_millis(1)));
    let janitor = Janitor::start(store, policy().archive(), config).unwrap();
    for kill in 1..=kills() {
        let before = janitor.statistics().tokens;
        race::wait_for(|| janitor.statistics().tokens > before + u64::from(BATCH));
        server.crash().unwrap_or_else(|error| panic!("{error}"));
        let places = places(&mut database.connect());
        assert_in_one_place(&places);
        assert!(places.table > 0, "it was killed at work {kill} times");
    }
    race::wait_for(|| places(&mut database.connect()).table == 0);
    let statistics = janitor.stop();
    assert!(statistics.failures > 0, "{statistics:?}");
    finish(&mut database.connect());
}
