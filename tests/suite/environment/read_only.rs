//! A server that takes no writes: by a setting, and as a standby that is promoted then.

left_out!(module, through pgbouncer: "it starts servers of its own");

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{Error, RefreshTokenStore, Result};
use refresh_tokens_support::race;

use super::{POOL, call, cases, every_verb, private, store_on};
use crate::every_verb::Verb;

/// Who writes is told; who reads is answered.
fn is_read_only(verb: &Verb, outcome: &Result<&'static str>) -> bool {
    match outcome {
        Err(Error::ReadOnly { message }) => verb.writes() && message.ends_with("in a read-only transaction"),
        other => !verb.writes() && *other == Ok(verb.first),
    }
}

/// Once the store's only connection has read a setting from the reloaded file.
fn wait_for(store: &RefreshTokenStore, query: &str) {
    race::wait_for(|| {
        let mut conn = store.pool().get().unwrap();
        diesel::sql_query(query).execute(&mut conn) == Ok(1)
    });
}

#[test]
fn a_read_only_server_says_so_and_answers_look_ups() {
    let (_server, database) = private();
    let store = store_on(&database);
    let mut operator = database.connect();
    operator.batch_execute("SET default_transaction_read_only = off").unwrap();
    let operator = std::cell::RefCell::new(operator);
    let set = |value: &str| {
        let alter = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        operator.borrow_mut().batch_execute(&alter).unwrap();
        operator.borrow_mut().batch_execute("SELECT pg_reload_conf()").unwrap();
        let query =
            format!("SELECT 1 FROM pg_settings WHERE name = 'default_transaction_read_only' AND setting = '{value}'");
        wait_for(&store, &query);
    };
    every_verb(&database, &store, POOL, || set("on"), is_read_only, || set("off"));
}

/// As after a failover whose URL leads to the old place: a hot standby. Promoted, it takes writes on the connections that
/// are open.
#[test]
fn a_standby_says_that_it_is_read_only_and_works_once_promoted() {
    let (mut server, database) = private();
    let store = store_on(&database);
    let cases = cases(&database);
    let signal = server.folder().join("data/standby.signal");
    fs::write(&signal, "").unwrap();
    fs::set_permissions(&signal, Permissions::from_mode(0o666)).unwrap();
    server.crash().unwrap_or_else(|error| panic!("{error}"));
    for (verb, case) in &cases {
        let outcome = call(&store, verb, case, POOL);
        assert!(is_read_only(verb, &outcome), "{}: {outcome:?}", verb.name);
    }
    let opened = store.pool().get().map(|mut conn| race::pid(&mut conn)).unwrap();
    database.connect().batch_execute("SELECT pg_promote(true, 30)").unwrap();
    for (verb, case) in &cases {
        assert_eq!(call(&store, verb, case, POOL), Ok(verb.first), "{}, promoted", verb.name);
    }
    assert_eq!(store.pool().get().map(|mut conn| race::pid(&mut conn)).unwrap(), opened);
}
