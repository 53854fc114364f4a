//! Invariant 6 by every verb: the server is killed after it has committed and before it answers, which a synchronous
//! standby that does not exist makes last. What was committed is there, and the same request says so.

left_out!(module, through pgbouncer, under serializable, on other_tables: "it starts a server of its own");

use std::cell::RefCell;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use refresh_tokens::{Error, RefreshTokenStore, StoreConfig};
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::{Database, Server, race};

use crate::every_verb::{Case, VERBS, Verb};

fn are_waiting(conn: &mut PgConnection) -> i64 {
    #[derive(QueryableByName)]
    struct Waiting {
        #[diesel(sql_type = BigInt)]
        processes: i64,
    }
    let query = "SELECT count(*) AS processes FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    sql_query(query).get_result::<Waiting>(conn).unwrap().processes
}

/// Only the answer is missing.
#[test]
fn invariant_6_killed_between_commit_and_answer() {
    let mut server = Server::temporary(Durability::Process).unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let database = Database::migrated_on(&server.url());
    let store = RefreshTokenStore::connect(database.url(), &StoreConfig::default().max_connections(2)).unwrap();
    for Verb { name, call, first, again } in VERBS.iter().filter(|verb| verb.writes()) {
        let mut operator = database.connect();
        operator.batch_execute("SET synchronous_commit = local").unwrap(); // it waits for nobody
        operator.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").unwrap();
        operator.batch_execute("SELECT pg_reload_conf()").unwrap();
        let shown = RefCell::new(database.connect());
        race::wait_for(|| {
            let query = "SELECT 1 FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting = 'nobody'";
            sql_query(query).execute(&mut *shown.borrow_mut()) == Ok(1)
        });
        // Who commits waits once the checkpointer, too, has heard of the standby; nothing says when.
        let attempts = std::iter::repeat_with(|| {
            let case = Case::new(&mut operator);
            let worker = std::thread::spawn({
                let (store, case) = (store.clone(), case.clone());
                move || store.with(|tokens| call(tokens, &case))
            });
            let observer = RefCell::new(&mut operator);
            race::wait_for(|| are_waiting(*observer.borrow_mut()) == 1 || worker.is_finished());
            (case, worker)
        });
        let (case, worker) = attempts.take(1_000).find(|(_, worker)| !worker.is_finished()).expect("it waits");
        operator.batch_execute("ALTER SYSTEM RESET ALL").unwrap();
        server.crash().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(worker.join().unwrap(), Err(Error::ConnectionLost), "{name}");
        // Of those that go in steps, only the first one was committed, which ends no token yet.
        let is_done = !matches!(*name, "revoke_all_for_org" | "revoke_all_for_everyone");
        assert_eq!(case.is_untouched(&mut database.connect()), !is_done, "{name}");
        let again = if is_done { again } else { &Ok(*first) };
        assert_eq!(store.with(|tokens| call(tokens, &case)), *again, "{name}");
        assert!(!case.is_untouched(&mut database.connect()), "{name}");
    }
}
