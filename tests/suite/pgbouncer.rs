//! PgBouncer in transaction mode (invariant 10): the danger, that it is noticed, and that the setting is the cure.

left_out!(module, through pgbouncer, under serializable, on other_tables: "it starts poolers of its own");

use std::time::Duration;

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Error, RefreshTokenRepository, RefreshTokenStore, SessionQuery, StoreConfig, Wait, verify_pooler,
};
use refresh_tokens_support::database::{Pooled, connect};
use refresh_tokens_support::doc::{new_token, successor};
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

fn told() -> StoreConfig {
    StoreConfig::default().transaction_pooler(true)
}

fn refusal(url: &str, config: &StoreConfig) -> Error {
    RefreshTokenStore::connect(url, config).expect_err("it is refused")
}

/// With Diesel's statement cache, a look-up runs what another client prepared, which here deletes the token.
#[test]
fn the_danger_is_real() {
    let pooled = Pooled::start(&["default_pool_size = 2"]);
    let database = Database::migrated_pooled(&pooled);
    let token = RefreshTokenRepository::new(&mut database.connect()).create(&new_token()).unwrap();
    let (mut reader, mut writer) = (connect(database.url()), connect(database.url()));
    let mut holder = database.connect();
    let mut look_up = || {
        let of_token = dsl::refresh_tokens.filter(dsl::token_hash.eq(&token.token_hash));
        of_token.select(dsl::id).load::<Uuid>(&mut reader)
    };
    // An idle PgBouncer lends the server process that was used last, so this keeps the reader's from the writer.
    assert_eq!(look_up(), Ok(vec![token.id]));
    let of_reader = holder.transaction(|conn| {
        let pid = race::pid(conn);
        let delete = diesel::delete(dsl::refresh_tokens.filter(dsl::token_hash.eq("another's")));
        assert_eq!(delete.execute(&mut writer), Ok(0));
        QueryResult::Ok(pid)
    });
    // And this keeps it from the reader, who is lent the writer's.
    let again = holder.transaction(|conn| {
        assert_eq!(look_up(), Ok(vec![]), "without an error");
        QueryResult::Ok(race::pid(conn))
    });
    assert_eq!(of_reader, again);
    let found = RefreshTokenRepository::new(&mut database.connect()).get_by_hash(&token.token_hash);
    assert_eq!(found, Ok(None), "the look-up has deleted the token");
}

#[test]
fn it_is_noticed_and_the_error_says_what_to_set() {
    for (size, round_robin) in [(1, 0), (4, 0), (2, 1)] {
        let settings = [format!("default_pool_size = {size}"), format!("server_round_robin = {round_robin}")];
        let pooled = Pooled::start(&settings.each_ref().map(String::as_str));
        let database = Database::migrated_pooled(&pooled);
        in_transactions(&database, size);
        for connections in [1, 4] {
            let error = refusal(database.url(), &StoreConfig::default().max_connections(connections));
            assert_eq!(error, Error::TransactionPooler, "{settings:?}");
            assert!(error.to_string().contains("StoreConfig::transaction_pooler(true)"), "{error}");
        }
        assert!(RefreshTokenStore::connect(database.url(), &told()).is_ok(), "{settings:?}");
    }
}

/// A pool of the host's, which checks each connection by a statement that Diesel caches, is told by the server's errors.
#[test]
fn what_the_server_says_of_another_clients_statement_is_told_apart() {
    let pooled = Pooled::start(&["default_pool_size = 1"]);
    let database = Database::migrated_pooled(&pooled);
    let (mut first, mut second) = (connect(database.url()), connect(database.url()));
    let hash = new_token().token_hash;
    assert_eq!(RefreshTokenRepository::new(&mut first).get_by_hash(&hash), Ok(None));
    assert_eq!(RefreshTokenRepository::new(&mut second).get_by_hash(&hash), Err(Error::TransactionPooler));
    let pool = Pool::builder().connection_timeout(Duration::from_secs(2));
    let pool = pool.build_unchecked(ConnectionManager::<PgConnection>::new(database.url()));
    assert_eq!(RefreshTokenStore::from_pool(pool).now(), Err(Error::TransactionPooler));
}

/// Opens so many server processes, all of which are idle afterwards.
fn in_transactions(database: &Database, count: usize) {
    if count > 0 {
        let within = database.connect().transaction(|conn| {
            race::pid(conn);
            in_transactions(database, count - 1);
            QueryResult::Ok(())
        });
        within.unwrap();
    }
}

/// In session mode each connection has a server process of its own, and all is as without PgBouncer.
#[test]
fn session_mode_is_not_mistaken_for_it() {
    let pooled = Pooled::start(&["pool_mode = session"]);
    let database = Database::migrated_pooled(&pooled);
    in_transactions(&database, 3);
    let store = RefreshTokenStore::connect(database.url(), &StoreConfig::default().max_connections(2)).unwrap();
    assert!(store.create(&new_token()).is_ok());
    assert_eq!(verify_pooler(&mut database.connect(), &mut database.connect()), Ok(()));
}

#[test]
fn a_server_process_keeps_nothing_of_the_store() {
    let pooled = Pooled::start(&["default_pool_size = 1"]);
    let database = Database::migrated_pooled(&pooled);
    let store = RefreshTokenStore::connect(database.url(), &told()).unwrap();
    let token = store.create(&new_token()).unwrap();
    assert!(store.rotate(&token.token_hash, &successor(), Binding::ANY).unwrap().successor().is_some());
    assert_eq!(store.list_sessions(&SessionQuery::of_user(token.user_id)).unwrap().sessions.len(), 1);
    let mut conn = database.connect();
    let count = |conn: &mut PgConnection, from: &str| {
        diesel::dsl::sql::<diesel::sql_types::BigInt>(&format!("SELECT count(*) FROM {from}")).get_result::<i64>(conn)
    };
    assert_eq!(count(&mut conn, "pg_prepared_statements"), Ok(0));
    // What Diesel sets in each connection, PgBouncer follows; application_name is its own.
    let set = "pg_settings WHERE source = 'session' AND name NOT IN \
        ('TimeZone', 'client_encoding', 'application_name', 'DateStyle', 'standard_conforming_strings')";
    assert_eq!(count(&mut conn, set), Ok(0));
}

#[test]
fn invariant_9_waits_are_bounded_by_the_server_or_the_store_does_not_start() {
    let pooled = Pooled::start(&[]);
    let database = Database::migrated_pooled(&pooled); // with the default bounds of a store
    let longer = told().lock_timeout(Duration::from_secs(3));
    let store = RefreshTokenStore::connect(database.url(), &longer).unwrap();
    let token = store.create(&new_token()).unwrap();
    let shorter = told().lock_timeout(Duration::from_millis(1_999));
    let lock = "ALTER ROLE postgres SET lock_timeout = '1999ms'".to_owned();
    assert_eq!(refusal(database.url(), &shorter), Error::MissingTimeouts(vec![lock]));
    let unbounded = refusal(&pooled.server().url(), &told());
    let said = unbounded.to_string();
    assert!(said.contains("ALTER ROLE postgres SET lock_timeout = '2000ms'; "), "{said}");
    assert!(said.contains("ALTER ROLE postgres SET statement_timeout = '10000ms'; "), "{said}");

    let locked = database.connect().transaction(|conn| {
        let _: Uuid = dsl::refresh_tokens.find(token.id).select(dsl::id).for_update().first(conn)?;
        QueryResult::Ok(store.rotate(&token.token_hash, &successor(), Binding::ANY))
    });
    assert_eq!(locked, Ok(Err(Error::Busy(Wait::Lock))));
}

/// That wait is PgBouncer's to bound, which closes the connection then.
#[test]
fn invariant_9_the_wait_for_a_server_process_ends() {
    let pooled = Pooled::start(&["default_pool_size = 1", "query_wait_timeout = 1"]);
    let database = Database::migrated_pooled(&pooled);
    let store = RefreshTokenStore::connect(database.url(), &told().max_connections(2)).unwrap();
    let token = store.create(&new_token()).unwrap();
    let waited = database.connect().transaction(|conn| {
        race::pid(conn);
        QueryResult::Ok(store.rotate(&token.token_hash, &successor(), Binding::ANY))
    });
    let error = waited.unwrap().expect_err("there is no server process for it");
    assert!(error.is_transient(), "{error:?}");
    assert!(store.rotate(&token.token_hash, &successor(), Binding::ANY).unwrap().successor().is_some());
}
