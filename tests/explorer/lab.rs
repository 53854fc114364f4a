//! A schema, a connection and thread for each process, and the controller that lets them run one statement at a time.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens_support::{Database, race};

use crate::act::Outcome;
use crate::fixture::{self, Rows};
use crate::stage::{Hook, Stage, Status};
use crate::statement::Footprint;
use crate::verbs::Verb;

diesel::table! {
    pg_locks (pid) {
        pid -> Integer,
        granted -> Bool,
        locktype -> Text,
        mode -> Text,
    }
}

/// How long something that must happen may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What isolation the server gives, whatever a transaction asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Level {
    AsAsked,
    /// Then a verb is made again where it ends in a conflict.
    Serializable,
}

/// About what a statement takes: the server is asked about locks only where it takes longer.
const MOMENT: Duration = Duration::from_micros(200);

struct Process {
    pid: i32,
    verbs: Option<Sender<Verb>>,
    thread: Option<JoinHandle<()>>,
}

/// Where a process has got to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Before(String),
    Waiting,
    Ended,
}

/// What one granted statement led to.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) name: String,
    pub(crate) footprint: Footprint,
    /// The processes that wait for a lock now.
    pub(crate) blocked: Vec<usize>,
    pub(crate) finished: Vec<usize>,
    /// Those whose transaction ended with it because it had come to nothing.
    in_vain: Vec<usize>,
}

pub(crate) struct Lab {
    stage: Arc<Stage>,
    processes: Vec<Process>,
    observer: PgConnection,
    blocked: Vec<usize>,
    /// Those held before the end of a transaction that did something.
    ending: Vec<usize>,
    first_rows: Rc<Rows>,
    _database: Database,
}

impl Lab {
    pub(crate) fn new(processes: usize, level: Level) -> Self {
        let database = match level {
            Level::AsAsked => Database::migrated(),
            Level::Serializable => Database::migrated_serializable(),
        };
        let mut observer = database.connect();
        // It is no party to any conflict.
        observer.batch_execute("SET default_transaction_isolation = 'read committed'").unwrap();
        fixture::prepare(&mut observer);
        let first_rows = Rc::new(fixture::rows(&mut observer));
        let authenticated_at = race::now(&mut observer);
        let stage = Arc::new(Stage::new(processes));
        let start = |process| start(&database, level, Arc::clone(&stage), process, authenticated_at);
        let processes = (0..processes).map(start).collect();
        Self { stage, processes, observer, blocked: Vec::new(), ending: Vec::new(), first_rows, _database: database }
    }

    pub(crate) fn vacuum(&mut self) {
        fixture::vacuum(&mut self.observer);
    }

    /// From fresh rows, gives each process its verb, and returns when all are held before their first statement.
    pub(crate) fn begin(&mut self, verbs: &[Verb]) {
        fixture::reset(&mut self.observer);
        self.ending.clear();
        for (process, verb) in verbs.iter().enumerate() {
            self.stage.start(process);
            self.processes[process].verbs.as_ref().unwrap().send(*verb).unwrap();
        }
        self.settle(false);
    }

    /// The rows that every schedule starts from.
    pub(crate) fn first_rows(&self) -> Rc<Rows> {
        Rc::clone(&self.first_rows)
    }

    /// The committed rows.
    pub(crate) fn rows(&mut self) -> Rows {
        fixture::rows(&mut self.observer)
    }

    /// Who can be granted a statement.
    pub(crate) fn held(&self) -> Vec<usize> {
        self.all(|status| matches!(status, Status::Held(_)))
    }

    fn finished(&self) -> Vec<usize> {
        self.all(|status| matches!(status, Status::Finished(_)))
    }

    fn all(&self, is: impl Fn(&Status) -> bool) -> Vec<usize> {
        let is = self.stage.each(is);
        (0..is.len()).filter(|process| is[*process]).collect()
    }

    /// Where each process is.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.stage.each(|status| match status {
            Status::Held(step) => Place::Before(step.name.clone()),
            Status::Running(_) => Place::Waiting,
            Status::Idle | Status::Finished(_) => Place::Ended,
        })
    }

    /// Whether verbs are left of which none can go on.
    pub(crate) fn is_deadlocked(&self) -> bool {
        self.held().is_empty() && !self.blocked.is_empty()
    }

    /// Lets a process send its statement, and returns when everybody is held, finished or blocked again.
    ///
    /// `before` is what the same step led to when the same steps had gone before.
    pub(crate) fn grant(&mut self, process: usize, before: Option<&Granted>) -> Granted {
        let already = self.finished();
        self.ending.retain(|other| *other != process);
        let step = self.stage.grant(process);
        let mut footprint = step.footprint;
        let releases = !footprint.publishes.is_empty();
        if releases {
            // Whoever waited may go on with its own statement.
            footprint = self.stage.each(running).into_iter().flatten().fold(footprint, |all, one| all | one);
        }
        footprint.begins = step.footprint.begins;
        self.settle(releases);
        let in_vain = self.end_the_vain(process, before);
        if in_vain.contains(&process) {
            footprint = footprint.in_vain();
        }
        let finished: Vec<usize> = self.finished().into_iter().filter(|process| !already.contains(process)).collect();
        footprint.ends = !finished.is_empty();
        Granted { name: step.name, footprint, blocked: self.blocked.clone(), finished, in_vain }
    }

    /// Lets those commit at once that have changed and locked nothing, which nobody can notice, and says who did.
    fn end_the_vain(&mut self, by: usize, before: Option<&Granted>) -> Vec<usize> {
        let mut in_vain = Vec::new();
        let at_end = |status: &Status| matches!(status, Status::Held(step) if step.footprint.is_end());
        let fresh: Vec<usize> = self.all(at_end).into_iter().filter(|process| !self.ending.contains(process)).collect();
        for process in fresh {
            let is_in_vain = match before {
                Some(granted) if process == by => granted.in_vain.contains(&process),
                _ => !self.has_transaction_id(process),
            };
            if is_in_vain {
                self.stage.grant(process);
                self.settle(false);
                in_vain.push(process);
            } else {
                self.ending.push(process);
            }
        }
        in_vain
    }

    /// The server gives an id to a transaction before its first change or row lock.
    fn has_transaction_id(&mut self, process: usize) -> bool {
        let own = pg_locks::table.filter(pg_locks::pid.eq(self.processes[process].pid));
        let exclusive = own.filter(pg_locks::locktype.eq("transactionid")).filter(pg_locks::mode.eq("ExclusiveLock"));
        diesel::select(diesel::dsl::exists(exclusive)).get_result(&mut self.observer).unwrap()
    }

    /// Returns when everybody is held, finished or, in the server's one view of all locks, waiting.
    ///
    /// Nobody gets a lock but from somebody who runs, so what all are seen in at once lasts until the next grant; and
    /// from a transaction, only by its end.
    fn settle(&mut self, releases: bool) {
        let started = Instant::now();
        loop {
            let (running, version) = self.stage.watch(&self.blocked, MOMENT);
            if running == self.blocked && !releases {
                return;
            }
            self.blocked = self.waiting(&running);
            if self.blocked == running && version == self.stage.version() {
                return;
            }
            assert!(started.elapsed() < LIMIT, "{running:?} neither end nor wait for a lock");
        }
    }

    /// After a deadlock: returns when the server has chosen its victim.
    pub(crate) fn wait_for_victim(&mut self) {
        let started = Instant::now();
        let version = self.stage.version();
        while self.stage.version() == version {
            self.stage.watch(&[], MOMENT);
            assert!(started.elapsed() < LIMIT, "the server does not end the deadlock");
        }
        self.settle(true);
    }

    fn waiting(&mut self, running: &[usize]) -> Vec<usize> {
        if running.is_empty() {
            return Vec::new();
        }
        let pids: Vec<i32> = running.iter().map(|process| self.processes[*process].pid).collect();
        let waiting = pg_locks::table.filter(pg_locks::pid.eq_any(&pids)).filter(diesel::dsl::not(pg_locks::granted));
        let waiting: Vec<i32> = waiting.select(pg_locks::pid).load(&mut self.observer).unwrap();
        running.iter().copied().filter(|process| waiting.contains(&self.processes[*process].pid)).collect()
    }

    /// Lets all run on to their end, in whatever order.
    pub(crate) fn let_go(&mut self) {
        let started = Instant::now();
        self.stage.release(true);
        while !self.stage.watch(&[], MOMENT).0.is_empty() {
            assert!(started.elapsed() < LIMIT, "they do not end");
        }
        self.stage.release(false);
        self.blocked.clear();
    }

    pub(crate) fn outcomes(&self, processes: usize) -> Vec<Vec<Outcome>> {
        self.stage.outcomes(processes)
    }
}

fn running(status: &Status) -> Option<Footprint> {
    match status {
        Status::Running(footprint) => Some(*footprint),
        _ => None,
    }
}

fn start(
    database: &Database,
    level: Level,
    stage: Arc<Stage>,
    process: usize,
    authenticated_at: DateTime<Utc>,
) -> Process {
    let (sender, verbs) = channel::<Verb>();
    let mut conn = database.connect();
    // A role that may not set it waits the server's second for the victim of a deadlock.
    let _ = conn.batch_execute("SET deadlock_timeout = '50ms'");
    let pid = race::pid(&mut conn);
    let thread = std::thread::spawn(move || {
        for verb in verbs {
            conn.set_instrumentation(Hook::new(Arc::clone(&stage), process));
            let is_vain =
                |outcomes: &Vec<Outcome>| level == Level::Serializable && outcomes.iter().any(Outcome::is_conflict);
            let outcomes = race::again_while(is_vain, || verb.run(&mut conn, process, authenticated_at));
            stage.finish(process, outcomes);
        }
    });
    Process { pid, verbs: Some(sender), thread: Some(thread) }
}

impl Drop for Lab {
    /// After a panic, too: a transaction that stayed open would keep the schema from being dropped.
    fn drop(&mut self) {
        self.stage.release(true);
        for process in &mut self.processes {
            drop(process.verbs.take());
        }
        for process in &mut self.processes {
            let _ = process.thread.take().map(JoinHandle::join);
        }
    }
}
