//! The pooled store: shared among threads, and every wait bounded (invariant 9).

use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use refresh_tokens::{
    Binding, Error, NewRefreshToken, RefreshTokenRepository, RefreshTokenStore, Refusal, RevokedReason, Rotation,
    SessionOptions, StoreConfig, TokenRevocation, Wait,
};
use refresh_tokens_support::doc::{new_token, store, successor};
use refresh_tokens_support::{Database, race, reference};
use uuid::Uuid;

fn config(database: &Database) -> StoreConfig {
    database.config().max_connections(2)
}

fn open(database: &Database, config: &StoreConfig) -> RefreshTokenStore {
    RefreshTokenStore::connect(database.url(), config).expect("the database answers")
}

#[test]
fn it_is_shared_among_threads() {
    fn is_shareable<T: Clone + Send + Sync + 'static>(_: &T) {}

    let database = Database::migrated();
    let store = open(&database, &config(&database));
    is_shareable(&store);
    let user_id = Uuid::new_v4();
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || {
                let mut token = store.create(&NewRefreshToken { user_id, ..new_token() })?;
                for _ in 0..20 {
                    match store.rotate(&token.token_hash, &successor(), Binding::user(user_id))? {
                        Rotation::Rotated(next) | Rotation::Repeated(next) => token = next,
                        Rotation::Refused(refusal) => panic!("{refusal:?}"),
                    }
                }
                Ok::<_, Error>(token.id)
            })
        })
        .collect();
    let mut last: Vec<Uuid> = workers.into_iter().map(|worker| worker.join().unwrap().unwrap()).collect();
    let mut active: Vec<Uuid> = store.get_active_tokens_for_user(user_id).unwrap().iter().map(|t| t.id).collect();
    last.sort();
    active.sort();
    assert_eq!(active, last);
    assert!(store.pool().state().connections <= 2);
    assert_eq!(store.revoke_all_for_user(user_id).map(|receipt| receipt.tokens), Ok(8 * 21));
}

#[test]
fn a_transaction_of_the_store_is_one() {
    let database = Database::migrated();
    let store = store(&database);
    let token = store.create(&new_token()).unwrap();
    let undone: Result<(), Error> = store.transaction(|tx| {
        assert!(tx.revoke(token.id)?.is_revoked());
        Err(Error::Conflict)
    });
    assert_eq!(undone, Err(Error::Conflict));
    let rotated = store.transaction(|tx| {
        let locked = tx.get_valid_for_rotation(&token.token_hash, Binding::ANY)?;
        locked.expect("it is valid").rotate_to(&successor())
    });
    assert_eq!(rotated.unwrap().session_id, token.session_id);
    assert!(store.check_token_reuse(&token.token_hash).unwrap().is_some());
}

#[test]
fn invariant_9_a_wait_for_a_lock_ends_busy() {
    let database = Database::migrated().with(&[("lock_timeout", "50ms")]);
    let store = open(&database, &config(&database).lock_timeout(Duration::from_millis(50)));
    let token = store.create(&new_token()).unwrap();
    let mut holder = database.connect();
    holder
        .transaction(|conn| {
            reference::get_valid_for_rotation(conn, token.token_hash.expose(), None)?;
            let busy = Error::Busy(Wait::Lock);
            assert!(busy.is_transient() && !busy.is_outcome_unknown());
            assert_eq!(store.rotate(&token.token_hash, &successor(), Binding::ANY), Err(busy.clone()));
            assert_eq!(store.revoke(token.id), Err(busy.clone()));
            assert_eq!(store.revoke_by_hash(&token.token_hash), Err(busy.clone()));
            assert_eq!(store.revoke_token_chain(token.id), Err(busy.clone()));
            assert_eq!(store.revoke_session(token.session_id), Err(busy.clone()));
            assert_eq!(store.revoke_all_for_user(token.user_id), Err(busy.clone()));
            // The steps of these wait for nobody; what they cannot get is waited for at the end.
            assert_eq!(store.revoke_all_for_org(token.active_org_id), Err(busy.clone()));
            assert_eq!(store.revoke_all_for_everyone(), Err(busy));
            // Who only reads, or skips what is locked, does not wait.
            assert!(store.get_valid_by_hash(&token.token_hash, Binding::ANY).unwrap().is_some());
            assert_eq!(store.cleanup_expired(0), Ok(0));
            QueryResult::Ok(())
        })
        .unwrap();
    assert_eq!(
        store.revoke(token.id).map(TokenRevocation::is_revoked),
        Ok(true),
        "the connections are as good as before"
    );
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
/// A revocation in a transaction that stays open has shut the gate.
#[test]
fn invariant_9_a_wait_at_a_gate_ends_busy() {
    let database = Database::migrated().with(&[("lock_timeout", "50ms")]);
    let store = open(&database, &config(&database).lock_timeout(Duration::from_millis(50)));
    let token = store.create(&new_token()).unwrap();
    let session = SessionOptions::default().authenticated_at(store.now().unwrap());
    let login = NewRefreshToken { user_id: token.user_id, session, ..new_token() };
    let mut holder = database.connect();
    RefreshTokenRepository::new(&mut holder)
        .transaction(|tx| {
            tx.revoke_all_for_user_in_org(token.user_id, Uuid::new_v4())?;
            let busy = Error::Busy(Wait::Lock);
            assert_eq!(store.create(&login), Err(busy.clone()));
            let elsewhere = successor().active_org_id(Uuid::new_v4());
            assert_eq!(store.rotate(&token.token_hash, &elsewhere, Binding::ANY), Err(busy.clone()));
            assert_eq!(store.revoke_session(token.session_id), Err(busy.clone()));
            assert_eq!(store.revoke_all_for_everyone(), Err(busy));
            // A rotation, and a login that does not say when, pass no gate.
            assert!(matches!(store.rotate(&token.token_hash, &successor(), Binding::ANY), Ok(Rotation::Rotated(_))));
            assert!(store.create(&NewRefreshToken { session: SessionOptions::default(), ..login.clone() }).is_ok());
            Ok(())
        })
        .unwrap();
}

#[test]
fn invariant_9_a_statement_that_takes_too_long_ends_busy() {
    let database = Database::migrated().with(&[("lock_timeout", "60s"), ("statement_timeout", "500ms")]);
    let config = config(&database).lock_timeout(Duration::from_secs(60)).statement_timeout(Duration::from_millis(500));
    let store = open(&database, &config);
    let token = store.create(&new_token()).unwrap();
    let mut holder = database.connect();
    holder
        .transaction(|conn| {
            reference::get_valid_for_rotation(conn, token.token_hash.expose(), None)?;
            assert_eq!(store.revoke(token.id), Err(Error::Busy(Wait::Statement)));
            QueryResult::Ok(())
        })
        .unwrap();
}

#[test]
fn invariant_9_a_wait_for_a_connection_ends() {
    let database = Database::migrated();
    // Also the time in which the store has to open its first connection.
    let waited = Duration::from_secs(1);
    let store = open(&database, &database.config().max_connections(1).pool_timeout(waited));
    let (taken, is_taken) = mpsc::channel();
    let (give_back, may_give_back) = mpsc::channel::<()>();
    let other = store.clone();
    let holder = std::thread::spawn(move || {
        other.with(|_| {
            taken.send(()).unwrap();
            race::hear(&may_give_back, "the connection may be given back");
            Ok::<_, Error>(())
        })
    });
    race::hear(&is_taken, "the connection is taken");
    assert_eq!(store.revoke(Uuid::new_v4()), Err(Error::PoolExhausted { waited }));
    give_back.send(()).unwrap();
    race::join(holder, "who held the connection").unwrap().unwrap();
    assert_eq!(store.revoke(Uuid::new_v4()).map(TokenRevocation::is_revoked), Ok(false));
}

#[test]
fn a_database_that_is_not_there_is_unreachable() {
    let nowhere = "postgresql://someone:s3cret@localhost/nothing?host=/nonexistent&connect_timeout=1";
    let config = StoreConfig::default().pool_timeout(Duration::from_millis(300));
    let Err(Error::Unreachable { message }) = RefreshTokenStore::connect(nowhere, &config) else { panic!() };
    assert!(message.contains("/nonexistent"), "{message}");
    assert!(!message.contains("s3cret"), "{message}");

    // libpq quotes what it cannot parse, and here that is the password.
    for unparsable in ["postgresql://user:s3cret/x@localhost/db", "postgresql://user:s3cret%zz@localhost/db"] {
        let Err(error) = RefreshTokenStore::connect(unparsable, &config) else { panic!() };
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}

/// Somebody listens there, and never answers.
#[test]
fn a_database_that_does_not_answer_in_time_is_unreachable() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("postgresql://someone@127.0.0.1:{}/nothing", silent.local_addr().unwrap().port());
    let config = StoreConfig::default().pool_timeout(Duration::from_millis(50));
    let message = "no connection could be opened in time".to_owned();
    assert_eq!(RefreshTokenStore::connect(&url, &config).err(), Some(Error::Unreachable { message }));
}

#[test]
fn a_lost_connection_says_that_the_outcome_is_unknown_and_the_pool_recovers() {
    let database = Database::migrated();
    let store = open(&database, &database.config().max_connections(1));
    let token = store.create(&new_token()).unwrap();
    let successor = successor();
    let mut operator = database.connect_directly();
    let lost = store.transaction(|tx| {
        let outcome = tx.rotate(&token.token_hash, &successor, Binding::ANY)?;
        assert!(matches!(outcome, Rotation::Rotated(_)));
        let pid = race::pid(tx.connection());
        race::terminate(&mut operator, pid);
        Ok::<_, Error>(outcome)
    });
    assert_eq!(lost, Err(Error::ConnectionLost));
    assert!(Error::ConnectionLost.is_outcome_unknown());
    // Sent again, it cannot go wrong: here the first had not been committed.
    let again = store.rotate(&token.token_hash, &successor, Binding::ANY).unwrap();
    let Rotation::Rotated(made) = again else { panic!("{again:?}") };
    assert_eq!(store.rotate(&token.token_hash, &successor, Binding::ANY), Ok(Rotation::Repeated(made)));
}

#[test]
fn a_pool_of_the_hosts_will_do() {
    let database = Database::migrated();
    let pool = Pool::builder().max_size(1).build(ConnectionManager::<PgConnection>::new(database.url())).unwrap();
    database.customize(&mut pool.get().unwrap());
    let store = RefreshTokenStore::from_pool(pool.clone());
    let token = store.create(&new_token()).unwrap();
    let mut conn = pool.get().unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let wrong = tokens.rotate(&token.token_hash, &successor(), Binding::user(Uuid::new_v4())).unwrap();
    assert_eq!(wrong, Rotation::Refused(Refusal::BindingMismatch(token)));
}

type Way = fn(&RefreshTokenStore, Uuid) -> Result<TokenRevocation, Error>;

/// By whichever way the verb is called.
#[test]
fn a_store_that_says_why_says_it_of_every_revocation() {
    let database = Database::migrated();
    let store = open(&database, &database.config()).with_reason(RevokedReason::AccountDisabled);
    let ways: [Way; 4] = [
        |store, id| store.revoke(id),
        |store, id| store.with(|tokens| tokens.revoke(id)),
        |store, id| store.transaction(|tx| tx.revoke(id)),
        |store, id| store.transaction_with(|tx| tx.revoke(id)),
    ];
    for (index, way) in ways.into_iter().enumerate() {
        let token = store.create(&new_token()).unwrap();
        assert!(way(&store, token.id).unwrap().is_revoked());
        let revoked = store.get_by_hash(&token.token_hash).unwrap().unwrap();
        assert_eq!(revoked.revoked_reason, Some(RevokedReason::AccountDisabled), "way {index}");
    }
}

left_out!(through pgbouncer: "it sets bounds that are the server's there");
#[test]
fn no_setting_panics() {
    let database = Database::migrated();
    for wait in [Duration::ZERO, Duration::MAX] {
        let config = StoreConfig::default()
            .max_connections(0)
            .lock_timeout(wait)
            .statement_timeout(Duration::from_secs(5).max(wait))
            .pool_timeout(Duration::from_secs(5));
        let store = open(&database, &config);
        assert_eq!(store.pool().max_size(), 1);
        store.create(&new_token()).unwrap();
    }
    let shortest = StoreConfig::default().pool_timeout(Duration::ZERO);
    let _ = RefreshTokenStore::connect(database.url(), &shortest);
}

/// What it was told is the reason of every verb that is made on a connection of its own, also of one that is made again.
#[test]
fn a_store_revokes_for_the_reason_that_it_was_given() {
    let database = Database::migrated();
    let store = open(&database, &database.config());
    let token = store.create(&new_token()).unwrap();
    store.with_reason(RevokedReason::AccountDisabled).revoke_session(token.session_id).unwrap();
    let revoked = store.get_by_hash(&token.token_hash).unwrap().unwrap();
    assert_eq!(revoked.revoked_reason, Some(RevokedReason::AccountDisabled));
}

/// What COMMIT ends in, and has no name of its own, is unknown: some servers say so of what they have committed.
#[test]
fn an_error_at_commit_that_is_not_known_leaves_the_outcome_unknown() {
    let database = Database::migrated();
    let store = open(&database, &database.config());
    database
        .connect()
        .batch_execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'replica unavailable'; END $$;
             CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON refresh_tokens DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .unwrap();
    let error = store.create(&new_token()).unwrap_err();
    assert_eq!(error, Error::CommitUnknown { message: "replica unavailable".to_owned() });
    assert!(error.is_outcome_unknown() && error.is_transient());
}
