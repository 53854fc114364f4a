//! A worker thread that cleans up from time to time, over the store.
//!
//! It knows neither group nor service. What is due, and how it is taken, is `retention`'s.

mod config;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::retention::sweep::{Mode, Watch};
use crate::retention::{Disposal, RetentionPolicy, sweep};
use crate::store::RefreshTokenStore;
use crate::telemetry::{Ids, observed};
use crate::values::{CleanupCursor, CleanupReport};

pub use config::JanitorConfig;

/// A worker thread that cleans up from time to time, until it is dropped.
///
/// Run one in each process of a fleet: batches skip what others have locked, so they share the work, and none depends
/// on another. A run takes one connection of the store. A run that fails is counted, and the next one comes in its
/// turn.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let store = store(&database);
/// use chrono::TimeDelta;
/// use refresh_tokens::{Janitor, JanitorConfig, RetentionPolicy};
///
/// let policy = RetentionPolicy::default().keep_rotated_for(TimeDelta::days(7));
/// let janitor = Janitor::start(store, policy, JanitorConfig::default())?;
/// // … the application runs …
/// let statistics = janitor.stop();
/// println!("{} tokens gone in {} runs", statistics.tokens, statistics.runs);
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[must_use = "a janitor that is dropped stops"]
pub struct Janitor {
    shared: Arc<Shared>,
    /// `None` once it was joined.
    thread: Option<JoinHandle<()>>,
}

/// What a [`Janitor`] has done since it was started.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let store = store(&database);
/// # use refresh_tokens::{Janitor, JanitorConfig, RetentionPolicy};
/// let janitor = Janitor::start(store, RetentionPolicy::default(), JanitorConfig::default())?;
/// assert_eq!(janitor.statistics().failures, 0);
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JanitorStatistics {
    /// Runs that ended, well or not.
    pub runs: u64,
    /// Those that ended with an error.
    pub failures: u64,
    /// Tokens that it deleted or archived, those of the run that is under way included.
    pub tokens: u64,
    /// Cutoffs that it deleted.
    pub cutoffs: u64,
    /// The last run that ended well.
    pub last_report: Option<CleanupReport>,
    /// The error of the last run, if it ended with one; or why it could not make the archive's partitions.
    pub last_error: Option<Error>,
    /// How long ago the last run ended, by this machine's clock; `None` before the first.
    pub since_last_run: Option<Duration>,
    /// Whether a run is under way.
    pub is_running: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    is_stopped: bool,
    is_called: bool,
    done: JanitorStatistics,
    last_end: Option<Instant>,
    /// Of the run that is under way.
    so_far: Option<CleanupReport>,
}

impl Janitor {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if a time of the policy is out of its range; [`Error::ThreadSpawn`] if the operating system
    /// gives none.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// use refresh_tokens::{Janitor, JanitorConfig, RetentionPolicy};
    ///
    /// let _until_the_end_of_main = Janitor::start(store, RetentionPolicy::default(), JanitorConfig::default())?;
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn start(store: RefreshTokenStore, policy: RetentionPolicy, config: JanitorConfig) -> Result<Self> {
        policy.check()?;
        let shared = Arc::new(Shared::default());
        let worker = Worker { store, policy, config, shared: Arc::clone(&shared) };
        let thread = Builder::new()
            .name("refresh-tokens-janitor".to_owned())
            .spawn(move || worker.work())
            .map_err(|error| Error::ThreadSpawn { message: error.to_string() })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has it begin a run now, if none is under way.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// # use refresh_tokens::{Janitor, JanitorConfig, RetentionPolicy};
    /// let janitor = Janitor::start(store, RetentionPolicy::default(), JanitorConfig::default())?;
    /// janitor.run_now();
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn run_now(&self) {
        self.shared.lock().is_called = true;
        self.shared.wake.notify_all();
    }

    /// What it has done so far.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// # use refresh_tokens::{Janitor, JanitorConfig, RetentionPolicy};
    /// let janitor = Janitor::start(store, RetentionPolicy::default(), JanitorConfig::default())?;
    /// println!("{:?}", janitor.statistics());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn statistics(&self) -> JanitorStatistics {
        self.shared.statistics()
    }

    /// Whether its thread runs: false only after a panic in [`JanitorConfig::on_run`].
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// # use refresh_tokens::{Janitor, JanitorConfig, RetentionPolicy};
    /// let janitor = Janitor::start(store, RetentionPolicy::default(), JanitorConfig::default())?;
    /// assert!(janitor.is_alive());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends it, waits for its thread, and returns what it did.
    ///
    /// A run that is under way ends after its current batch: within the store's
    /// [`statement_timeout`](crate::StoreConfig::statement_timeout), or its pool timeout where it waits for a
    /// connection. Dropping it does the same.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// # use refresh_tokens::{Janitor, JanitorConfig, RetentionPolicy};
    /// let janitor = Janitor::start(store, RetentionPolicy::default(), JanitorConfig::default())?;
    /// assert!(!janitor.stop().is_running);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn stop(mut self) -> JanitorStatistics {
        self.join();
        self.shared.statistics()
    }

    fn join(&mut self) {
        self.shared.lock().is_stopped = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // Of a panic on it, the panic's own message has told.
            let _ = thread.join();
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.join();
    }
}

impl fmt::Debug for Janitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Janitor").field("statistics", &self.statistics()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Nothing panics while it holds this but a clock that runs backwards; what is guarded is whole at any moment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn statistics(&self) -> JanitorStatistics {
        let state = self.lock();
        let mut statistics = state.done.clone();
        statistics.tokens += state.so_far.map_or(0, |so_far| so_far.tokens());
        statistics.is_running = state.so_far.is_some();
        statistics.since_last_run = state.last_end.map(|end| end.elapsed());
        statistics
    }

    /// Waits until it is time, or somebody calls; breaks if the janitor is to stop.
    fn wait(&self, time: Duration) -> ControlFlow<()> {
        let is_idle = |state: &mut State| !state.is_stopped && !state.is_called;
        let waited = self.wake.wait_timeout_while(self.lock(), time, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_stopped {
            return ControlFlow::Break(());
        }
        state.is_called = false;
        state.so_far = Some(CleanupReport::EMPTY);
        ControlFlow::Continue(())
    }
}

/// Notes how far a run is, and ends it when the janitor is to stop.
struct Progress<'a>(&'a Shared);

impl Watch for Progress<'_> {
    fn progress(&mut self, so_far: &CleanupReport) -> ControlFlow<()> {
        let mut state = self.0.lock();
        state.so_far = Some(*so_far);
        if state.is_stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn rest(&mut self, pause: Duration) -> ControlFlow<()> {
        let waited = self.0.wake.wait_timeout_while(self.0.lock(), pause, |state| !state.is_stopped);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

struct Worker {
    store: RefreshTokenStore,
    policy: RetentionPolicy,
    config: JanitorConfig,
    shared: Arc<Shared>,
}

impl Worker {
    fn work(self) {
        let mut wait = self.config.random_jitter();
        let mut place = None;
        while self.shared.wait(wait).is_continue() {
            let prepared = self.prepare();
            let outcome = self.run(place);
            place = outcome.as_ref().ok().and_then(|report| report.next);
            self.note(prepared.err(), &outcome);
            (self.config.on_run)(&outcome);
            wait = self.config.interval.saturating_add(self.config.random_jitter());
        }
    }

    fn prepare(&self) -> Result<()> {
        if self.policy.disposal() == Disposal::Archive {
            self.store.create_archive_partitions(self.config.months_ahead)?;
        }
        Ok(())
    }

    fn run(&self, place: Option<CleanupCursor>) -> Result<CleanupReport> {
        let mut budget = self.config.budget.clone();
        if let Some(place) = place {
            budget = budget.resume_from(place);
        }
        let mut watch = Progress(&self.shared);
        observed("janitor_run", Ids::NONE, || {
            sweep::sweep(&mut *self.store.take()?, &self.policy, &budget, Mode::Take, &mut watch)
        })
    }

    /// Where only the archive's partitions could not be made, the run was well: there may be enough of them.
    fn note(&self, unprepared: Option<Error>, outcome: &Result<CleanupReport>) {
        let mut state = self.shared.lock();
        // Of a run that failed, the batches before that are done.
        let so_far = state.so_far.take().unwrap_or(CleanupReport::EMPTY);
        let report = outcome.as_ref().unwrap_or(&so_far);
        let done = &mut state.done;
        done.runs += 1;
        done.tokens += report.tokens();
        done.cutoffs += report.cutoffs;
        done.last_error = outcome.as_ref().err().cloned().or(unprepared);
        match outcome {
            Ok(report) => done.last_report = Some(*report),
            Err(_) => done.failures += 1,
        }
        state.last_end = Some(Instant::now());
    }
}
