//! Holds each connection before its next statement until the controller lets it go on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use diesel::connection::{Instrumentation, InstrumentationEvent};

use crate::act::Outcome;
use crate::statement::{self, Footprint, Transaction};

/// Where a process is.
#[derive(Debug)]
pub(crate) enum Status {
    /// It has no verb to run.
    Idle,
    /// It runs, or the server has it wait for a lock.
    Running(Footprint),
    Held(Step),
    Finished(Vec<Outcome>),
}

/// The statement that a process is about to send.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) footprint: Footprint,
}

#[derive(Debug)]
struct Board {
    status: Vec<Status>,
    /// Counts the changes that processes made.
    version: u64,
    /// Nobody is held any more: the controller does not need the rest.
    released: bool,
}

/// What the controller and the processes share.
#[derive(Debug)]
pub(crate) struct Stage {
    board: Mutex<Board>,
    news: Condvar,
    turns: Vec<Condvar>,
}

impl Stage {
    pub(crate) fn new(processes: usize) -> Self {
        let status = (0..processes).map(|_| Status::Idle).collect();
        Self {
            board: Mutex::new(Board { status, version: 0, released: false }),
            news: Condvar::new(),
            turns: (0..processes).map(|_| Condvar::new()).collect(),
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap()
    }

    fn report(&self, board: &mut Board, process: usize, status: Status) {
        board.status[process] = status;
        board.version += 1;
        self.news.notify_one();
    }

    /// A process: its verb is over.
    pub(crate) fn finish(&self, process: usize, outcomes: Vec<Outcome>) {
        self.report(&mut self.board(), process, Status::Finished(outcomes));
    }

    /// A process: it is about to send this, and waits for its turn.
    fn hold(&self, process: usize, step: Step) {
        let mut board = self.board();
        if board.released {
            return;
        }
        self.report(&mut board, process, Status::Held(step));
        let held = |board: &mut Board| matches!(board.status[process], Status::Held(_));
        drop(self.turns[process].wait_while(board, held).unwrap());
    }

    /// The controller: this process has been given a verb.
    pub(crate) fn start(&self, process: usize) {
        self.board().status[process] = Status::Running(Footprint::default());
    }

    /// The controller: a held process sends its statement.
    pub(crate) fn grant(&self, process: usize) -> Step {
        let mut board = self.board();
        let Status::Held(step) = &board.status[process] else { panic!("process {process} is not held") };
        let step = step.clone();
        board.status[process] = Status::Running(step.footprint);
        self.turns[process].notify_one();
        step
    }

    /// The controller: nobody is held any more, or everybody again.
    pub(crate) fn release(&self, released: bool) {
        let mut board = self.board();
        board.released = released;
        if released {
            for status in board.status.iter_mut().filter(|status| matches!(status, Status::Held(_))) {
                *status = Status::Running(Footprint::default());
            }
        }
        for turn in &self.turns {
            turn.notify_all();
        }
    }

    /// The controller: waits a moment for processes that are not known to be blocked to get somewhere, and says
    /// which still run.
    pub(crate) fn watch(&self, blocked: &[usize], moment: Duration) -> (Vec<usize>, u64) {
        let running = |board: &Board| -> Vec<usize> {
            let all = board.status.iter().enumerate();
            all.filter(|(_, status)| matches!(status, Status::Running(_))).map(|(process, _)| process).collect()
        };
        let moving = |board: &mut Board| running(board).iter().any(|process| !blocked.contains(process));
        let (board, _) = self.news.wait_timeout_while(self.board(), moment, moving).unwrap();
        (running(&board), board.version)
    }

    pub(crate) fn version(&self) -> u64 {
        self.board().version
    }

    pub(crate) fn each<T>(&self, of: impl FnMut(&Status) -> T) -> Vec<T> {
        self.board().status.iter().map(of).collect()
    }

    /// The controller: takes what the processes have answered.
    pub(crate) fn outcomes(&self, processes: usize) -> Vec<Vec<Outcome>> {
        let mut board = self.board();
        let taken = board.status[..processes].iter_mut().map(|status| match std::mem::replace(status, Status::Idle) {
            Status::Finished(outcomes) => outcomes,
            other => panic!("it has not finished: {other:?}"),
        });
        taken.collect()
    }
}

/// Diesel tells it of each statement before it is sent; of BEGIN, COMMIT and ROLLBACK, too.
pub(crate) struct Hook {
    stage: Arc<Stage>,
    process: usize,
    transaction: Transaction,
    first: bool,
}

impl Hook {
    pub(crate) fn new(stage: Arc<Stage>, process: usize) -> Self {
        Self { stage, process, transaction: Transaction::default(), first: true }
    }
}

impl Instrumentation for Hook {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        let InstrumentationEvent::StartQuery { query, .. } = event else { return };
        let (sql, name) = statement::read(&query.to_string());
        if let Some(footprint) = self.transaction.next(&sql) {
            let footprint = Footprint { begins: std::mem::take(&mut self.first), ..footprint };
            self.stage.hold(self.process, Step { name, footprint });
        }
    }
}
