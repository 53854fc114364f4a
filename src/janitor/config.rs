//! When the janitor runs, and how much it does.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::retention::CleanupBudget;
use crate::values::CleanupReport;

type OnRun = dyn Fn(&Result<CleanupReport>) + Send + Sync;

/// When a [`Janitor`](crate::Janitor) runs, and how much it does at once.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use refresh_tokens::{CleanupBudget, JanitorConfig};
///
/// let config = JanitorConfig::default()
///     .interval(Duration::from_secs(600))
///     .budget(CleanupBudget::gentle().max_time(Duration::from_secs(300)))
///     .on_run(|outcome| match outcome {
///         Ok(report) => println!("{report}"),
///         Err(error) => eprintln!("clean-up: {error}"),
///     });
/// # let _ = config;
/// ```
#[derive(Clone)]
#[must_use = "its methods return the changed value"]
pub struct JanitorConfig {
    pub(super) interval: Duration,
    pub(super) jitter: Duration,
    pub(super) budget: CleanupBudget,
    pub(super) months_ahead: u32,
    pub(super) on_run: Arc<OnRun>,
}

impl Default for JanitorConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(300),
            jitter: Duration::from_secs(60),
            budget: CleanupBudget::gentle().max_time(Duration::from_secs(120)),
            months_ahead: 2,
            on_run: Arc::new(|_| ()),
        }
    }
}

impl JanitorConfig {
    /// How long it waits from the end of one run to the begin of the next.
    ///
    /// Defaults to 5 minutes.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::JanitorConfig;
    /// # use std::time::Duration;
    /// let config = JanitorConfig::default().interval(Duration::from_secs(3_600));
    /// # let _ = config;
    /// ```
    pub fn interval(mut self, wait: Duration) -> Self {
        self.interval = wait;
        self
    }

    /// The most by which each wait is longer, by chance, so that the nodes of a fleet that were started together do not
    /// run together; the first wait is this alone.
    ///
    /// Defaults to 1 minute.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::JanitorConfig;
    /// # use std::time::Duration;
    /// let at_once = JanitorConfig::default().jitter(Duration::ZERO);
    /// # let _ = at_once;
    /// ```
    pub fn jitter(mut self, most: Duration) -> Self {
        self.jitter = most;
        self
    }

    /// How much one run does. A run that its budget ended goes on where it was when its turn comes again.
    ///
    /// Defaults to 2 minutes of [`CleanupBudget::gentle`].
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::{CleanupBudget, JanitorConfig};
    /// let config = JanitorConfig::default().budget(CleanupBudget::default().max_rows(1_000_000));
    /// # let _ = config;
    /// ```
    pub fn budget(mut self, budget: CleanupBudget) -> Self {
        self.budget = budget;
        self
    }

    /// How many months ahead each run makes partitions of the archive, by a policy that archives.
    ///
    /// Defaults to 2, after the current one. A role that may not make any needs them made by another one.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::JanitorConfig;
    /// let config = JanitorConfig::default().months_ahead(6);
    /// # let _ = config;
    /// ```
    pub fn months_ahead(mut self, months: u32) -> Self {
        self.months_ahead = months;
        self
    }

    /// Is told after each run what it did, on the janitor's thread: for a log.
    ///
    /// Defaults to nothing. A panic in it ends the janitor ([`Janitor::is_alive`](crate::Janitor::is_alive)).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::JanitorConfig;
    /// let config = JanitorConfig::default().on_run(|outcome| println!("{outcome:?}"));
    /// # let _ = config;
    /// ```
    pub fn on_run(mut self, told: impl Fn(&Result<CleanupReport>) + Send + Sync + 'static) -> Self {
        self.on_run = Arc::new(told);
        self
    }

    /// A wait of up to the jitter.
    pub(super) fn random_jitter(&self) -> Duration {
        // Each RandomState has keys of its own: randomness enough for this, without a dependency.
        let drawn = RandomState::new().build_hasher().finish();
        let [.., high, low] = drawn.to_be_bytes();
        self.jitter / u32::from(u16::MAX) * u32::from(u16::from_be_bytes([high, low]))
    }
}

impl fmt::Debug for JanitorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interval, jitter, budget, months_ahead, on_run: _ } = self;
        f.debug_struct("JanitorConfig")
            .field("interval", interval)
            .field("jitter", jitter)
            .field("budget", budget)
            .field("months_ahead", months_ahead)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_random_jitter_is_spread_over_the_jitter() {
        let config = JanitorConfig::default().jitter(Duration::from_secs(100));
        let drawn: Vec<u64> = (0..200).map(|_| config.random_jitter().as_secs()).collect();
        assert!(drawn.iter().all(|seconds| *seconds <= 100), "{drawn:?}");
        assert!(drawn.iter().any(|seconds| *seconds < 30) && drawn.iter().any(|seconds| *seconds > 70), "{drawn:?}");
        // Whatever is set, nothing overflows.
        assert!(JanitorConfig::default().jitter(Duration::MAX).random_jitter() > Duration::ZERO);
    }
}
