//! How many schedules were run, and which of them broke a promise.

use std::time::Duration;

use crate::lab::Level;
use crate::scenarios::{Expected, Scenario};
use crate::search::Found;

/// One line for each verb and what it was paired with, and for each combination of three.
pub(crate) fn counts(found: &[(Scenario, Found)]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut first = None;
    for (scenario, found) in found {
        let schedules = found.schedules;
        match (&scenario.expected, scenario.verbs.as_slice()) {
            (Expected::AllKept, [one, other]) if first == Some(*one) => {
                if let Some(line) = lines.last_mut() {
                    line.extend([", ", other.name(), " ", &schedules.to_string()]);
                }
            }
            (Expected::AllKept, [one, other]) => {
                first = Some(*one);
                lines.push(format!("{} with {} {schedules}", one.name(), other.name()));
            }
            (Expected::AllKept, _) => {
                let bound = scenario.bound.map(|bound| format!(" with at most {bound} preemptions"));
                lines.push(format!("{} {schedules}{}", scenario.name(), bound.unwrap_or_default()));
            }
            (Expected::Broken(promise), _) => {
                let (name, broken) = (scenario.name(), found.broken);
                lines.push(format!("{name} {schedules}, of which {broken} break {promise}, as is known"));
            }
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// What is wrong with a combination, if anything is.
pub(crate) fn failure(scenario: &Scenario, found: &Found) -> Option<String> {
    let name = scenario.name();
    match (scenario.expected, &found.counterexample) {
        (Expected::AllKept, None) => None,
        (Expected::AllKept, Some((_, schedule, problems))) => {
            let again = format!("all its schedules again: ./scripts/test --test explorer -- --exact '{name}'");
            Some(format!("\nFAILED {name}\n{schedule}\n     {}\n     {again}\n", problems.join("\n     ")))
        }
        (Expected::Broken(promise), Some((.., problems))) if problems.iter().any(|one| one.contains(promise)) => None,
        (Expected::Broken(promise), _) => {
            Some(format!("\nFAILED {name}: no schedule of it breaks {promise}, and it is known that one does\n"))
        }
    }
}

pub(crate) fn summary(found: &[(Scenario, Found)], level: Level, failed: usize, elapsed: Duration) -> String {
    let sum = |of: fn(&Found) -> usize| found.iter().map(|(_, found)| of(found)).sum::<usize>();
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let schedules = match level {
        Level::AsAsked => "schedules",
        Level::Serializable => "schedules under SERIALIZABLE",
    };
    format!(
        "\ntest result: {verdict}. {} {schedules} ({} statements) of {} combinations; {failed} failed; {} runs were given up \
         as known, {} branches of the server's were missed; finished in {:.0}s\n\n",
        sum(|found| found.schedules),
        sum(|found| found.steps),
        found.len(),
        sum(|found| found.given_up),
        sum(|found| found.missed),
        elapsed.as_secs_f64(),
    )
}
