//! A message is held back until the test lets it go. Meanwhile others do what rivals do, and none of it is undone.

use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{Error, Result, StoreConfig, Wait};
use refresh_tokens_support::Fault;
use refresh_tokens_support::doc::new_token;

use crate::cases::{self, Begins, Case, Lock};
use crate::fixture::Fixture;
use crate::jobs::{self, Job};
use crate::lab::{Host, Lab};
use crate::print;

/// More than there are processors, as much of it is waiting for locks.
const WORKERS: usize = 6;

/// What a rival may take: its wait for a lock, again after a conflict, on a busy machine.
const BOUND: Duration = Duration::from_secs(10);

/// Who comes while the message is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rival {
    /// The same request, from another tab or by a second try.
    Again,
    /// Whoever has the user's tokens ended.
    Revocation,
}

impl Rival {
    /// Those who matter to a verb.
    fn of(case: &Case) -> &'static [Self] {
        match case.begins {
            Begins::Rows if case.writes => &[Self::Again, Self::Revocation],
            Begins::Rows => &[Self::Revocation],
            Begins::Tables | Begins::Nothing => &[Self::Again],
        }
    }

    fn call(self, host: &Host, fixture: &Fixture, case: &Case) -> Result<String> {
        match self {
            Self::Again => (case.call)(host, fixture),
            Self::Revocation => host.store.revoke_all_for_user((case.user)(fixture)).map(|_| "revoked".to_owned()),
        }
    }
}

/// What verb and rival were told, and what is left.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    verb: Result<String>,
    /// None if it gave up and so did nothing.
    rival: Option<Result<String>>,
    left: Vec<String>,
}

/// One after the other, either way round; and the verb alone, which is the first.
fn in_order(lab: &mut Lab, case: &Case, rival: Rival) -> Vec<Course> {
    lab.reset(case);
    let verb = lab.call(case);
    let alone = Course { verb, rival: None, left: lab.shape() };
    lab.reset(case);
    let verb = lab.call(case);
    let then = Some(rival.call(&lab.rival, &lab.fixture, case));
    let verb_first = Course { verb, rival: then, left: lab.shape() };
    lab.reset(case);
    let first = Some(rival.call(&lab.rival, &lab.fixture, case));
    let verb = lab.call(case);
    let rival_first = Course { verb, rival: first, left: lab.shape() };
    vec![alone, verb_first, rival_first]
}

#[derive(Debug, Default)]
struct Tally {
    held: usize,
    /// The rival was done before the message went on.
    done: usize,
    /// It was told that somebody holds what it needs.
    busy: usize,
}

#[test]
fn a_message_that_comes_late_leaves_one_of_the_orders() {
    let cases = cases::all();
    let sample = jobs::sample();
    let jobs = jobs::all(&cases, &sample);
    let learn = |lab: &mut Lab, case: &Case| -> Vec<_> {
        Rival::of(case).iter().map(|rival| (*rival, in_order(lab, case, *rival))).collect()
    };
    let hold_for_each = |lab: &mut Lab, case: &Case, orders: &Vec<(Rival, Vec<Course>)>, job| {
        let mut tally = Tally::default();
        for (rival, orders) in orders {
            hold(lab, case, *rival, orders, job, &mut tally);
        }
        tally
    };
    print(&format!("{} messages: {sample}", jobs.len()));
    let tallies = jobs::done_by(WORKERS, &StoreConfig::default(), &jobs, learn, hold_for_each);
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let (held, done, busy) = (sum(|tally| tally.held), sum(|tally| tally.done), sum(|tally| tally.busy));
    print(&format!(
        "{held} messages held in {} verbs: {done} rivals were done meanwhile, {busy} told Busy",
        cases.len()
    ));
    let least = [2_000, 1_000, 300].map(|whole| sample.at_least(whole));
    assert!(held >= least[0] && done >= least[1] && busy >= least[2], "{held} {done} {busy}");
}

fn hold(lab: &mut Lab, case: &Case, rival: Rival, orders: &[Course], job: Job, tally: &mut Tally) {
    let Job { direction, message, .. } = job;
    lab.reset(case);
    lab.wire.arm(Fault::Hold { direction, message });
    let somebody = new_token();
    let (host, rivals, fixture, wire) = (&lab.host, &lab.rival, &lab.fixture, &lab.wire);
    let (verb, meanwhile) = thread::scope(|scope| {
        let verb = scope.spawn(|| {
            let said = (case.call)(host, fixture);
            wire.stand_down();
            said
        });
        let meanwhile = wire.wait_for_fault().map(|befell| {
            let started = Instant::now();
            if case.begins == Begins::Rows {
                let login = rivals.store.create(&somebody);
                assert!(login.is_ok(), "{}, {befell} held: somebody else's login: {login:?}", case.name);
            }
            let said = rival.call(rivals, fixture, case);
            assert!(started.elapsed() < BOUND, "{}, {befell} held: {rival:?}: {said:?}", case.name);
            (befell, said)
        });
        wire.release();
        (verb.join().unwrap(), meanwhile)
    });
    wire.disarm();
    let Some((befell, said)) = meanwhile else {
        assert!(case.connects, "{}: it has no {job:?}", case.name);
        return;
    };
    let name = format!("{}, {befell} held, {rival:?}: {said:?}", case.name);
    let gave_up = matches!(said, Err(Error::Busy(_) | Error::Conflict));
    tally.held += 1;
    tally.busy += usize::from(gave_up);
    tally.done += usize::from(said.is_ok());
    if case.begins == Begins::Rows {
        diesel::delete(dsl::refresh_tokens.find(somebody.id)).execute(&mut lab.conn).unwrap();
    }
    if rival == Rival::Revocation && said.is_ok() {
        let alive = Fixture::alive(&mut lab.conn, (case.user)(&lab.fixture));
        assert_eq!(alive, 0, "{name}: alive after the revocation");
    }
    // Where the verb tries a lock instead of waiting for it, the rival may have held it then, and given up over what it found
    // next. Of the steps some may have been made: the same request makes the rest.
    if case.lock == Lock::Tried && gave_up && verb == Err(Error::Busy(Wait::Lock)) {
        let again = lab.call(case);
        assert_eq!((&again, &lab.shape()), (&orders[0].verb, &orders[0].left), "{name}; sent again");
        return;
    }
    let course = Course { verb, rival: (!gave_up).then_some(said), left: lab.shape() };
    assert!(orders.contains(&course), "{name}: {course:#?} is none of {orders:#?}");
}
