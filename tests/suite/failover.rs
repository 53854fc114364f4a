//! A primary that dies, and its streaming standby, which takes over: what was acknowledged is there, if replication is
//! synchronous, and is not, if it is not.

left_out!(module, through pgbouncer, under serializable, on other_tables: "it starts servers of its own");

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, DurabilityRisk, Error, RefreshToken, RefreshTokenRepository, RefreshTokenStore, Refusal, ReplicaReader,
    Rotation, SessionQuery, StoreConfig, TokenHash, verify_durability,
};
use refresh_tokens_support::database::{connect, with_parameters};
use refresh_tokens_support::doc::{new_token, successor};
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::{Database, Server};
use uuid::Uuid;

use crate::common::{open_patiently, row};

const LIMIT: Duration = Duration::from_secs(60);

/// As the page `docs/failover.md` says.
const SYNCHRONOUS: [&str; 2] = ["synchronous_standby_names=*", "synchronous_commit=remote_apply"];

struct Fleet {
    primary: Server,
    standby: Server,
    database: Database,
}

impl Fleet {
    fn start(settings: &[&str]) -> Self {
        let (primary, standby) = Server::with_standby(settings).unwrap_or_else(|error| panic!("\n\n{error}\n"));
        let database = Database::migrated_on(&primary.url());
        Self { primary, standby, database }
    }

    /// Leads to whichever of the two takes writes.
    fn url(&self) -> String {
        let (primary, standby) = (self.primary.folder().display(), self.standby.folder().display());
        let both = format!("host={primary},{standby}&port=5432,5432&target_session_attrs=read-write&connect_timeout=2");
        self.database.url().replace(&format!("host={primary}&port=5432"), &both)
    }

    fn store(&self) -> RefreshTokenStore {
        let config = StoreConfig::default().pool_timeout(Duration::from_millis(500));
        open_patiently(&self.url(), &config)
    }

    /// A connection to the standby, in the schema of the tests.
    fn on_standby(&self) -> PgConnection {
        let options = format!("options=-csearch_path%3D{}", self.database.schema());
        connect(&with_parameters(&self.standby.url(), &options))
    }

    /// The standby has all that is committed on the primary.
    fn await_replay(&self) {
        let lsn = diesel::dsl::sql::<Text>("SELECT pg_current_wal_flush_lsn()::text");
        let lsn: String = lsn.get_result(&mut self.database.connect()).unwrap();
        let replayed = format!("(SELECT WHERE pg_last_wal_replay_lsn() >= '{lsn}') AS replayed");
        await_count(&mut self.on_standby(), &replayed, 1);
    }

    /// The standby receives nothing from now on.
    fn cut_replication(&self) {
        let mut standby = connect(&self.standby.url());
        standby.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").unwrap();
        standby.batch_execute("SELECT pg_reload_conf()").unwrap();
        await_count(&mut self.database.connect(), "pg_stat_replication", 0);
    }

    fn resume_replication(&self) {
        let mut standby = connect(&self.standby.url());
        let host = self.primary.folder().display();
        let set = format!("ALTER SYSTEM SET primary_conninfo = 'host={host} port=5432 user=postgres'");
        standby.batch_execute(&set).unwrap();
        standby.batch_execute("SELECT pg_reload_conf()").unwrap();
    }

    /// The primary dies for good, and the standby becomes the primary.
    fn fail_over(&mut self) {
        self.primary.kill().unwrap();
        connect(&self.standby.url()).batch_execute("SELECT pg_promote(true, 60)").unwrap();
    }
}

fn count(conn: &mut PgConnection, from: &str) -> i64 {
    diesel::dsl::sql::<BigInt>(&format!("SELECT count(*) FROM {from}")).get_result(conn).expect("the server answers")
}

fn await_count(conn: &mut PgConnection, from: &str, rows: i64) {
    let started = Instant::now();
    while count(conn, from) != rows {
        assert!(started.elapsed() < LIMIT, "{from} did not come to have {rows} rows");
        sql_query("SELECT pg_sleep(0.01)").execute(conn).unwrap();
    }
}

const COMMITTING: &str = "pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'";

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What a client knows of its session.
struct Client {
    spent: Vec<TokenHash>,
    live: RefreshToken,
    failures: usize,
    repeated: usize,
}

impl Client {
    fn log_in(store: &RefreshTokenStore) -> Self {
        let live = store.create(&new_token()).unwrap();
        Self { spent: Vec::new(), live, failures: 0, repeated: 0 }
    }

    /// Sends one rotation until it is answered.
    fn refresh(&mut self, store: &RefreshTokenStore) {
        let successor = successor();
        let started = Instant::now();
        let next = loop {
            match store.rotate(&self.live.token_hash, &successor, Binding::ANY) {
                Ok(Rotation::Rotated(next)) => break next,
                Ok(Rotation::Repeated(next)) => {
                    self.repeated += 1;
                    break next;
                }
                Ok(Rotation::Refused(refusal)) => panic!("{refusal:?}"),
                Err(error) => {
                    assert!(error.is_transient(), "{error:?}");
                    assert!(started.elapsed() < LIMIT, "{error:?}");
                    self.failures += 1;
                }
            }
        };
        self.spent.push(std::mem::replace(&mut self.live, next).token_hash);
    }
}

#[test]
fn a_synchronous_standby_has_all_that_was_acknowledged_and_the_unknown_is_resolved() {
    const CLIENTS: usize = 8;
    let mut fleet = Fleet::start(&SYNCHRONOUS);
    let store = fleet.store();
    let (acknowledged, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let await_acknowledged = |more: usize| {
        let (from, started) = (acknowledged.load(Ordering::SeqCst), Instant::now());
        while acknowledged.load(Ordering::SeqCst) < from + more {
            assert!(started.elapsed() < LIMIT, "no rotations are acknowledged");
            thread::yield_now();
        }
    };
    let clients: Vec<Client> = thread::scope(|scope| {
        let client = |_| {
            scope.spawn(|| {
                let mut client = Client::log_in(&store);
                while !stop.load(Ordering::SeqCst) {
                    client.refresh(&store);
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                client
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        // Also where this thread fails: the scope waits for the clients.
        let at_the_end = SetOnDrop(&stop);
        await_acknowledged(400);
        // The standby goes on to receive, and so has what is committed, but confirms nothing: each client's COMMIT waits.
        fleet.on_standby().batch_execute("SELECT pg_wal_replay_pause()").unwrap();
        await_count(&mut fleet.database.connect(), COMMITTING, i64::try_from(CLIENTS).unwrap());
        fleet.fail_over();
        await_acknowledged(400);
        drop(at_the_end);
        clients.into_iter().map(|client| client.join().expect("no client fails")).collect()
    });

    let repeated: usize = clients.iter().map(|client| client.repeated).sum();
    assert_eq!(repeated, CLIENTS, "the COMMITs that nobody acknowledged had happened, and were answered again");
    assert!(clients.iter().all(|client| client.failures > 0), "each lost its connection");
    let mut conn = fleet.on_standby();
    let mut spent_tokens = 0;
    for client in &clients {
        for hash in &client.spent {
            let outcome = store.rotate(hash, &successor(), Binding::ANY);
            assert!(matches!(outcome, Ok(Rotation::Refused(Refusal::Reused(_)))), "{outcome:?}");
            spent_tokens += 1;
        }
        let of_session = dsl::refresh_tokens.filter(dsl::session_id.eq(client.live.session_id));
        let live = of_session.filter(dsl::rotated_to.is_null()).filter(dsl::revoked_at.is_null());
        assert_eq!(live.select(dsl::id).load(&mut conn), Ok(vec![client.live.id]), "invariant 1");
        let rows = i64::try_from(client.spent.len() + 1).unwrap();
        assert_eq!(of_session.count().get_result(&mut conn), Ok(rows), "nothing is lost, and nothing there twice");
    }
    assert_eq!(spent_tokens, acknowledged.into_inner());
    print(&format!("{spent_tokens} acknowledged rotations, {repeated} of them resolved after the failover, none lost"));
}

/// Why synchronous replication is a requirement: each acknowledged rotation that is lost makes a spent token valid again.
#[test]
fn an_asynchronous_standby_that_is_behind_revives_spent_tokens() {
    const CLIENTS: usize = 20;
    let mut fleet = Fleet::start(&[]);
    let store = fleet.store();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::log_in(&store)).collect();
    for client in &mut clients {
        client.refresh(&store);
    }
    fleet.await_replay();
    fleet.cut_replication();
    for client in &mut clients {
        client.refresh(&store);
        assert_eq!(client.failures, 0, "each is acknowledged");
    }
    fleet.fail_over();
    let mut conn = fleet.on_standby();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let mut revived = 0;
    for client in &clients {
        let [first, second] = &client.spent[..] else { panic!("it was rotated twice") };
        assert!(tokens.check_token_reuse(first).unwrap().is_some(), "what had been replicated is there");
        revived += usize::from(tokens.get_valid_by_hash(second, Binding::ANY).unwrap().is_some());
        assert_eq!(tokens.get_by_hash(&client.live.token_hash), Ok(None), "its client holds what nobody knows");
    }
    assert_eq!(revived, CLIENTS, "each spent token is valid again");
    print(&format!("{revived} of {} acknowledged rotations lost by an asynchronous standby", 2 * CLIENTS));
}

/// A COMMIT that waits for a standby is bounded by no timeout of PostgreSQL's: `docs/failover.md` says what to do.
#[test]
fn a_commit_waits_for_its_synchronous_standby_and_is_unknown_when_it_is_terminated() {
    let fleet = Fleet::start(&SYNCHRONOUS);
    let config = StoreConfig::default().statement_timeout(Duration::from_millis(500)).max_connections(1);
    let store = RefreshTokenStore::connect(&fleet.url(), &config).unwrap();
    let token = store.create(&new_token()).unwrap();
    let mut observer = fleet.database.connect();
    fleet.cut_replication();
    let request = successor();
    let send = || {
        let (store, presented, request) = (store.clone(), token.token_hash.clone(), request.clone());
        thread::spawn(move || store.rotate(&presented, &request, Binding::ANY))
    };
    let first = send();
    await_count(&mut observer, COMMITTING, 1);
    sql_query("SELECT pg_sleep(1)").execute(&mut observer).unwrap(); // twice the statement's bound
    assert_eq!(count(&mut observer, COMMITTING), 1);
    assert!(!first.is_finished());
    observer.batch_execute(&format!("SELECT pg_terminate_backend(pid) FROM {COMMITTING}")).unwrap();
    assert_eq!(first.join().unwrap(), Err(Error::ConnectionLost));
    // It is committed here and nowhere else, so the same answer waits, too: a fail-over now would take it back.
    let again = send();
    await_count(&mut observer, COMMITTING, 1);
    assert!(!again.is_finished());
    fleet.resume_replication();
    let again = again.join().unwrap();
    assert!(matches!(again, Ok(Rotation::Repeated(_))), "{again:?}");
}

/// Each setting by itself: what is reported, and the connection for which it is.
#[test]
fn what_can_lose_an_acknowledged_change_is_reported() {
    use DurabilityRisk::{
        CommitNotAwaited, FsyncOff, FullPageWritesOff, IsStandby, NoSynchronousStandby, StandbyMayNotHaveWritten,
        StandbyNotAwaited, UnloggedTable,
    };
    let fleet = Fleet::start(&["synchronous_standby_names=*", "fsync=on"]);
    let mut conn = fleet.database.connect();
    assert_eq!(verify_durability(&mut conn), Ok(vec![]));
    for (commit, risk) in [
        ("off", Some(CommitNotAwaited)),
        ("local", Some(StandbyNotAwaited)),
        ("remote_write", Some(StandbyMayNotHaveWritten)),
        ("on", None),
        ("remote_apply", None),
    ] {
        conn.batch_execute(&format!("SET synchronous_commit = {commit}")).unwrap();
        assert_eq!(verify_durability(&mut conn), Ok(risk.into_iter().collect()), "{commit}");
    }
    for table in ["refresh_tokens", "refresh_token_cutoffs", "refresh_token_gates"] {
        conn.batch_execute(&format!("ALTER TABLE {table} SET UNLOGGED")).unwrap();
        assert_eq!(verify_durability(&mut conn), Ok(vec![UnloggedTable]), "{table}");
        conn.batch_execute(&format!("ALTER TABLE {table} SET LOGGED")).unwrap();
    }
    // The standby of these tests has neither fsync nor a standby of its own.
    assert_eq!(verify_durability(&mut fleet.on_standby()), Ok(vec![NoSynchronousStandby, IsStandby, FsyncOff]));
    let torn = Server::temporary_with(Durability::Process, &["full_page_writes=off"]).unwrap();
    let risks = verify_durability(&mut connect(&torn.url()));
    assert_eq!(risks, Ok(vec![NoSynchronousStandby, FsyncOff, FullPageWritesOff]));
}

#[test]
fn a_replica_says_up_to_which_moment_it_knows() {
    let fleet = Fleet::start(&[]);
    let (mut primary, mut replica) = (fleet.database.connect(), fleet.on_standby());
    let token = RefreshTokenRepository::new(&mut primary).create(&new_token()).unwrap();
    fleet.await_replay();
    let query = SessionQuery::of_user(token.user_id);
    let look_up = |conn: &mut PgConnection| {
        let mut replica = ReplicaReader::new(conn);
        let found = replica.get_by_hash(&token.token_hash).unwrap().into_inner().expect("it was created");
        let sessions = replica.list_sessions(&query).unwrap().into_inner().sessions.len();
        let of_another = replica.get_valid_by_hash(&token.token_hash, Binding::user(Uuid::new_v4())).unwrap();
        assert_eq!(of_another.into_inner(), None, "it is bound here, too");
        let valid = replica.get_valid_by_hash(&token.token_hash, Binding::user(token.user_id)).unwrap();
        (found.revoked_at, sessions, valid)
    };
    let (revoked_at, sessions, valid) = look_up(&mut replica);
    assert_eq!((revoked_at, sessions), (None, 1));
    assert!(valid.as_of().unwrap() >= token.created_at);

    replica.batch_execute("SELECT pg_wal_replay_pause()").unwrap();
    assert!(RefreshTokenRepository::new(&mut primary).revoke(token.id).unwrap().is_revoked());
    let revoked_at = row(&mut primary, &token.token_hash).revoked_at.unwrap();
    let (unknown, sessions, valid) = look_up(&mut replica);
    assert_eq!((unknown, sessions), (None, 1), "the revocation has not come here");
    assert!(valid.as_of().unwrap() < revoked_at);
    let age = valid.age().unwrap();
    let valid = valid.if_fresher_than(age - TimeDelta::microseconds(1)).expect_err("it is older");
    assert!(valid.if_fresher_than(age).unwrap().is_some());

    replica.batch_execute("SELECT pg_wal_replay_resume()").unwrap();
    fleet.await_replay();
    let (known, sessions, valid) = look_up(&mut replica);
    assert_eq!((known, sessions), (Some(revoked_at), 0));
    assert!(valid.as_of().unwrap() >= revoked_at);
    assert_eq!(valid.into_inner(), None);
    let refused = RefreshTokenRepository::new(&mut replica).revoke(token.id);
    assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
    assert_eq!(ReplicaReader::new(&mut primary).get_by_hash(&token.token_hash).unwrap().age(), Some(TimeDelta::zero()));
}

#[expect(clippy::print_stdout, reason = "shown where the test fails, or with --nocapture")]
fn print(line: &str) {
    println!("{line}");
}
