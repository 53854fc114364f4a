//! The network dies and says nothing: packets are dropped, in either direction, from each message of each verb on.

use std::time::{Duration, Instant};

use refresh_tokens::{Error, StoreConfig};
use refresh_tokens_support::Fault;

use crate::cases::{self, Case};
use crate::jobs::{self, Job};
use crate::lab::{Lab, Undisturbed};
use crate::print;

/// The shortest that the kernel's whole seconds allow: it asks after one, and again after another.
const WAIT: Duration = Duration::from_secs(1);

/// On a busy machine. Without the setting it would be Linux's own limit: 15 minutes, or two hours.
const BOUND: Duration = Duration::from_secs(20);

/// Each waits for nothing but the kernel, and has four of the server's 400 connections at most.
const WORKERS: usize = 46;

/// What came of one silence.
struct Told {
    took: Duration,
    /// None if the verb did what it was asked to do.
    error: Option<Error>,
    /// It had been committed, and the error said that this is unknown.
    hid_a_commit: bool,
}

#[test]
fn a_connection_that_dies_silently_ends_in_an_error_and_is_replaced() {
    let cases = cases::all();
    let sample = jobs::sample();
    let jobs = jobs::all(&cases, &sample);
    let planned = jobs.len();
    let config = StoreConfig::default().network_timeout(WAIT).pool_timeout(BOUND / 2);
    let told: Vec<Option<Told>> = jobs::done_by(WORKERS, &config, &jobs, Lab::undisturbed, silence);
    let told: Vec<Told> = told.into_iter().flatten().collect();
    let lost = told.iter().filter(|told| told.error == Some(Error::ConnectionLost)).count();
    let hidden = told.iter().filter(|told| told.hid_a_commit).count();
    let longest = told.iter().map(|told| told.took).max().unwrap();
    print(&format!(
        "{} silences in {} verbs ({sample}), {lost} of them told, {hidden} of which hid a COMMIT; the longest after {longest:?}",
        told.len(),
        cases.len()
    ));
    assert!(told.len() >= planned - cases.len() && lost >= planned / 2, "{lost} of {}", told.len());
    assert!(planned >= sample.at_least(1_200) && hidden >= sample.at_least(30), "{planned} {hidden}");
}

/// How often a machine may be too busy to open the next connection in time.
const ATTEMPTS: usize = 5;

/// None if the call came to its end without this message, which can be where connections are opened beside each other.
///
/// The next connection has no longer than the network's timeout, which a busy machine may need for one. That is told, too,
/// as what it is; but it is not what is looked for, so the same is done again.
fn silence(lab: &mut Lab, case: &Case, undisturbed: &Undisturbed, job: Job) -> Option<Told> {
    let is_of_another = |told: &Option<Told>| {
        told.as_ref().is_some_and(|told| !case.connects && matches!(told.error, Some(Error::Unreachable { .. })))
    };
    let mut told = silence_once(lab, case, undisturbed, job);
    for _ in 1..ATTEMPTS {
        if !is_of_another(&told) {
            break;
        }
        told = silence_once(lab, case, undisturbed, job);
    }
    assert!(!is_of_another(&told), "{}, silence at {job:?}: it is never the lost connection that is told", case.name);
    told
}

fn silence_once(lab: &mut Lab, case: &Case, undisturbed: &Undisturbed, job: Job) -> Option<Told> {
    let Job { direction, message, .. } = job;
    lab.reset(case);
    lab.wire.arm(Fault::Silence { direction, message });
    let started = Instant::now();
    let answer = lab.call(case);
    let took = started.elapsed();
    let befell = lab.wire.disarm();
    assert!(befell.is_some() || case.connects, "{}: it has no {job:?}", case.name);
    let name = format!("{}, silence at {}: {answer:?}", case.name, befell?);
    assert!(took < BOUND, "{name} took {took:?}");
    lab.wire.settle();
    let left = lab.shape();
    undisturbed.judge(case, &answer, &left, &name);
    let hid_a_commit = answer.is_err() && case.writes && left == undisturbed.after;
    if let Err(error) = &answer {
        assert!(Undisturbed::is_loss(case, error) || matches!(error, Error::Unreachable { .. }), "{name}");
        lab.wire.end_silence();
        if *error != Error::ConnectionLost {
            lab.recover();
        }
        undisturbed.resolve(lab, case, &name);
    }
    Some(Told { took, error: answer.err(), hid_a_commit })
}
