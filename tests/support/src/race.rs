//! Schedules that a test controls: one connection waits for another, and the server says so.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use refresh_tokens::Error;

use crate::Database;
use crate::database::{RETRIES, is_serializable};

mod sql {
    diesel::define_sql_function! {
        /// The server process of this connection.
        fn pg_backend_pid() -> Integer;
    }
    diesel::define_sql_function! {
        /// The database's clock.
        fn clock_timestamp() -> Timestamptz;
    }
}

/// How long something that must happen may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// The server process of a connection; through PgBouncer, that of its open transaction.
pub fn pid(conn: &mut PgConnection) -> i32 {
    diesel::select(sql::pg_backend_pid()).get_result(conn).expect("the server answers")
}

/// The database's clock.
pub fn now(conn: &mut PgConnection) -> DateTime<Utc> {
    diesel::select(sql::clock_timestamp()).get_result(conn).expect("the server answers")
}

/// Returns once the database's clock is past an instant.
///
/// # Panics
///
/// If that takes longer than anything a test waits for.
#[track_caller]
pub fn wait_until(conn: &mut PgConnection, instant: DateTime<Utc>) {
    let started = Instant::now();
    while now(conn) <= instant {
        assert!(started.elapsed() < LIMIT, "the database's clock did not come to {instant}");
        diesel::sql_query("SELECT pg_sleep(0.02)").execute(conn).expect("the server answers");
    }
}

/// What work in a schedule comes to.
pub trait Outcome {
    /// Whether the server rolled it back in favour of somebody else, so that it has to be done again.
    fn is_conflict(&self) -> bool;
}

impl<T> Outcome for Result<T, Error> {
    fn is_conflict(&self) -> bool {
        matches!(self, Err(Error::Conflict))
    }
}

impl<T> Outcome for QueryResult<T> {
    fn is_conflict(&self) -> bool {
        matches!(self, Err(DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _)))
    }
}

/// As a store does: where every transaction is SERIALIZABLE, again after a conflict; elsewhere there must be none.
pub fn retrying<T: Outcome>(work: impl FnMut() -> T) -> T {
    again_while(|outcome: &T| is_serializable() && outcome.is_conflict(), work)
}

/// Does work again while that is what its outcome asks for, but not for ever.
pub fn again_while<T>(asks: impl Fn(&T) -> bool, mut work: impl FnMut() -> T) -> T {
    let mut outcome = work();
    for _ in 0..RETRIES {
        if !asks(&outcome) {
            break;
        }
        outcome = work();
    }
    outcome
}

/// Work on a connection of its own that waits for another one's lock.
#[derive(Debug)]
pub struct Waiting<T> {
    /// Its server process.
    pub pid: i32,
    thread: JoinHandle<T>,
}

impl<T> Waiting<T> {
    /// What it returned.
    ///
    /// # Panics
    ///
    /// If it does not end.
    #[track_caller]
    pub fn join(self) -> std::thread::Result<T> {
        join(self.thread, "who waited for the lock")
    }
}

/// A thread that runs `work` on a connection of its own, [retrying], and is known to wait for a lock of `blocker`.
///
/// # Panics
///
/// If `work` ends without waiting, or does not come to wait: then the schedule is not the one that was meant.
#[track_caller]
pub fn start_blocked<T: Outcome + Send + 'static>(
    database: &Database,
    blocker: i32,
    mut work: impl FnMut(&mut PgConnection) -> T + Send + 'static,
) -> Waiting<T> {
    let mut observer = database.connect_directly();
    let before = blocked_by(&mut observer, blocker);
    let mut conn = database.connect();
    let thread = std::thread::spawn(move || retrying(|| work(&mut conn)));
    let started = Instant::now();
    loop {
        let blocked = blocked_by(&mut observer, blocker);
        if let Some(&pid) = blocked.iter().find(|pid| !before.contains(pid)) {
            return Waiting { pid, thread };
        }
        assert!(!thread.is_finished(), "it ended instead of waiting for the lock");
        assert!(started.elapsed() < LIMIT, "it did not come to wait for the lock");
    }
}

/// Who comes in the midst of somebody else's transaction to wait for it, and has answered once that is over.
#[derive(Debug)]
pub struct Rival<'a, T> {
    database: &'a Database,
    waiting: RefCell<Option<Waiting<T>>>,
}

impl<'a, T: Outcome + Send + 'static> Rival<'a, T> {
    /// Who is yet to come.
    pub const fn on(database: &'a Database) -> Self {
        Self { database, waiting: RefCell::new(None) }
    }

    /// Starts its work, as [`start_blocked`] by the transaction that this connection has open.
    ///
    /// # Panics
    ///
    /// As [`start_blocked`].
    pub fn waits_for(&self, conn: &mut PgConnection, work: impl FnMut(&mut PgConnection) -> T + Send + 'static) {
        self.waits_for_process(pid(conn), work);
    }

    /// The same, where the connection is borrowed: for the transaction of this server process.
    ///
    /// # Panics
    ///
    /// As [`start_blocked`].
    pub fn waits_for_process(&self, blocker: i32, work: impl FnMut(&mut PgConnection) -> T + Send + 'static) {
        self.waiting.replace(Some(start_blocked(self.database, blocker, work)));
    }

    /// What its work returned.
    ///
    /// # Panics
    ///
    /// If it never came, or panicked.
    pub fn join(self) -> T {
        let waiting = self.waiting.into_inner().expect("it was started");
        waiting.join().expect("no panic")
    }
}

/// The processes that wait for a lock of this one. Through PgBouncer, it is seen only now which one works for whom.
fn blocked_by(observer: &mut PgConnection, blocker: i32) -> Vec<i32> {
    #[derive(QueryableByName)]
    struct Blocked {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        pid: i32,
    }
    let text = "SELECT pid FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
    let blocked = diesel::sql_query(text).bind::<diesel::sql_types::Integer, _>(blocker);
    let blocked: Vec<Blocked> = blocked.load(observer).expect("the server answers");
    blocked.into_iter().map(|blocked| blocked.pid).collect()
}

/// Ends a server process, and returns once it is gone.
///
/// # Panics
///
/// If it does not end.
#[track_caller]
pub fn terminate(operator: &mut PgConnection, pid: i32) {
    let started = Instant::now();
    loop {
        // In PostgreSQL 13 it cannot be told to wait by itself.
        let ended = diesel::sql_query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1");
        let ended = ended.bind::<diesel::sql_types::Integer, _>(pid).execute(operator).expect("the server answers");
        if ended == 0 {
            return;
        }
        assert!(started.elapsed() < LIMIT, "server process {pid} did not end");
    }
}

/// Returns once so many processes wait for a lock of `blocker`.
///
/// # Panics
///
/// If they do not come to wait.
#[track_caller]
pub fn wait_until_blocked(observer: &mut PgConnection, blocker: i32, processes: usize) {
    let started = Instant::now();
    loop {
        let waiting = blocked_by(observer, blocker).len();
        if waiting == processes {
            return;
        }
        assert!(started.elapsed() < LIMIT, "{waiting} wait for the lock instead of {processes}");
    }
}

/// Returns once a condition holds that another thread is about to bring about.
///
/// # Panics
///
/// If it does not come to hold.
#[track_caller]
pub fn wait_for(condition: impl Fn() -> bool) {
    wait_until_that("what another thread was to bring about", condition);
}

/// [`wait_for`], which says what it waited for if that does not come about.
///
/// # Panics
///
/// If it does not come to hold.
#[track_caller]
pub fn wait_until_that(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "it did not come about: {what}");
        std::thread::yield_now();
    }
}

/// What a thread returned.
///
/// # Panics
///
/// If it does not end: it is left behind, so that a test fails by name and does not hang.
#[track_caller]
pub fn join<T>(thread: JoinHandle<T>, what: &str) -> std::thread::Result<T> {
    wait_until_that(&format!("the end of {what}"), || thread.is_finished());
    thread.join()
}

/// What another thread tells.
///
/// # Panics
///
/// If it tells nothing.
#[track_caller]
pub fn hear<T>(hears: &Receiver<T>, what: &str) -> T {
    match hears.recv_timeout(LIMIT) {
        Ok(told) => told,
        Err(RecvTimeoutError::Timeout) => panic!("it was not told: {what}"),
        Err(RecvTimeoutError::Disconnected) => panic!("who was to tell it is gone: {what}"),
    }
}

/// Returns once nobody is left who could tell anything.
///
/// # Panics
///
/// If somebody tells something, or stays.
#[track_caller]
pub fn hear_the_end<T>(hears: &Receiver<T>, what: &str) {
    match hears.recv_timeout(LIMIT) {
        Err(RecvTimeoutError::Disconnected) => {}
        Err(RecvTimeoutError::Timeout) => panic!("it did not end: {what}"),
        Ok(_) => panic!("something was told after the end: {what}"),
    }
}

/// Runs `hold` in a transaction; while that is open, `work` runs on a connection of its own and is known to wait for it.
/// Then COMMIT. What both answered.
///
/// # Panics
///
/// As [`start_blocked`].
#[track_caller]
pub fn wait_for_commit<A, B: Outcome + Send + 'static>(
    database: &Database,
    hold: impl FnOnce(&mut PgConnection) -> A,
    work: impl FnMut(&mut PgConnection) -> B + Send + 'static,
) -> (A, B) {
    let mut conn = database.connect();
    let (held, waiting) = conn
        .transaction(|conn| {
            let holder = pid(conn);
            let held = hold(conn);
            QueryResult::Ok((held, start_blocked(database, holder, work)))
        })
        .expect("it commits");
    (held, waiting.join().expect("no panic"))
}
