//! Who waits, who leads, and how the lead goes from one caller to the next.
//!
//! No thread is started here. A caller who finds a connection free leads: it carries its own request, with whatever
//! has queued up behind it. When it is done, the connection goes to the caller who has waited longest, who leads in turn.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use diesel::r2d2::R2D2Connection;

use crate::error::{Error, Result};
use crate::group::config::GroupConfig;
use crate::store::Connection;
use crate::values::{Rotation, RotationRequest};

/// What a caller who waits is told, once.
pub(super) enum Turn {
    Answer(Result<Rotation>),
    /// Its own request comes back with the lead.
    Lead(Lead, RotationRequest),
}

/// A caller who waits, and for what.
pub(super) struct Ticket {
    pub(super) request: RotationRequest,
    pub(super) caller: Caller,
}

pub(super) struct Caller {
    number: u64,
    /// Where it is dropped without a word, the caller learns that its outcome is unknown.
    turn: SyncSender<Turn>,
}

impl Caller {
    pub(super) fn tell(self, outcome: Result<Rotation>) {
        // It waits until it is told.
        let _ = self.turn.send(Turn::Answer(outcome));
    }
}

/// What a new caller finds.
#[expect(clippy::large_enum_variant, reason = "it lives for a moment, on the stack")]
pub(super) enum Entry {
    /// A connection is free, and nobody waits.
    Lead(Lead, RotationRequest),
    Wait(Place),
}

/// A place in the queue.
pub(super) struct Place {
    number: u64,
    pub(super) turn: Receiver<Turn>,
}

#[derive(Default)]
struct State {
    /// Those who can be carried together.
    waiting: VecDeque<Ticket>,
    /// Those who have to wait for somebody's lock, or for a gate: each is alone on a connection.
    alone: VecDeque<Ticket>,
    leads: usize,
    leads_alone: usize,
    /// Whom the last connection went to.
    last_was_alone: bool,
    tickets: u64,
    is_shut: bool,
}

pub(super) struct Queue {
    config: GroupConfig,
    state: Mutex<State>,
    /// There is nobody any more.
    quiet: Condvar,
}

impl Queue {
    pub(super) fn new(config: GroupConfig) -> Arc<Self> {
        Arc::new(Self { config, state: Mutex::default(), quiet: Condvar::new() })
    }

    /// No caller's code runs while it is locked, so a poisoned lock is a sound one.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(self: &Arc<Self>, request: RotationRequest) -> Result<Entry> {
        let mut state = self.state();
        if state.is_shut {
            return Err(Error::GroupShutDown);
        }
        // Who waits with others does so because no connection is free: so they do not stand behind anybody here.
        if state.leads < self.config.connections {
            state.leads += 1;
            return Ok(Entry::Lead(Lead { queue: Arc::clone(self), conn: None, is_alone: false }, request));
        }
        if state.waiting.len() + state.alone.len() >= self.config.max_queue {
            return Err(Error::QueueFull { max: self.config.max_queue });
        }
        let (ticket, place) = state.ticket(request);
        state.waiting.push_back(ticket);
        Ok(Entry::Wait(place))
    }

    /// True where the caller still waited: then its request will not be made.
    pub(super) fn leave(&self, place: &Place) -> bool {
        let State { waiting, alone, .. } = &mut *self.state();
        [waiting, alone].into_iter().any(|queue| {
            let found = queue.iter().position(|ticket| ticket.caller.number == place.number);
            found.and_then(|index| queue.remove(index)).is_some()
        })
    }

    /// Those who come along with a leader: its share of those who wait, so that the other connections have theirs.
    pub(super) fn share(&self) -> Vec<Ticket> {
        let waiting = &mut self.state().waiting;
        let share = waiting.len().div_ceil(self.config.connections).min(self.config.max_batch - 1);
        waiting.drain(..share).collect()
    }

    /// Lets a request that could not be made together with others wait for a connection of its own.
    pub(super) fn make_alone(&self, ticket: Ticket) {
        self.state().alone.push_back(ticket);
    }

    /// As [`make_alone`](Self::make_alone), for a leader, who has no ticket.
    pub(super) fn wait_alone(&self, request: RotationRequest) -> Place {
        let mut state = self.state();
        let (ticket, place) = state.ticket(request);
        state.alone.push_back(ticket);
        place
    }

    /// Turns away who comes from now on, and returns when everybody has an answer.
    pub(super) fn shut(&self) {
        let mut state = self.state();
        state.is_shut = true;
        while state.leads > 0 {
            state = self.quiet.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn is_shut(&self) -> bool {
        self.state().is_shut
    }

    pub(super) fn timeout(&self) -> Duration {
        self.config.queue_timeout
    }

    pub(super) fn waiting(&self) -> usize {
        let state = self.state();
        state.waiting.len() + state.alone.len()
    }
}

impl State {
    fn ticket(&mut self, request: RotationRequest) -> (Ticket, Place) {
        self.tickets += 1;
        let number = self.tickets;
        let (sender, turn) = sync_channel(1);
        (Ticket { request, caller: Caller { number, turn: sender } }, Place { number, turn })
    }

    /// Who has a connection next. Those who are alone may wait for a lock, so they never have all connections, and
    /// where there is only one, they have it in turn with the others.
    fn next(&mut self, connections: usize) -> Option<(Ticket, bool)> {
        let may_be_alone = if connections > 1 {
            self.leads_alone < connections - 1
        } else {
            !self.last_was_alone || self.waiting.is_empty()
        };
        let alone = if may_be_alone { self.alone.pop_front() } else { None };
        let next = match alone {
            Some(ticket) => Some((ticket, true)),
            None => self.waiting.pop_front().map(|ticket| (ticket, false)),
        };
        self.last_was_alone = matches!(next, Some((_, true)));
        next
    }
}

/// A connection's worth of the group. Dropped, it goes to who is next: also where its holder panics.
pub(super) struct Lead {
    queue: Arc<Queue>,
    /// None until its first holder takes it from the pool, and where it was lost.
    pub(super) conn: Option<Connection>,
    is_alone: bool,
}

impl Lead {
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Keeps a connection for who comes next, unless it was lost.
    pub(super) fn keep(&mut self, mut conn: Connection) {
        if !conn.is_broken() {
            self.conn = Some(conn);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let connections = self.queue.config.connections;
        let mut state = self.queue.state();
        state.leads -= 1;
        state.leads_alone -= usize::from(self.is_alone);
        let mut next = Vec::new();
        while state.leads < connections {
            let Some((ticket, is_alone)) = state.next(connections) else { break };
            state.leads += 1;
            state.leads_alone += usize::from(is_alone);
            next.push((ticket, is_alone));
        }
        if state.leads == 0 {
            // In the pool again before anybody hears that all is quiet.
            self.conn = None;
            self.queue.quiet.notify_all();
        }
        drop(state);
        for (Ticket { request, caller }, is_alone) in next {
            let lead = Self { queue: Arc::clone(&self.queue), conn: self.conn.take(), is_alone };
            // A caller waits until it is told. If it were gone, the lead would drop here, and go on.
            drop(caller.turn.send(Turn::Lead(lead, request)));
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
