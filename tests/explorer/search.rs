//! All schedules of some verbs: depth first, each from fresh rows.
//!
//! Two schedules that differ only in the order of steps which commute are one, by sleep sets (Godefroid, 1996): after
//! all schedules with one process next have been run, that process sleeps in those of its siblings until a step
//! that does not commute with its own.
//!
//! Where even those are too many, the schedules are bounded by preemptions (CHESS, 2007): by how often another process
//! gets the next step although the one before could have gone on. All within the bound are run, without sleep sets,
//! which could leave out one that needs fewer preemptions than its equivalent.
//!
//! Where a COMMIT wakes two that wait for one row, the server may serve either first, and does. Each answer that it
//! has ever given is a branch, too; a path is run again until the server takes the one that is to be explored.

use std::rc::Rc;

use crate::act::Outcome;
use crate::check;
use crate::fixture::Rows;
use crate::lab::{Granted, Lab, Place};
use crate::statement::Footprint;
use crate::verbs::Verb;

/// How often a path is run in hope for the branch of the server's that it needs.
const PATIENCE: usize = 1_000;

/// After so many runs, dead rows have begun to cost time.
const VACUUM: usize = 50;

/// A schedule as it was run.
pub(crate) struct Run {
    pub(crate) verbs: Vec<Verb>,
    pub(crate) steps: Vec<(usize, Granted)>,
    /// Of each process, what it was answered.
    pub(crate) outcomes: Vec<Vec<Outcome>>,
    /// The committed rows before the first step, and after each that published something: how many steps had been
    /// made, and by whom the last.
    pub(crate) history: Vec<(usize, usize, Rc<Rows>)>,
    pub(crate) deadlocked: bool,
}

/// A place in the tree of schedules.
struct Node {
    held: Vec<usize>,
    sleeping: Vec<(usize, Footprint)>,
    done: Vec<(usize, Footprint)>,
    next: usize,
    /// Where the next step is to lead, once that is known.
    to: Option<Vec<Place>>,
    /// Where it led, too.
    also_to: Vec<Vec<Place>>,
    explored: Vec<Vec<Place>>,
    /// What is known of the step to there.
    step: Option<(Granted, Option<Rc<Rows>>)>,
    footprint: Footprint,
}

impl Node {
    fn new(held: Vec<usize>, sleeping: Vec<(usize, Footprint)>) -> Option<Self> {
        let (done, also_to, explored, footprint) = (Vec::new(), Vec::new(), Vec::new(), Footprint::default());
        let mut node = Self { held, sleeping, done, next: 0, to: None, also_to, explored, step: None, footprint };
        node.next = node.first_to_run()?;
        Some(node)
    }

    fn first_to_run(&self) -> Option<usize> {
        let is_done = |process: &usize| self.sleeping.iter().chain(&self.done).any(|(other, _)| other == process);
        self.held.iter().copied().find(|process| !is_done(process))
    }

    /// Turns to what is to be explored next from here; false if there is nothing left.
    fn turn(&mut self) -> bool {
        self.step = None;
        self.explored.extend(self.to.take());
        if let Some(place) = self.also_to.pop() {
            self.to = Some(place);
            return true;
        }
        self.done.push((self.next, self.footprint));
        self.explored.clear();
        self.footprint = Footprint::default();
        self.first_to_run().map(|next| self.next = next).is_some()
    }

    /// Whether the step led where it was to.
    fn arrives(&mut self, places: Vec<Place>) -> bool {
        match &self.to {
            None => self.to = Some(places),
            Some(to) if *to == places => {}
            Some(_) => {
                if !self.also_to.contains(&places) && !self.explored.contains(&places) {
                    self.also_to.push(places);
                }
                return false;
            }
        }
        true
    }

    /// What sleeps after the step that was made here.
    fn sleeping_after(&self, made: Footprint) -> Vec<(usize, Footprint)> {
        let all = self.sleeping.iter().chain(&self.done);
        all.filter(|(_, step)| step.commutes_with(made)).copied().collect()
    }
}

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// How many schedules, of which none is equivalent to another.
    pub(crate) schedules: usize,
    /// How many runs turned out, halfway, to be equivalent to one of them, or to take another branch of the server's.
    pub(crate) given_up: usize,
    /// How many branches of the server's were seen once and not again.
    pub(crate) missed: usize,
    pub(crate) steps: usize,
    /// How many of them broke a promise.
    pub(crate) broken: usize,
    /// The shortest of these, and what it broke.
    pub(crate) counterexample: Option<(usize, String, Vec<String>)>,
}

enum Ended {
    Run(Run),
    /// All that could go on sleep: nothing new comes from there.
    Known,
    /// The server took another branch in the step at this depth.
    Elsewhere(usize),
}

/// Runs all schedules, or those up to the first that breaks a promise.
pub(crate) fn search(lab: &mut Lab, verbs: &[Verb], bound: Option<usize>, go_on: bool) -> Found {
    let mut found = Found::default();
    let mut path: Vec<Node> = Vec::new();
    let mut patience = PATIENCE;
    loop {
        if (found.schedules + found.given_up) % VACUUM == 0 {
            lab.vacuum();
        }
        match execute(lab, verbs, bound, &mut path) {
            Ended::Run(run) => {
                found.schedules += 1;
                found.steps += run.steps.len();
                found.judge(&run);
                if found.broken > 0 && !go_on {
                    return found;
                }
            }
            Ended::Known => found.given_up += 1,
            Ended::Elsewhere(depth) => {
                found.given_up += 1;
                patience -= 1;
                if patience > 0 {
                    continue;
                }
                found.missed += 1;
                path.truncate(depth + 1);
            }
        }
        patience = PATIENCE;
        while !path.last_mut().is_some_and(Node::turn) {
            if path.pop().is_none() {
                return found;
            }
        }
    }
}

impl Found {
    fn judge(&mut self, run: &Run) {
        let problems = check::problems(run);
        if problems.is_empty() {
            return;
        }
        self.broken += 1;
        let length = run.steps.len();
        if self.counterexample.as_ref().is_none_or(|(shortest, ..)| length < *shortest) {
            self.counterexample = Some((length, check::describe(run), problems));
        }
    }
}

/// Runs the path and then on to the end, making nodes as it goes.
fn execute(lab: &mut Lab, verbs: &[Verb], bound: Option<usize>, path: &mut Vec<Node>) -> Ended {
    lab.begin(verbs);
    let mut run = Run {
        verbs: verbs.to_vec(),
        steps: Vec::new(),
        outcomes: Vec::new(),
        history: vec![(0, usize::MAX, lab.first_rows())],
        deadlocked: false,
    };
    let mut sleeping = Vec::new();
    loop {
        let held = lab.held();
        let depth = run.steps.len();
        if lab.is_deadlocked() {
            run.deadlocked = true;
            lab.wait_for_victim();
            continue;
        }
        if held.is_empty() {
            run.outcomes = lab.outcomes(verbs.len());
            return Ended::Run(run);
        }
        if depth == path.len() {
            let held = within(bound, &run, held);
            let Some(node) = Node::new(held, sleeping) else {
                lab.let_go();
                return Ended::Known;
            };
            path.push(node);
        }
        let node = &mut path[depth];
        let granted = lab.grant(node.next, node.step.as_ref().map(|(granted, _)| granted));
        if !node.arrives(lab.places()) {
            lab.let_go();
            return Ended::Elsewhere(depth);
        }
        node.footprint = node.footprint | granted.footprint;
        sleeping = if bound.is_none() { node.sleeping_after(granted.footprint) } else { Vec::new() };
        // Where the same steps led before, the rows are the same.
        let publishes = !granted.footprint.publishes.is_empty();
        let (granted, rows) =
            node.step.get_or_insert_with(|| (granted, publishes.then(|| Rc::new(lab.rows())))).clone();
        if let Some(rows) = rows {
            run.history.push((depth + 1, node.next, rows));
        }
        run.steps.push((node.next, granted));
    }
}

/// Who may go on without more preemptions than allowed.
fn within(bound: Option<usize>, run: &Run, held: Vec<usize>) -> Vec<usize> {
    let Some((last, _)) = run.steps.last() else { return held };
    if bound.is_some_and(|bound| run.preemptions() >= bound) && held.contains(last) { vec![*last] } else { held }
}

impl Run {
    fn preemptions(&self) -> usize {
        let could_go_on =
            |step: &(usize, Granted)| !step.1.finished.contains(&step.0) && !step.1.blocked.contains(&step.0);
        self.steps.windows(2).filter(|pair| pair[0].0 != pair[1].0 && could_go_on(&pair[0])).count()
    }
}
