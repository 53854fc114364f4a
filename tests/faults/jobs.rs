//! A job for each message of each verb, and workers that take one after the other.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;

use refresh_tokens::StoreConfig;
use refresh_tokens_support::{Direction, Fault};

use crate::cases::{self, Case};
use crate::lab::Lab;

/// One message of one verb.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) case: usize,
    pub(crate) direction: Direction,
    pub(crate) message: usize,
}

/// Every message of every verb, as an undisturbed call has them on a connection that has prepared its statements.
pub(crate) fn all(cases: &[Case]) -> Vec<Job> {
    let mut lab = Lab::new(&StoreConfig::default());
    let mut jobs = Vec::new();
    for (case, verb) in cases.iter().enumerate() {
        lab.undisturbed(verb);
        lab.reset(verb);
        lab.wire.arm(NEVER);
        lab.call(verb).unwrap_or_else(|error| panic!("{}: {error}", verb.name));
        let (messages, _) = lab.wire.counted();
        lab.wire.disarm();
        for direction in [Direction::ToServer, Direction::ToClient] {
            jobs.extend((0..messages[direction as usize]).map(|message| Job { case, direction, message }));
        }
    }
    jobs
}

/// It befalls nothing, so that all is counted.
pub(crate) const NEVER: Fault = Fault::Silence { direction: Direction::ToServer, message: usize::MAX };

/// Has so many workers, each with a lab of its own, do the jobs, and returns what came of them.
pub(crate) fn done_by<T: Send, U>(
    workers: usize,
    config: &StoreConfig,
    jobs: Vec<Job>,
    learn: impl Fn(&mut Lab, &Case) -> U + Sync,
    work: impl Fn(&mut Lab, &Case, &U, Job) -> T + Sync,
) -> Vec<T> {
    let (learn, work) = (&learn, &work);
    shared_out(workers, jobs, || {
        let (mut lab, cases, mut learned) = (Lab::new(config), cases::all(), HashMap::new());
        move |job: Job| {
            let case = &cases[job.case];
            let learned = learned.entry(job.case).or_insert_with(|| learn(&mut lab, case));
            work(&mut lab, case, learned, job)
        }
    })
}

/// Has so many workers take one after the other, and returns what came of them, in no order.
pub(crate) fn shared_out<J, T: Send, W: FnMut(J) -> T>(
    workers: usize,
    jobs: impl IntoIterator<Item = J, IntoIter: Send>,
    worker: impl Fn() -> W + Sync,
) -> Vec<T> {
    let jobs = Mutex::new(jobs.into_iter());
    let work = || {
        let (mut work, mut done) = (worker(), Vec::new());
        loop {
            let Some(job) = jobs.lock().unwrap().next() else { return done };
            done.push(work(job));
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}
