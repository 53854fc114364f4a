//! The protocol as a state machine: every order in which clients can take their steps.

use std::fmt;

use stateright::{Model, Property};

use crate::algorithm::{Algorithm, Cure};
use crate::client::{At, Client, Outcome, Turn};
use crate::database::{Backend, Database, Row, Token};
use crate::properties;
use crate::verb::Verb;

/// A configuration: what is there, and who calls what.
#[derive(Clone)]
pub(crate) struct Protocol {
    pub(crate) table: Vec<Row>,
    pub(crate) calls: Vec<Call>,
    /// How many rows a window has.
    pub(crate) window: usize,
    /// Whether a client may fail, which ends its transaction with a ROLLBACK: lost, cancelled, or timed out.
    pub(crate) may_fail: bool,
}

/// Each client calls one verb, once.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) algorithm: Algorithm,
    pub(crate) verb: Verb,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) database: Database,
    pub(crate) clients: Vec<Client>,
    /// Tokens that were live in a committed version, and then were not.
    pub(crate) ended: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A statement, one lock within a statement, a COMMIT or a ROLLBACK.
    Step(Backend),
    /// In the middle of a transaction, or between two of them.
    Fail(Backend),
    /// Short-lived tokens expire.
    TimePasses,
}

impl Protocol {
    /// Windows of one row: the more windows, the more can happen between them.
    pub(crate) fn new(algorithm: Algorithm, table: &[Row], verbs: &[Verb]) -> Self {
        let calls = verbs.iter().map(|verb| Call { algorithm, verb: *verb }).collect();
        Self { table: table.to_vec(), calls, window: 1, may_fail: false }
    }

    fn turn<'a>(&'a self, state: &'a mut State, me: Backend) -> Turn<'a> {
        let Call { algorithm, verb } = self.calls[me];
        Turn {
            algorithm,
            table: &self.table,
            verb,
            window: self.window,
            me,
            client: &mut state.clients[me],
            database: &mut state.database,
        }
    }

    pub(crate) fn is_blocked(&self, state: &State, me: Backend) -> bool {
        let Call { algorithm, verb } = self.calls[me];
        let State { database, clients, .. } = state;
        let Client { at, statement, .. } = &clients[me];
        if let Some(statement) = statement {
            return statement.waits_for().is_some_and(|token| database.is_locked_by_another(me, token));
        }
        let is_shut = |gate| !database.gate_is_free(me, gate);
        let gate_of_user = || verb.user(&self.table).map_or(0, |user| database.gate_of(user));
        match *at {
            At::PassGateToSwitch if algorithm.has(Cure::SwitchDoesNotWait) => false,
            At::PassGateToLogIn | At::PassGateFirst | At::PassGateToSwitch | At::ShutGate => is_shut(gate_of_user()),
            At::ShutEachGate { gate } => is_shut(gate),
            _ => false,
        }
    }

    /// Those whose verb has not returned.
    pub(crate) fn running<'a>(&self, state: &'a State) -> impl Iterator<Item = Backend> + use<'a> {
        (0..self.calls.len()).filter(|me| state.clients[*me].outcome().is_none())
    }

    /// The verbs that have returned, with what they said.
    pub(crate) fn returned<'a>(&'a self, state: &'a State) -> impl Iterator<Item = (Verb, &'a Client, Outcome)> {
        let clients = self.calls.iter().zip(&state.clients);
        clients.filter_map(|(call, client)| client.outcome().map(|outcome| (call.verb, client, outcome)))
    }
}

/// The verbs, and the table with its live tokens and those that expire.
impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verbs: Vec<_> = self.calls.iter().map(|call| format!("{:?}", call.verb)).collect();
        write!(f, "{}", verbs.join(" | "))?;
        write!(f, "; on")?;
        for row in &self.table {
            let live = if row.is_live() { " live" } else { "" };
            let expires = if row.short_lived { " expiring" } else { "" };
            write!(f, "{live}{expires} {:?}", row.token)?;
        }
        if self.may_fail { write!(f, "; one may fail") } else { Ok(()) }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let gates = 1 + self.table.iter().map(|row| usize::from(row.user.0)).max().unwrap_or(0);
        vec![State {
            database: Database::new(&self.table, gates),
            clients: self.calls.iter().map(|call| Client::new(call.algorithm.first(call.verb))).collect(),
            ended: self.table.iter().filter(|row| !row.is_live()).map(|row| row.token).collect(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.running(state).filter(|me| !self.is_blocked(state, *me)).map(Action::Step));
        if self.may_fail && !self.returned(state).any(|(.., said)| said == Outcome::Failed) {
            actions.extend(self.running(state).map(Action::Fail));
        }
        if !state.database.time_has_passed && self.table.iter().any(|row| row.short_lived) {
            actions.push(Action::TimePasses);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::TimePasses => state.database.time_has_passed = true,
            Action::Step(me) => self.turn(&mut state, me).step(),
            Action::Fail(me) => self.turn(&mut state, me).fail(),
        }
        let is_live = |token| state.database.committed().any(|row| row.token == token && row.is_live());
        let were_live = before.database.committed().filter(|row| row.is_live()).map(|row| row.token);
        state.ended.extend(were_live.filter(|token| !is_live(*token)));
        state.ended.sort_unstable();
        state.ended.dedup();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
