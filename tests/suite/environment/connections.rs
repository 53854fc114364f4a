//! Connections: none left on the server, and those in the pool dead since a restart.

left_out!(module, through pgbouncer: "it starts servers of its own, and takes their connections");

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use refresh_tokens::{Error, RefreshTokenStore, Result, StoreConfig};
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::{Database, Direction, Fault, Server, Wire, race};

use super::{POOL, call, cases, every_verb, private, store_on};
use crate::every_verb::Verb;

const SLOTS: usize = 12;

/// `max_connections` is reached, and the store has none.
#[test]
fn invariant_9_a_server_without_a_free_connection_is_unreachable_in_time() {
    let connections = format!("max_connections={SLOTS}");
    let settings = [&connections, "superuser_reserved_connections=0", "max_wal_senders=0"];
    let server = Server::temporary_with(Durability::Process, &settings);
    let server = server.unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let database = Database::migrated_on(&server.url());
    let store = store_on(&database);
    let mut operator = database.connect();
    let others = RefCell::new(Vec::new());
    let take_all = || {
        let pid = store.pool().get().map(|mut conn| race::pid(&mut conn)).unwrap();
        race::terminate(&mut operator, pid);
        // All slots but those of the operator and the observer. A connection that has ended may be giving its back still.
        race::wait_for(|| {
            others.borrow_mut().extend(PgConnection::establish(database.url()));
            others.borrow().len() == SLOTS - 2
        });
        // The pool tells the first who asks of the connection that it has lost.
        race::wait_for(|| store.pool().get().is_err() && store.pool().state().connections == 0);
    };
    let give_back = || {
        others.borrow_mut().clear();
        race::wait_for(|| store.pool().state().idle_connections == 1);
    };
    let is_unreachable = |_: &Verb, outcome: &Result<&'static str>| match outcome {
        Err(Error::Unreachable { message }) => {
            message.contains("too many clients already") || message.starts_with("no connection could be opened")
        }
        _ => false,
    };
    every_verb(&database, &store, POOL, take_all, is_unreachable, give_back);
}

/// All connections of the pool die while nobody uses them: no call notices.
#[test]
fn a_restart_while_the_connections_are_idle_is_not_noticed() {
    let (mut server, database) = private();
    let cases = cases(&database);
    let store = RefreshTokenStore::connect(database.url(), &StoreConfig::default().max_connections(3)).unwrap();
    for of_one_restart in cases.chunks(5) {
        let opened: Vec<_> = (0..3).map(|_| store.pool().get().unwrap()).collect();
        assert_eq!(store.pool().state().connections, 3);
        drop(opened);
        server.crash().unwrap_or_else(|error| panic!("{error}"));
        for (verb, case) in of_one_restart {
            assert_eq!(call(&store, verb, case, POOL), Ok(verb.first), "{}", verb.name);
        }
    }
}

/// The first connection comes at once, and the next when the other end of the channel is gone.
#[derive(Debug)]
struct LongInComing {
    had: AtomicBool,
    end: Mutex<Receiver<()>>,
}

impl CustomizeConnection<PgConnection, diesel::r2d2::Error> for LongInComing {
    fn on_acquire(&self, _: &mut PgConnection) -> std::result::Result<(), diesel::r2d2::Error> {
        if self.had.swap(true, Ordering::SeqCst) {
            let _ = self.end.lock().unwrap().recv();
        }
        Ok(())
    }
}

/// All that the pool has to tell then is how the one that it had broke, and that is no fault of its URL.
#[test]
fn a_connection_that_broke_and_is_not_replaced_in_time_is_unreachable() {
    let (server, database) = private();
    let wire = Wire::to(&server);
    let (comes, end) = mpsc::channel();
    let pool = Pool::builder()
        .max_size(1)
        .connection_timeout(POOL)
        .connection_customizer(Box::new(LongInComing { had: AtomicBool::new(false), end: Mutex::new(end) }))
        .build_unchecked(ConnectionManager::<PgConnection>::new(wire.url(database.url())));
    race::wait_until_that("the pool's first connection", || pool.state().idle_connections == 1);
    let store = RefreshTokenStore::from_pool(pool);
    wire.arm(Fault::Cut { direction: Direction::ToServer, message: 0, half: false });
    let message = "no connection could be opened in time".to_owned();
    assert_eq!(store.now(), Err(Error::Unreachable { message }));
    drop(comes);
}
