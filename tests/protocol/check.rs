//! Runs a configuration to its end, and tells what was found.

use std::collections::BTreeSet;
use std::fmt::Write;

use refresh_tokens_support::Sample;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

use crate::algorithm::Algorithm;
use crate::client::Statement;
use crate::database::Row;
use crate::model::{Action, Protocol, State};
use crate::verb::Verb;

/// What the exhaustive search of one or more configurations has come to.
pub(crate) struct Checked {
    sample: Sample,
    /// How many configurations there were to choose from.
    configurations: usize,
    /// Configurations with their number of states.
    states: Vec<(usize, String)>,
    met: BTreeSet<&'static str>,
}

impl Checked {
    /// Of every configuration, unless it has to be quick.
    pub(crate) fn all() -> Self {
        Self::of(Sample::new(6, 1))
    }

    /// Of every configuration in proof, and else of a sample: there are hundreds.
    pub(crate) fn many() -> Self {
        Self::of(Sample::new(60, 6))
    }

    const fn of(sample: Sample) -> Self {
        Self { sample, configurations: 0, states: Vec::new(), met: BTreeSet::new() }
    }

    /// Every state that the complete algorithm can reach keeps every invariant.
    pub(crate) fn check(&mut self, table: &[Row], verbs: &[Verb]) {
        self.check_protocol(Protocol::new(Algorithm::COMPLETE, table, verbs));
    }

    pub(crate) fn check_protocol(&mut self, protocol: Protocol) {
        self.configurations += 1;
        if !self.sample.takes("configuration", self.configurations) {
            return;
        }
        let name = format!("{protocol:?}");
        let checker = protocol.checker().spawn_bfs().join();
        for property in checker.model().properties() {
            match (property.expectation, checker.discovery(property.name)) {
                (Expectation::Sometimes, Some(_)) => {
                    self.met.insert(property.name);
                }
                (_, Some(path)) => panic!("{}\n{}", property.name, told(checker.model(), path)),
                (_, None) => {}
            }
        }
        assert!(checker.is_done(), "{name}: the search has not ended");
        self.states.push((checker.unique_state_count(), name));
    }

    /// Prints the numbers of states, and insists that something happened.
    #[expect(clippy::print_stdout, reason = "how large the search was is for the reader of a test run")]
    pub(crate) fn report(mut self, expected: &[&'static str]) {
        self.states.sort_unstable();
        let total: usize = self.states.iter().map(|(states, _)| states).sum();
        let lines: String = self.states.iter().fold(String::new(), |mut text, (states, name)| {
            let _ = writeln!(text, "{states:>9}  {name}");
            text
        });
        println!("{lines}{total:>9}  states of {} configurations ({})", self.states.len(), self.sample);
        if !self.sample.is_whole() {
            assert!(self.states.len() >= self.sample.at_least(self.configurations), "{}", self.states.len());
            return;
        }
        let missing: Vec<_> = expected.iter().filter(|name| !self.met.contains(*name)).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

/// An algorithm breaks an invariant, and this is the shortest way to it.
pub(crate) fn breaks(algorithm: Algorithm, invariant: &'static str, table: &[Row], verbs: &[Verb]) {
    protocol_breaks(Protocol::new(algorithm, table, verbs), invariant);
}

#[expect(clippy::print_stdout, reason = "the way to the flaw is what the test shows")]
pub(crate) fn protocol_breaks(protocol: Protocol, invariant: &'static str) {
    let first = HasDiscoveries::AllOf(BTreeSet::from([invariant]));
    let checker = protocol.checker().finish_when(first).spawn_bfs().join();
    let path = checker.assert_any_discovery(invariant);
    println!("{invariant}, broken:\n{}", told(checker.model(), path));
}

/// A path as a schedule: who takes which step.
fn told(protocol: &Protocol, path: Path<State, Action>) -> String {
    let mut text = String::new();
    let last = path.last_state().clone();
    for (state, action) in path.into_vec() {
        let _ = match action {
            Some(Action::Step(me)) => {
                let client = &state.clients[me];
                let lock = client.statement.as_ref().and_then(Statement::next);
                let lock = lock.map(|token| format!(", locks {token:?}")).unwrap_or_default();
                writeln!(text, "  {:<30} {:?}{lock}", format!("{:?}", protocol.calls[me].verb), client.at)
            }
            Some(Action::Fail(me)) => writeln!(text, "  {:?} fails", protocol.calls[me].verb),
            Some(Action::TimePasses) => writeln!(text, "  time passes"),
            None => Ok(()),
        };
    }
    for me in protocol.running(&last).filter(|me| protocol.is_blocked(&last, *me)) {
        let _ = writeln!(text, "  {:<30} waits at {:?}", format!("{:?}", protocol.calls[me].verb), last.clients[me].at);
    }
    for row in last.database.committed() {
        let Row { token, session, org, rotated_to, revoked, .. } = row;
        let _ = writeln!(text, "    {token:?} {session:?} {org:?} rotated_to: {rotated_to:?} revoked: {revoked}");
    }
    text
}
