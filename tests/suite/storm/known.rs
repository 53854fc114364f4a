//! What the threads of a storm tell each other: which tokens there are, and which requests were sent.

use std::collections::VecDeque;

use proptest::prelude::RngExt;
use proptest::test_runner::TestRng;
use uuid::Uuid;

use super::history::{Answer, Call, Op, Request, Row, Target};

/// Requests that may be sent again.
const REQUESTS: usize = 24;

/// Old tokens that may be presented again.
const OLD: usize = 96;

#[derive(Debug, Default)]
pub(super) struct Known {
    /// Probably live.
    live: Vec<Row>,
    old: VecDeque<Row>,
    requests: VecDeque<Request>,
}

impl Known {
    /// A token that is probably live, if there is one.
    pub(super) fn live(&self, rng: &mut TestRng) -> Option<Row> {
        // One draw, whatever there is to choose from.
        let pick = rng.random::<u32>() as usize;
        (!self.live.is_empty()).then(|| self.live[pick % self.live.len()].clone())
    }

    /// A token that was probably spent or revoked.
    pub(super) fn old(&self, rng: &mut TestRng) -> Option<Row> {
        let pick = rng.random::<u32>() as usize;
        (!self.old.is_empty()).then(|| self.old[pick % self.old.len()].clone())
    }

    /// A request that was sent, or is being sent.
    pub(super) fn request(&self, rng: &mut TestRng) -> Option<Request> {
        let pick = rng.random::<u32>() as usize;
        (!self.requests.is_empty()).then(|| self.requests[pick % self.requests.len()])
    }

    pub(super) fn send(&mut self, request: Request) {
        self.requests.push_back(request);
        if self.requests.len() > REQUESTS {
            self.requests.pop_front();
        }
    }

    pub(super) fn learn(&mut self, call: &Call) {
        if !call.is_committed() {
            return;
        }
        match (&call.op, &call.answer) {
            (Op::Create(_), Answer::Born(row)) => self.live.push(row.clone()),
            (Op::Rotate { request, .. }, Answer::Born(row)) => {
                self.retire(|known| known.id == request.presented);
                // Who gets it by the same request sent again may find it there.
                if !self.live.iter().chain(&self.old).any(|known| known.id == row.id) {
                    self.live.push(row.clone());
                }
            }
            (Op::Rotate { request, .. }, Answer::Refused(..) | Answer::Reused(..)) => {
                self.retire(|known| known.id == request.presented);
            }
            (Op::GetValid(token), Answer::Found(rows)) if rows.is_empty() => {
                self.retire(|known| known.id == *token);
            }
            (Op::Revoke { target, .. }, _) => {
                self.retire(|known| aims_at(target, known));
            }
            _ => {}
        }
    }

    fn retire(&mut self, is_over: impl Fn(&Row) -> bool) {
        let (over, live): (Vec<Row>, Vec<Row>) = self.live.drain(..).partition(is_over);
        self.live = live;
        self.old.extend(over);
        while self.old.len() > OLD {
            self.old.pop_front();
        }
    }
}

fn aims_at(target: &Target, row: &Row) -> bool {
    let is = |id: &Uuid| *id == row.id;
    match target {
        Target::Token(id) | Target::Hash(id) | Target::Chain(id) | Target::SessionOf(id) => is(id),
        Target::Session(session) | Target::Live(session) => *session == row.session,
        Target::User(user) => *user == row.user,
        Target::Except { user, keep } => *user == row.user && !is(keep),
        Target::ExceptSession { user, session } => *user == row.user && *session != row.session,
        Target::Member { user, org } => (*user, *org) == (row.user, row.org),
        Target::Org(org) => *org == row.org,
        Target::Everyone => true,
    }
}
