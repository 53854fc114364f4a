//! The pooled store for worker threads: a connection for each call, and a bound for each wait.

use std::fmt;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, NopErrorHandler, Pool, PoolError, PooledConnection};
use uuid::Uuid;

use crate::binding::Binding;
use crate::error::{Error, Result};
use crate::models::{NewRefreshToken, RefreshToken, Successor};
use crate::outcome::Rotation;
use crate::repository::RefreshTokenRepository;
use crate::token_hash::TokenHash;
use crate::transaction::TokenTransaction;

type Manager = ConnectionManager<PgConnection>;

/// How many connections a [`RefreshTokenStore`] keeps, and how long its calls wait.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use refresh_tokens::StoreConfig;
///
/// let config = StoreConfig::default().max_connections(4).lock_timeout(Duration::from_millis(500));
/// # let _ = config;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    max_connections: u32,
    pool_timeout: Duration,
    lock_timeout: Duration,
    statement_timeout: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            max_connections: 10,
            pool_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(10),
        }
    }
}

impl StoreConfig {
    /// The most connections that are open at once; 0 counts as 1.
    ///
    /// Defaults to 10.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::StoreConfig;
    /// assert_eq!(StoreConfig::default().max_connections(10), StoreConfig::default());
    /// ```
    #[must_use = "it returns the changed value"]
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// How long a call waits for a free connection before [`Error::PoolExhausted`]; at least 1 ms.
    ///
    /// Defaults to 5 seconds.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::StoreConfig;
    /// # use std::time::Duration;
    /// assert_eq!(StoreConfig::default().pool_timeout(Duration::from_secs(5)), StoreConfig::default());
    /// ```
    #[must_use = "it returns the changed value"]
    pub fn pool_timeout(mut self, wait: Duration) -> Self {
        self.pool_timeout = at_least_a_millisecond(wait);
        self
    }

    /// How long a statement waits for a lock before [`Error::Busy`]: PostgreSQL's `lock_timeout`; at least 1 ms.
    ///
    /// Defaults to 2 seconds.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::StoreConfig;
    /// # use std::time::Duration;
    /// assert_eq!(StoreConfig::default().lock_timeout(Duration::from_secs(2)), StoreConfig::default());
    /// ```
    #[must_use = "it returns the changed value"]
    pub fn lock_timeout(mut self, wait: Duration) -> Self {
        self.lock_timeout = at_least_a_millisecond(wait);
        self
    }

    /// How long a statement runs before [`Error::Busy`]: PostgreSQL's `statement_timeout`; at least 1 ms.
    ///
    /// Defaults to 10 seconds. It bounds each statement, not a whole verb; a verb has few.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::StoreConfig;
    /// # use std::time::Duration;
    /// assert_eq!(StoreConfig::default().statement_timeout(Duration::from_secs(10)), StoreConfig::default());
    /// ```
    #[must_use = "it returns the changed value"]
    pub fn statement_timeout(mut self, wait: Duration) -> Self {
        self.statement_timeout = at_least_a_millisecond(wait);
        self
    }
}

/// Zero means "for ever" to PostgreSQL and is refused by r2d2; every wait of the store is bounded.
fn at_least_a_millisecond(wait: Duration) -> Duration {
    wait.max(Duration::from_millis(1))
}

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

/// The repository over a connection pool, for worker threads: `Clone + Send + Sync`, every verb.
///
/// Clones share one pool. Each call takes a connection, runs the verb as [`RefreshTokenRepository`] does, and
/// gives the connection back. Besides the errors of the verb, each call can end in [`Error::PoolExhausted`] and
/// [`Error::Unreachable`]. Every wait ends: for a connection, for a lock, for a statement ([`StoreConfig`]).
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
}

impl RefreshTokenStore {
    /// Opens a pool on a database.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if no connection can be had within the pool timeout.
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
        let timeouts =
            Timeouts { lock: milliseconds(config.lock_timeout), statement: milliseconds(config.statement_timeout) };
        let pool = Pool::builder()
            .max_size(config.max_connections)
            .min_idle(Some(1))
            .connection_timeout(config.pool_timeout)
            .connection_customizer(Box::new(timeouts))
            .error_handler(Box::new(NopErrorHandler)) // r2d2's own would log what unreachable() keeps back
            .build(Manager::new(database_url))
            .map_err(|error| unreachable(&error.to_string()))?;
        Ok(Self { pool })
    }

    /// Uses a pool of the host's, with the bounds that the host gave it.
    ///
    /// Its connections should have a `lock_timeout` and a `statement_timeout`; without them, waits for a lock do
    /// not end.
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
        Self { pool }
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
    /// let (ended, left) = store.with(|tokens| {
    ///     let ended = tokens.revoke_all_for_user(user_id)?;
    ///     Ok((ended, tokens.get_active_tokens_for_user(user_id)?))
    /// })?;
    /// assert_eq!((ended, left.len()), (1, 0));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn with<T>(&self, work: impl FnOnce(&mut RefreshTokenRepository<'_>) -> Result<T>) -> Result<T> {
        let mut conn = self.take()?;
        work(&mut RefreshTokenRepository::new(&mut conn))
    }

    fn take(&self) -> Result<PooledConnection<Manager>> {
        self.pool.get().map_err(|error| self.not_had(&error))
    }

    /// r2d2 reports a wait that timed out; if opening a connection failed meanwhile, its text goes on with why.
    fn not_had(&self, error: &PoolError) -> Error {
        let message = error.to_string();
        match message.split_once(": ") {
            Some(_) => unreachable(&message),
            None => Error::PoolExhausted { waited: self.pool.connection_timeout() },
        }
    }

    /// [`RefreshTokenRepository::transaction`] on a pooled connection.
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
    /// assert!(store.revoke(token.id)?);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn transaction<T>(&self, work: impl FnOnce(&mut TokenTransaction<'_>) -> Result<T>) -> Result<T> {
        self.transaction_with(work)
    }

    /// [`RefreshTokenRepository::transaction_with`] on a pooled connection.
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
        let mut conn = self.take()?;
        RefreshTokenRepository::new(&mut conn).transaction_with(work)
    }
}

/// Of a URL that it cannot parse, libpq quotes the part that it stumbled over, which may be the password.
fn unreachable(message: &str) -> Error {
    let attempts = ["connection to server", "could not connect", "could not translate host name", "FATAL"];
    let said = attempts.iter().filter_map(|attempt| message.find(attempt)).min();
    let message = said.map_or("the database URL cannot be used", |start| &message[start..]);
    Error::Unreachable { message: message.to_owned() }
}

/// Gives the store each verb of the repository, on a pooled connection.
macro_rules! pooled_verbs {
    ($($verb:ident($($arg:ident: $type:ty),*) -> $returned:ty, $example:literal;)*) => {
        impl RefreshTokenStore {
            $(
                #[doc = concat!("[`RefreshTokenRepository::", stringify!($verb), "`] on a pooled connection.")]
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
                /// # let token = store.create(&new_token())?;
                #[doc = $example]
                /// # Ok::<(), refresh_tokens::Error>(())
                /// ```
                pub fn $verb(&self, $($arg: $type),*) -> Result<$returned> {
                    self.with(|tokens| tokens.$verb($($arg),*))
                }
            )*
        }
    };
}

pooled_verbs! {
    create(new: &NewRefreshToken) -> RefreshToken,
        "let token = store.create(&new_token())?;";
    get_by_hash(hash: &TokenHash) -> Option<RefreshToken>,
        "assert_eq!(store.get_by_hash(&token.token_hash)?.unwrap().id, token.id);";
    get_valid_by_hash(hash: &TokenHash, binding: Binding) -> Option<RefreshToken>,
        "assert!(store.get_valid_by_hash(&token.token_hash, refresh_tokens::Binding::user(token.user_id))?.is_some());";
    check_token_reuse(hash: &TokenHash) -> Option<RefreshToken>,
        "assert!(store.check_token_reuse(&token.token_hash)?.is_none());";
    rotate(presented: &TokenHash, successor: &Successor, binding: Binding) -> Rotation,
        "let outcome = store.rotate(&token.token_hash, &successor(), refresh_tokens::Binding::ANY)?;\nassert!(matches!(outcome, refresh_tokens::Rotation::Rotated(_)));";
    revoke_token_chain(token_id: Uuid) -> usize,
        "assert_eq!(store.revoke_token_chain(token.id)?, 1);";
    revoke(token_id: Uuid) -> bool,
        "assert!(store.revoke(token.id)?);";
    revoke_by_hash(hash: &TokenHash) -> bool,
        "assert!(store.revoke_by_hash(&token.token_hash)?);";
    revoke_all_for_user(user_id: Uuid) -> usize,
        "assert_eq!(store.revoke_all_for_user(token.user_id)?, 1);";
    revoke_all_for_user_except(user_id: Uuid, keep_token_id: Uuid) -> usize,
        "assert_eq!(store.revoke_all_for_user_except(token.user_id, token.id)?, 0);";
    get_active_tokens_for_user(user_id: Uuid) -> Vec<RefreshToken>,
        "assert_eq!(store.get_active_tokens_for_user(token.user_id)?.len(), 1);";
    cleanup_expired(older_than_days: i32) -> usize,
        "assert_eq!(store.cleanup_expired(30)?, 0);";
}

impl fmt::Debug for RefreshTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokenStore").field("state", &self.pool.state()).finish_non_exhaustive()
    }
}
