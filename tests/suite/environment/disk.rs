//! A disk that is full. `tests/support/src/faults.c` lets no file grow, which needs no rights and no file system of one's
//! own.

left_out!(module, through pgbouncer: "it starts servers of its own");

use diesel::connection::SimpleConnection;
use refresh_tokens::{Error, RefreshTokenStore, TokenHash};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::new_token;
use refresh_tokens_support::faults::{Faults, Full};

use super::{POOL, call, cases, store_on};

/// The first write that finds no room on the pages that are there; those before it, which do.
fn fill(store: &RefreshTokenStore) -> (Vec<TokenHash>, Error) {
    let mut written = Vec::new();
    loop {
        match store.create(&new_token()) {
            Ok(token) => written.push(token.token_hash),
            Err(error) => return (written, error),
        }
        assert!(written.len() < 5_000, "the disk is not full");
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "LD_PRELOAD is Linux's")]
fn a_full_disk_refuses_what_needs_room_and_loses_nothing() {
    let (server, faults) = Faults::server(&[]).unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let database = Database::migrated_on(&server.url());
    let store = store_on(&database);
    let cases = cases(&database);
    faults.fill_disk(Full::Tables).unwrap();
    let (written, error) = fill(&store);
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    assert!(error.is_transient() && !error.is_outcome_unknown());
    let mut refused = Vec::new();
    // The last one would end the sessions of all others.
    for (verb, case) in &cases[..cases.len() - 1] {
        match call(&store, verb, case, POOL) {
            Err(Error::DiskFull { .. }) => {
                assert!(verb.writes(), "{}", verb.name);
                refused.push((verb, case));
            }
            // There was room for it on a page.
            outcome => assert_eq!(outcome, Ok(verb.first), "{}", verb.name),
        }
    }
    assert!(refused.iter().any(|(verb, _)| verb.name == "create"), "nothing was refused");
    for (verb, case) in &refused {
        assert!(case.is_untouched(&mut database.connect()), "{}", verb.name);
    }
    faults.fill_disk(Full::Nothing).unwrap();
    for hash in &written {
        assert!(store.get_by_hash(hash).unwrap().is_some(), "acknowledged, and lost");
    }
    for (verb, case) in refused {
        assert_eq!(call(&store, verb, case, POOL), Ok(verb.first), "{}, with room again", verb.name);
    }
}

/// The write-ahead log has no room either: the server panics, and does not come up before there is room again.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "LD_PRELOAD is Linux's")]
fn a_full_disk_of_the_write_ahead_log_loses_the_connection_and_nothing_else() {
    let (mut server, faults) = Faults::server(&[]).unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let database = Database::migrated_on(&server.url());
    let store = store_on(&database);
    let mut operator = database.connect();
    let before = store.create(&new_token()).unwrap().token_hash;
    faults.fill_disk(Full::Everything).unwrap();
    // The next write begins a new file of the log.
    let _ = operator.batch_execute("SELECT pg_switch_wal()");
    let (written, error) = fill(&store);
    assert!(error.is_transient(), "{error:?}");
    // It is down, or about to be.
    if let Err(error) = store.get_by_hash(&before) {
        assert!(error.is_transient(), "{error:?}");
    }
    faults.fill_disk(Full::Nothing).unwrap();
    server.crash().unwrap_or_else(|error| panic!("{error}"));
    for hash in written.iter().chain([&before]) {
        assert!(store.get_by_hash(hash).unwrap().is_some(), "acknowledged, and lost");
    }
    store.create(&new_token()).unwrap();
}
