//! A schema, the wire before its server, and the store as a host would have it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{
    Error, GroupConfig, GroupRotator, Pepper, Peppers, RefreshTokenStore, SessionPolicy, SessionService, StoreConfig,
};
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::{Database, Server, Wire};

use crate::cases::Case;
use crate::fixture::Fixture;

/// No call may take longer, whatever befalls it: the pool's wait and that of a statement, on a busy machine.
const BOUND: Duration = Duration::from_secs(30);

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::temporary(Durability::None).unwrap_or_else(|error| panic!("\n\n{error}\n")))
}

pub(crate) struct Lab {
    pub(crate) wire: Wire,
    pub(crate) store: RefreshTokenStore,
    pub(crate) group: GroupRotator,
    pub(crate) service: SessionService,
    /// On connections that nothing befalls.
    pub(crate) conn: PgConnection,
    undisturbed: SessionService,
    pub(crate) fixture: Fixture,
    _database: Database,
}

impl Lab {
    pub(crate) fn new(config: &StoreConfig) -> Self {
        let database = Database::migrated_on(&server().url());
        let wire = Wire::to(server());
        let config = config.clone().max_connections(1);
        let open = |url: &str| RefreshTokenStore::connect(url, &config).expect("the server answers");
        let (store, undisturbed) = (open(&wire.url(database.url())), service(open(database.url())));
        let group = GroupRotator::new(store.clone(), &GroupConfig::default());
        let mut conn = database.connect();
        conn.batch_execute("CREATE TABLE audit (token_id uuid NOT NULL)").unwrap();
        let fixture = Fixture::make(&mut conn, &undisturbed);
        Self { wire, service: service(store.clone()), store, group, conn, undisturbed, fixture, _database: database }
    }

    /// The rows of the beginning, and a connection in the pool.
    pub(crate) fn reset(&mut self, case: &Case) {
        self.fixture = Fixture::make(&mut self.conn, &self.undisturbed);
        (case.prepare)(&mut self.conn);
        self.store.now().expect("the pool has recovered");
    }

    /// Returns once the pool has a connection again, as it must by itself.
    pub(crate) fn recover(&self) {
        let started = Instant::now();
        while let Err(error) = self.store.now() {
            assert!(started.elapsed() < BOUND, "the pool does not recover: {error}");
        }
    }

    pub(crate) fn shape(&mut self) -> Vec<String> {
        self.fixture.shape(&mut self.conn)
    }

    /// # Panics
    ///
    /// If it takes longer than any wait of the store may.
    pub(crate) fn call(&self, case: &Case) -> Result<String, Error> {
        let started = Instant::now();
        let answer = (case.call)(self);
        assert!(started.elapsed() < BOUND, "{}: {answer:?} took {:?}", case.name, started.elapsed());
        answer
    }

    /// What the verb answers and leaves behind if nothing befalls it, and what was there before.
    pub(crate) fn undisturbed(&mut self, case: &Case) -> Undisturbed {
        self.reset(case);
        let before = self.shape();
        let answer = self.call(case).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let after = self.shape();
        assert_eq!(before != after, case.writes, "{}: it is not what it should be: {after:#?}", case.name);
        Undisturbed { before, answer, after }
    }
}

pub(crate) struct Undisturbed {
    pub(crate) before: Vec<String>,
    pub(crate) answer: String,
    pub(crate) after: Vec<String>,
}

impl Undisturbed {
    /// Holds an answer against the table: an Ok was committed, and an error that does not say that this is unknown was
    /// not.
    pub(crate) fn judge(&self, case: &Case, answer: &Result<String, Error>, left: &[String], name: &str) {
        let (is_done, is_undone) = (left == self.after, left == self.before);
        match answer {
            Ok(said) => {
                assert_eq!(*said, self.answer, "{name}");
                assert!(is_done, "{name}: an Ok that was not committed: {left:#?}");
            }
            Err(error) => {
                assert!(is_undone || error.is_outcome_unknown(), "{name}: it did happen: {left:#?}");
                assert!(is_done || is_undone || !case.is_atomic, "{name}: a part of it happened: {left:#?}");
                assert!(error.is_transient(), "{name}: it may be sent again");
            }
        }
    }
}

fn service(store: RefreshTokenStore) -> SessionService {
    let pepper = Pepper::new(1, &[7; Pepper::MIN_LENGTH]).expect("it is long enough");
    SessionService::new(store, Peppers::new(pepper), SessionPolicy::default()).expect("the policy is the default")
}
