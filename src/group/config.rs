//! The bounds of the group rotator.

use std::time::Duration;

/// How many connections a [`GroupRotator`](crate::GroupRotator) uses at once, and how much waits for them.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use refresh_tokens::GroupConfig;
///
/// let config = GroupConfig::default().connections(2).queue_timeout(Duration::from_secs(1));
/// # let _ = config;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "its methods return the changed value"]
pub struct GroupConfig {
    pub(super) connections: usize,
    pub(super) max_batch: usize,
    pub(super) max_queue: usize,
    pub(super) queue_timeout: Duration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self { connections: 2, max_batch: 64, max_queue: 1_024, queue_timeout: Duration::from_secs(5) }
    }
}

impl GroupConfig {
    /// The most of the store's connections that it uses at once; at least 1, and no more than the store has.
    ///
    /// Defaults to 2. One batch is on its way on each; with 1, a token that somebody holds locked holds up everybody.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::GroupConfig;
    /// assert_eq!(GroupConfig::default().connections(2), GroupConfig::default());
    /// ```
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// The most requests that are carried in one transaction; at least 1.
    ///
    /// Defaults to 64. Beyond it little is gained, and an answer waits for that of everybody in its batch.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::GroupConfig;
    /// assert_eq!(GroupConfig::default().max_batch(64), GroupConfig::default());
    /// ```
    pub fn max_batch(mut self, requests: usize) -> Self {
        self.max_batch = requests.max(1);
        self
    }

    /// The most callers that wait for a connection before the next is turned away with
    /// [`Error::QueueFull`](crate::Error::QueueFull).
    ///
    /// Defaults to 1,024. With 0, nobody waits.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::GroupConfig;
    /// assert_eq!(GroupConfig::default().max_queue(1_024), GroupConfig::default());
    /// ```
    pub fn max_queue(mut self, callers: usize) -> Self {
        self.max_queue = callers;
        self
    }

    /// How long a caller waits until its request is on its way, before [`Error::Busy`](crate::Error::Busy) with
    /// [`Wait::Queue`](crate::Wait::Queue).
    ///
    /// Defaults to 5 seconds. Once on its way, the timeouts of the store's connections bound it
    /// ([`StoreConfig`](crate::StoreConfig)).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::GroupConfig;
    /// # use std::time::Duration;
    /// assert_eq!(GroupConfig::default().queue_timeout(Duration::from_secs(5)), GroupConfig::default());
    /// ```
    pub fn queue_timeout(mut self, wait: Duration) -> Self {
        self.queue_timeout = wait;
        self
    }
}
