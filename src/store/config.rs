//! The bounds of the pooled store.

use std::time::Duration;

use crate::db::retry::CONFLICT_RETRIES;

/// How many connections a [`RefreshTokenStore`](crate::RefreshTokenStore) keeps, and how long its calls wait.
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
#[must_use = "its methods return the changed value"]
pub struct StoreConfig {
    pub(super) max_connections: u32,
    pub(super) pool_timeout: Duration,
    pub(super) lock_timeout: Duration,
    pub(super) statement_timeout: Duration,
    pub(super) network_timeout: Duration,
    pub(super) conflict_retries: u32,
    pub(super) transaction_pooler: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            max_connections: 10,
            pool_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(10),
            network_timeout: Duration::from_secs(10),
            conflict_retries: CONFLICT_RETRIES,
            transaction_pooler: false,
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
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// How long a call waits for a free connection before [`Error::PoolExhausted`](crate::Error::PoolExhausted); at least 1 ms, at most 24 days.
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
    pub fn pool_timeout(mut self, wait: Duration) -> Self {
        self.pool_timeout = at_least_a_millisecond(wait).min(LONGEST_WAIT);
        self
    }

    /// How long a statement waits for a lock before [`Error::Busy`](crate::Error::Busy): PostgreSQL's `lock_timeout`; at least 1 ms.
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
    pub fn lock_timeout(mut self, wait: Duration) -> Self {
        self.lock_timeout = at_least_a_millisecond(wait);
        self
    }

    /// How long a statement runs before [`Error::Busy`](crate::Error::Busy): PostgreSQL's `statement_timeout`; at least 1 ms.
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
    pub fn statement_timeout(mut self, wait: Duration) -> Self {
        self.statement_timeout = at_least_a_millisecond(wait);
        self
    }

    /// How long a call waits on a connection whose network has died, before
    /// [`Error::ConnectionLost`](crate::Error::ConnectionLost): libpq's `connect_timeout`, `tcp_user_timeout` and
    /// `keepalives_*`, in whole seconds; 0 counts as 1.
    ///
    /// Defaults to 10 seconds. The others are kept by the server, and a server that cannot be heard bounds nothing.
    /// This one is kept by the kernel on this side, from the last it heard of the other; give or take the third of it. It
    /// needs TCP, and off Linux `tcp_user_timeout` is not there, so that a request which never arrives is given up by the
    /// system's own limit. What answers for the server and then hands nothing on, as a hanging pooler does,
    /// is alive to it: bound that in the pooler.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::StoreConfig;
    /// # use std::time::Duration;
    /// assert_eq!(StoreConfig::default().network_timeout(Duration::from_secs(10)), StoreConfig::default());
    /// ```
    pub fn network_timeout(mut self, wait: Duration) -> Self {
        self.network_timeout = wait.max(Duration::from_secs(1));
        self
    }

    /// How often a call whose transaction ended in [`Error::Conflict`](crate::Error::Conflict) is made again, from
    /// its start, before the error is returned.
    ///
    /// Defaults to 3. The server has rolled such a transaction back, so nothing happens twice. Verbs that go step by
    /// step make the step again, up to 20 times whatever is set here; so does a revocation that began with a look-up of a
    /// token, which may be gone since.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::StoreConfig;
    /// assert_eq!(StoreConfig::default().conflict_retries(3), StoreConfig::default());
    /// ```
    pub fn conflict_retries(mut self, retries: u32) -> Self {
        self.conflict_retries = retries;
        self
    }

    /// Whether the database URL leads to a pooler in transaction mode, such as PgBouncer's.
    ///
    /// Defaults to false, and then [`connect`](crate::RefreshTokenStore::connect) refuses such a URL where it notices it
    /// ([`verify_pooler`](crate::verify_pooler)). With true, the connections use no prepared statement by name and `SET`
    /// nothing, as either would reach other clients of the pooler. The timeouts are then the server's:
    /// `connect` checks that the role or database has a `lock_timeout` and a `statement_timeout` that are no longer than
    /// this configuration's, and says what to type where it has not. The wait for a server connection is the
    /// pooler's to bound, by PgBouncer's `query_wait_timeout`. The page `docs/pgbouncer.md` of the repository has the
    /// whole set-up.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let database_url = database.url();
    /// use refresh_tokens::{Error, RefreshTokenStore, StoreConfig};
    ///
    /// let config = StoreConfig::default().transaction_pooler(true);
    /// let Err(Error::MissingTimeouts(missing)) = RefreshTokenStore::connect(database_url, &config) else { panic!() };
    /// assert_eq!(missing[0], "ALTER ROLE postgres SET lock_timeout = '2000ms'");
    /// ```
    pub fn transaction_pooler(mut self, is_pooled: bool) -> Self {
        self.transaction_pooler = is_pooled;
        self
    }
}

/// As PostgreSQL's longest, an integer of milliseconds; r2d2 adds it to the clock, which overflows.
const LONGEST_WAIT: Duration = Duration::from_millis(i32::MAX as u64);

/// Zero means "for ever" to PostgreSQL and is refused by r2d2; every wait of the store is bounded.
fn at_least_a_millisecond(wait: Duration) -> Duration {
    wait.max(Duration::from_millis(1))
}
