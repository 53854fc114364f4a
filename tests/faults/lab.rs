//! A schema, the wire before its server, and the store as a host would have it.

use std::iter;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, PooledConnection};
use refresh_tokens::{
    Error, GroupConfig, GroupRotator, Pepper, Peppers, RefreshTokenStore, Result, SessionPolicy, SessionService,
    StoreConfig, migrate,
};
use refresh_tokens_support::database::with_parameters;
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::{Database, Server, Wire};

use crate::cases::{Begins, Case};
use crate::fixture::Fixture;
use crate::schema;

/// No call may take longer, whatever befalls it: the pool's wait and that of a statement, on a busy machine.
const BOUND: Duration = Duration::from_secs(30);

/// How long a rival waits for a lock that nobody gives back before it is told.
const RIVAL_LOCK_TIMEOUT: Duration = Duration::from_millis(40);

pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        Server::temporary_with(Durability::None, &["max_connections=600"])
            .unwrap_or_else(|error| panic!("\n\n{error}\n"))
    })
}

/// What an application keeps: the store, and what works over it.
pub(crate) struct Host {
    pub(crate) url: String,
    pub(crate) config: StoreConfig,
    pub(crate) store: RefreshTokenStore,
    pub(crate) group: GroupRotator,
    pub(crate) service: SessionService,
}

pub(crate) fn open(url: &str, config: &StoreConfig) -> Result<RefreshTokenStore> {
    RefreshTokenStore::connect(url, config)
}

impl Host {
    fn new(url: String, config: &StoreConfig) -> Self {
        let config = config.clone().max_connections(1);
        // On a busy machine the first connection may take longer than the store is to wait for one.
        let started = Instant::now();
        let attempts = iter::repeat_with(|| open(&url, &config)).take_while(|_| started.elapsed() < BOUND);
        let store = attempts.flatten().next().expect("the server answers");
        let group = GroupRotator::new(store.clone(), &GroupConfig::default().queue_timeout(BOUND));
        let pepper = Pepper::new(1, &[7; Pepper::MIN_LENGTH]).expect("it is long enough");
        let service = SessionService::new(store.clone(), Peppers::new(pepper), SessionPolicy::default());
        Self { url, config, store, group, service: service.expect("the policy is the default") }
    }

    /// One of the pool's, for the host's own use.
    pub(crate) fn conn(&self) -> Result<PooledConnection<ConnectionManager<PgConnection>>> {
        self.store.pool().get().map_err(|error| Error::Unreachable { message: error.to_string() })
    }

    /// For a connection of the host's own, whose network may die.
    pub(crate) fn bounded_url(&self) -> String {
        let bounds =
            "connect_timeout=2&keepalives_idle=1&keepalives_interval=1&keepalives_count=2&tcp_user_timeout=1000";
        with_parameters(&self.url, bounds)
    }
}

pub(crate) struct Lab {
    pub(crate) wire: Wire,
    pub(crate) host: Host,
    /// On connections that nothing befalls.
    pub(crate) rival: Host,
    pub(crate) conn: PgConnection,
    pub(crate) fixture: Fixture,
    begins: Begins,
    database: Database,
}

impl Lab {
    pub(crate) fn new(config: &StoreConfig) -> Self {
        let database = Database::migrated_apart(&server().url());
        let wire = Wire::to(server());
        let host = Host::new(wire.url(database.url()), config);
        let rival = Host::new(database.url().to_owned(), &config.clone().lock_timeout(RIVAL_LOCK_TIMEOUT));
        let mut conn = database.connect();
        conn.batch_execute(&format!("SET client_min_messages = error; {AUDIT}")).unwrap();
        let fixture = Fixture::make(&mut conn, &rival.service);
        Self { wire, host, rival, conn, fixture, begins: Begins::Rows, database }
    }

    /// Where its schema is, without the wire.
    pub(crate) fn url(&self) -> &str {
        self.database.url()
    }

    /// What is there at the beginning, and a connection in the pool.
    pub(crate) fn reset(&mut self, case: &Case) {
        if (case.begins, self.begins) != (Begins::Rows, Begins::Rows) {
            let name = self.database.schema();
            self.conn.batch_execute(&format!("DROP SCHEMA {name} CASCADE; CREATE SCHEMA {name}")).unwrap();
            if case.begins != Begins::Nothing {
                migrate(&mut self.conn).unwrap();
            }
            if case.begins == Begins::Rows {
                self.conn.batch_execute(AUDIT).unwrap();
                self.fixture = Fixture::make(&mut self.conn, &self.rival.service);
            }
        }
        self.begins = case.begins;
        if case.begins == Begins::Rows {
            Fixture::put_back(&mut self.conn);
        }
        (case.prepare)(&mut self.conn);
        self.recover();
    }

    /// Returns once the pool has a connection again, as it must by itself.
    pub(crate) fn recover(&self) {
        let started = Instant::now();
        while let Err(error) = self.host.store.now() {
            // On a busy machine a connection may take longer than a short timeout; a dead one it must not hand out.
            let is_slow = matches!(error, Error::Unreachable { .. } | Error::PoolExhausted { .. });
            assert!(is_slow && started.elapsed() < BOUND, "the pool does not recover: {error}");
        }
    }

    pub(crate) fn shape(&mut self) -> Vec<String> {
        match self.begins {
            Begins::Rows => self.fixture.shape(&mut self.conn),
            Begins::Tables | Begins::Nothing => schema::shape(&mut self.conn),
        }
    }

    /// # Panics
    ///
    /// If it takes longer than any wait of the store may.
    pub(crate) fn call(&self, case: &Case) -> Result<String> {
        let started = Instant::now();
        let answer = (case.call)(&self.host, &self.fixture);
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

/// The host's own table; and no vacuum that locks what others want, to give the end of a table back.
const AUDIT: &str = "CREATE TABLE audit (token_id uuid NOT NULL);
    ALTER TABLE refresh_tokens SET (vacuum_truncate = off); ALTER TABLE refresh_token_cutoffs SET (vacuum_truncate = off)";

pub(crate) struct Undisturbed {
    pub(crate) before: Vec<String>,
    pub(crate) answer: String,
    pub(crate) after: Vec<String>,
}

impl Undisturbed {
    /// Holds an answer against the table: an Ok was committed, and an error that does not say that this is unknown was
    /// not.
    pub(crate) fn judge(&self, case: &Case, answer: &Result<String>, left: &[String], name: &str) {
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

    /// Sends the same request again, on what the pool has by now: whatever was unknown is resolved.
    pub(crate) fn resolve(&self, lab: &mut Lab, case: &Case, name: &str) {
        let is_done = lab.shape() == self.after;
        let again = lab.call(case);
        let was_done = case.was_done.clone().filter(|_| is_done);
        assert_eq!(again, was_done.map_or(Ok(self.answer.clone()), Err), "{name}; sent again");
        assert_eq!(lab.shape(), self.after, "{name}; sent again: {again:?}");
    }

    /// Whether an error is one that the loss of a connection may bring.
    pub(crate) fn is_loss(case: &Case, error: &Error) -> bool {
        *error == Error::ConnectionLost || case.connects && matches!(error, Error::Unreachable { .. })
    }
}
