//! The server ends the process of a connection: an operator does, or a timeout for transactions in which nothing happens.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Integer;
use refresh_tokens::{Binding, Error, RefreshTokenStore, Rotation};
use refresh_tokens_support::doc::successor;
use refresh_tokens_support::{Database, race};

use super::cases;
use crate::every_verb::Case;

/// In the middle of each verb, which waits for the table there.
#[test]
fn a_process_that_is_terminated_during_a_verb_is_a_lost_connection() {
    let database = Database::migrated();
    let store = RefreshTokenStore::connect(database.url(), &database.config().max_connections(1)).unwrap();
    let (mut holder, mut operator) = (database.connect_directly(), database.connect_directly());
    let pid = race::pid(&mut holder);
    let cases = cases(&database);
    for (verb, case) in cases.iter().filter(|(verb, _)| verb.name != "now") {
        holder.batch_execute("BEGIN; LOCK TABLE refresh_tokens IN ACCESS EXCLUSIVE MODE").unwrap();
        let worker = std::thread::spawn({
            let (store, case, call) = (store.clone(), case.clone(), verb.call);
            move || store.with(|tokens| call(tokens, &case))
        });
        race::wait_until_blocked(&mut operator, pid, 1);
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
        let terminated = diesel::sql_query(terminate).bind::<Integer, _>(pid).execute(&mut operator);
        assert_eq!(terminated, Ok(1), "{}", verb.name);
        assert_eq!(worker.join().unwrap(), Err(Error::ConnectionLost), "{}", verb.name);
        holder.batch_execute("COMMIT").unwrap();
        assert!(case.is_untouched(&mut operator), "{}", verb.name);
        // Whoever does not know what became of it sends it again.
        assert_eq!(store.with(|tokens| (verb.call)(tokens, case)), Ok(verb.first), "{}", verb.name);
    }
}

/// The host does something slow in its transaction.
#[test]
fn idle_in_transaction_session_timeout_is_a_lost_connection() {
    let database = Database::migrated();
    let store = RefreshTokenStore::connect(database.url(), &database.config().max_connections(1)).unwrap();
    let mut observer = database.connect();
    let case = Case::new(&mut observer);
    let rotate = |asleep: bool| {
        let (observer, successor) = (std::cell::RefCell::new(database.connect_directly()), successor());
        store.transaction(|tx| {
            let rotation = tx.rotate(&case.live.token_hash, &successor, Binding::ANY)?;
            if asleep {
                let pid = race::pid(tx.connection());
                tx.connection().batch_execute("SET LOCAL idle_in_transaction_session_timeout = '20ms'")?;
                let query = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}");
                race::wait_for(|| diesel::sql_query(&query).execute(&mut *observer.borrow_mut()) == Ok(0));
            }
            Ok(rotation)
        })
    };
    assert_eq!(rotate(true), Err(Error::ConnectionLost));
    assert!(case.is_untouched(&mut observer));
    assert!(matches!(rotate(false), Ok(Rotation::Rotated(_))));
}
