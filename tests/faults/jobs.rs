//! A job for each message of each verb, or for a sample of them, and workers that take one after the other.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;

use refresh_tokens::StoreConfig;
use refresh_tokens_support::{Direction, Fault, Sample};

use crate::cases::{self, Case};
use crate::lab::Lab;

/// One message of one verb.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) case: usize,
    pub(crate) direction: Direction,
    pub(crate) message: usize,
}

/// What a run takes of the messages, the statements, the verbs: all of them, or so much of each.
pub(crate) fn sample() -> Sample {
    Sample::new(64, 8)
}

/// Every message of every verb, as an undisturbed call has them on a connection that has prepared its statements; or those
/// of the sample.
pub(crate) fn all(cases: &[Case], sample: &Sample) -> Vec<Job> {
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
            let messages = (0..messages[direction as usize]).filter(|at| sample.takes(&of(verb, direction), *at));
            jobs.extend(messages.map(|message| Job { case, direction, message }));
        }
    }
    jobs
}

/// What messages are numbered within.
pub(crate) fn of(case: &Case, direction: Direction) -> String {
    format!("{} {direction:?}", case.name)
}

/// It befalls nothing, so that all is counted.
pub(crate) const NEVER: Fault = Fault::Silence { direction: Direction::ToServer, message: usize::MAX };

/// Has so many workers, each with a lab of its own, do the jobs, and returns what came of them.
pub(crate) fn done_by<T: Send, U>(
    workers: usize,
    config: &StoreConfig,
    jobs: &[Job],
    learn: impl Fn(&mut Lab, &Case) -> U + Sync,
    work: impl Fn(&mut Lab, &Case, &U, Job) -> T + Sync,
) -> Vec<T> {
    let (learn, work) = (&learn, &work);
    let of_one = jobs.chunk_by(|one, next| one.case == next.case).flat_map(|of_case| of_case.chunks(TOGETHER));
    let groups: Vec<Vec<Job>> = of_one.map(<[Job]>::to_vec).collect();
    let done = shared_out(workers.min(groups.len()), groups, || {
        let (mut lab, cases, mut learned) = (Lab::new(config), cases::all(), HashMap::new());
        move |group: Vec<Job>| {
            let do_one = |job: Job| {
                let case = &cases[job.case];
                let learned = learned.entry(job.case).or_insert_with(|| learn(&mut lab, case));
                work(&mut lab, case, learned, job)
            };
            group.into_iter().map(do_one).collect::<Vec<T>>()
        }
    });
    done.into_iter().flatten().collect()
}

/// So many messages of one verb are one worker's, who has to learn what comes of it without a fault.
const TOGETHER: usize = 6;

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
