//! The pooled store for worker threads: a connection for each call, and a bound for each wait.
//!
//! It decides nothing about tokens: its methods are the repository's, run again after a conflict.

mod config;
mod methods;
mod network;

use std::fmt;
use std::time::Duration;

use diesel::connection::{CacheSize, Connection as _, SimpleConnection};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, NopErrorHandler, Pool, PooledConnection};

use crate::db::{Call, retry, retry::CONFLICT_RETRIES};
use crate::error::{Error, Result};
use crate::operations::{check_bounds, verify_pooler};
use crate::protocol::redeem::respond;
use crate::repository::{RefreshTokenRepository, transaction::TokenTransaction};

use crate::telemetry::{failed_before_start, waiting_for_pool};
use crate::values::{BreachResponse, OnReuse, RefreshToken, ReuseKind, RevokedReason};

type Manager = ConnectionManager<PgConnection>;

pub(crate) type Connection = PooledConnection<Manager>;

pub use config::StoreConfig;

/// PostgreSQL's integer of milliseconds.
fn milliseconds(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}

/// Sets the timeouts once a connection, when the pool opens it.
#[derive(Debug)]
struct Timeouts {
    lock: i32,
    statement: i32,
}

impl CustomizeConnection<PgConnection, diesel::r2d2::Error> for Timeouts {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), diesel::r2d2::Error> {
        conn.batch_execute(&format!("SET lock_timeout = {}; SET statement_timeout = {}", self.lock, self.statement))
            .map_err(diesel::r2d2::Error::QueryError)
    }
}

/// Leaves nothing in a server process, which somebody else has the next moment.
#[derive(Debug)]
struct Stateless;

impl CustomizeConnection<PgConnection, diesel::r2d2::Error> for Stateless {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), diesel::r2d2::Error> {
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        Ok(())
    }
}

/// The repository over a connection pool, for worker threads: `Clone + Send + Sync`, every verb.
///
/// Clones share one pool. Each call takes a connection, runs the verb as [`RefreshTokenRepository`] does, and gives the
/// connection back. A call that ends in [`Error::Conflict`] is made again, a bounded number of times. Besides the
/// errors of the verb, each call can end in [`Error::PoolExhausted`] and [`Error::Unreachable`]. Every wait ends: for a
/// connection, for a lock, for a statement ([`StoreConfig`]).
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let database_url = database.url();
/// use refresh_tokens::{RefreshTokenStore, StoreConfig};
///
/// let store = RefreshTokenStore::connect(database_url, &StoreConfig::default())?;
/// let workers: Vec<_> = (0..4)
///     .map(|_| {
///         let store = store.clone();
///         std::thread::spawn(move || store.create(&new_token()))
///     })
///     .collect();
/// for worker in workers {
///     worker.join().expect("no panic")?;
/// }
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Clone)]
pub struct RefreshTokenStore {
    pool: Pool<Manager>,
    conflict_retries: u32,
    /// Why it revokes, if the caller said.
    reason: Option<RevokedReason>,
}

impl RefreshTokenStore {
    /// Opens a pool on a database.
    ///
    /// What the URL says of `connect_timeout`, `keepalives_*` and `tcp_user_timeout` goes before
    /// [`StoreConfig::network_timeout`].
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if no connection can be had within the pool timeout; [`Error::TransactionPooler`] where a
    /// pooler in transaction mode is noticed, for which two more connections are opened for a moment; with
    /// [`StoreConfig::transaction_pooler`], [`Error::MissingTimeouts`] instead, where the server does not bound the
    /// waits.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let database_url = database.url();
    /// use refresh_tokens::{RefreshTokenStore, StoreConfig};
    ///
    /// let store = RefreshTokenStore::connect(database_url, &StoreConfig::default().max_connections(4))?;
    /// assert_eq!(store.pool().max_size(), 4);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn connect(database_url: &str, config: &StoreConfig) -> Result<Self> {
        let (lock, statement) = (milliseconds(config.lock_timeout), milliseconds(config.statement_timeout));
        let customizer: Box<dyn CustomizeConnection<PgConnection, diesel::r2d2::Error>> = if config.transaction_pooler {
            Box::new(Stateless)
        } else {
            refuse_pooler(database_url, config)?;
            Box::new(Timeouts { lock, statement })
        };
        let pool = open(database_url, config, config.max_connections, customizer)?;
        let store = Self { pool, conflict_retries: config.conflict_retries, reason: None };
        if config.transaction_pooler {
            check_bounds(&mut *store.take()?, lock, statement)?;
        }
        Ok(store)
    }

    /// Uses a pool of the host's, with the bounds that the host gave it.
    ///
    /// Its connections should have a `lock_timeout` and a `statement_timeout`; without them, waits for a lock do not
    /// end. Its URL should have `connect_timeout`, `keepalives_idle`, `keepalives_interval` and `tcp_user_timeout`;
    /// without them, a call on a connection whose network has died does not. Behind PgBouncer in transaction mode, its
    /// connections must have Diesel's statement cache switched off, and what they wait for bounded on the role
    /// ([`StoreConfig::transaction_pooler`]); [`verify_pooler`] tells whether that is so.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let database_url = database.url();
    /// use diesel::PgConnection;
    /// use diesel::r2d2::{ConnectionManager, Pool};
    /// use refresh_tokens::RefreshTokenStore;
    ///
    /// let pool = Pool::new(ConnectionManager::<PgConnection>::new(database_url)).expect("connects");
    /// let store = RefreshTokenStore::from_pool(pool);
    /// assert_eq!(store.cleanup_expired(30), Ok(0));
    /// ```
    pub fn from_pool(pool: Pool<ConnectionManager<PgConnection>>) -> Self {
        Self { pool, conflict_retries: CONFLICT_RETRIES, reason: None }
    }

    /// The pool, for its figures and for the host's own queries.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// assert!(store.pool().state().connections >= 1);
    /// ```
    pub fn pool(&self) -> &Pool<ConnectionManager<PgConnection>> {
        &self.pool
    }

    /// Runs several verbs on one connection, without a transaction around them.
    ///
    /// # Errors
    ///
    /// What the closure returns, [`Error::PoolExhausted`] and [`Error::Unreachable`].
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// # let user_id = store.create(&new_token())?.user_id;
    /// let (report, left) = store.with(|tokens| {
    ///     let report = tokens.revoke_all_for_user(user_id)?;
    ///     Ok((report, tokens.get_active_tokens_for_user(user_id)?))
    /// })?;
    /// assert_eq!((report.live, left.len()), (1, 0));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn with<T>(&self, work: impl FnOnce(&mut RefreshTokenRepository<'_>) -> Result<T>) -> Result<T> {
        self.with_as("with", |call| work(&mut RefreshTokenRepository::of(call.reborrow())))
    }

    /// [`with`](Self::with) for a verb, under whose name it is counted if no connection is had.
    pub(crate) fn with_as<T>(&self, verb: &'static str, work: impl FnOnce(&mut Call<'_>) -> Result<T>) -> Result<T> {
        let mut conn = self.take_for(verb)?;
        work(&mut Call { conn: &mut conn, reason: self.reason })
    }

    /// The same store with a reason for what it revokes, instead of each verb's own.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// # let user_id = store.create(&new_token())?.user_id;
    /// use refresh_tokens::RevokedReason;
    ///
    /// let report = store.with_reason(RevokedReason::AccountDisabled).revoke_all_for_user(user_id)?;
    /// assert_eq!(report.sessions, 1);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    #[must_use = "it is another handle of the same store"]
    pub fn with_reason(&self, reason: RevokedReason) -> Self {
        Self { reason: Some(reason), ..self.clone() }
    }

    pub(crate) fn retrying<T>(&self, work: impl FnMut(&mut Call<'_>) -> Result<T>) -> Result<T> {
        self.retrying_on(&mut self.take()?, work)
    }

    /// [`retrying`](Self::retrying) for a verb, under whose name it is counted if no connection is had.
    pub(crate) fn retrying_as<T>(&self, verb: &'static str, work: impl FnMut(&mut Call<'_>) -> Result<T>) -> Result<T> {
        self.retrying_on(&mut self.take_for(verb)?, work)
    }

    /// Makes a call again, from its start, whose transaction the server rolled back in favour of another one.
    pub(crate) fn retrying_on<T>(
        &self,
        conn: &mut Connection,
        mut work: impl FnMut(&mut Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut call = Call { conn, reason: self.reason };
        retry::on_conflict(self.conflict_retries, || work(&mut call))
    }

    pub(crate) fn take(&self) -> Result<Connection> {
        waiting_for_pool(|| self.pool.get())
            .map_err(|error| Error::of_checkout(&error, self.pool.state().connections, self.pool.connection_timeout()))
    }

    fn take_for(&self, verb: &'static str) -> Result<Connection> {
        self.take().inspect_err(|error| failed_before_start(verb, error))
    }

    /// The breach response to a token whose reuse was seen elsewhere.
    pub(crate) fn respond(&self, token: &RefreshToken, on_reuse: OnReuse) -> Result<(ReuseKind, BreachResponse)> {
        self.retrying(|call| respond(call, token, on_reuse))
    }

    /// [`RefreshTokenRepository::transaction`] on a pooled connection.
    ///
    /// Where the server rolls it back in favour of another transaction, the closure is run again, from its start, up to
    /// [`StoreConfig::conflict_retries`] times: what it does beside the database must bear that.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// let token = store.transaction(|tx| tx.create(&new_token()))?;
    /// assert!(store.revoke(token.id)?.is_revoked());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn transaction<T>(&self, mut work: impl FnMut(&mut TokenTransaction<'_>) -> Result<T>) -> Result<T> {
        self.retrying_as("transaction", |call| RefreshTokenRepository::of(call.reborrow()).transaction(&mut work))
    }

    /// [`RefreshTokenRepository::transaction_with`] on a pooled connection.
    ///
    /// The closure is run once: only the host can see an [`Error::Conflict`] in an error type of its own.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// let token = store.transaction_with::<_, Box<dyn std::error::Error>>(|tx| {
    ///     let token = tx.create(&new_token())?;
    ///     let _port: u16 = "443".parse()?; // any other error of the host's work
    ///     Ok(token)
    /// });
    /// assert!(token.is_ok());
    /// ```
    pub fn transaction_with<T, E>(&self, work: impl FnOnce(&mut TokenTransaction<'_>) -> Result<T, E>) -> Result<T, E>
    where
        E: From<Error>,
    {
        let mut conn = self.take_for("transaction_with")?;
        RefreshTokenRepository::of(Call { conn: &mut conn, reason: self.reason }).transaction_with(work)
    }
}

/// On connections of its own, as those of the store would leave settings and statements with the pooler.
fn refuse_pooler(database_url: &str, config: &StoreConfig) -> Result<()> {
    let pool = open(database_url, config, 2, Box::new(Stateless))?;
    let take = || pool.get().map_err(|error| Error::of_open(&error));
    verify_pooler(&mut *take()?, &mut *take()?)
}

fn open(
    database_url: &str,
    config: &StoreConfig,
    connections: u32,
    customizer: Box<dyn CustomizeConnection<PgConnection, diesel::r2d2::Error>>,
) -> Result<Pool<Manager>> {
    Pool::builder()
        .max_size(connections)
        .min_idle(Some(1))
        .connection_timeout(config.pool_timeout)
        .connection_customizer(customizer)
        .error_handler(Box::new(NopErrorHandler)) // r2d2's own would log what Error::of_open keeps back
        .build(Manager::new(network::bounded(database_url, config.network_timeout)))
        .map_err(|error| Error::of_open(&error))
}

impl fmt::Debug for RefreshTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokenStore").field("state", &self.pool.state()).finish_non_exhaustive()
    }
}
