//! The documented tables, as tests read them.

use std::collections::{BTreeMap, BTreeSet};

const TEXT: &str = include_str!("../../src/observe/metrics.md");

/// Verb, outcome, class.
pub(crate) type Sighting = (String, String, String);

/// The names and kinds of the metrics, with their labels.
pub(crate) fn metrics() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let metrics: BTreeMap<_, _> = rows(TEXT)
        .filter(|cells| cells[0].starts_with("`refresh_tokens_"))
        .map(|cells| (words(cells[0]).remove(0), (cells[1].to_owned(), words(cells[2]).into_iter().collect())))
        .collect();
    assert!(metrics.len() > 20, "the table was found");
    metrics
}

/// What each verb can end in, but for errors.
pub(crate) fn outcomes() -> BTreeSet<Sighting> {
    let (_, text) = TEXT.split_once("## Verbs and their outcomes").expect("it has the heading");
    let (text, _) = text.split_once("Any verb can end in an error").expect("it has the sentence");
    let mut outcomes = BTreeSet::new();
    for cells in rows(text).filter(|cells| cells[1].contains(": `")) {
        for verb in words(cells[0]) {
            for part in cells[1].split(';') {
                let (class, names) = part.split_once(':').expect("a class, and its outcomes");
                for outcome in words(names) {
                    outcomes.insert((verb.clone(), outcome, class.trim().to_owned()));
                }
            }
        }
    }
    assert!(outcomes.len() > 100, "the table was found");
    outcomes
}

/// The names of errors, with their classes.
pub(crate) fn errors() -> BTreeMap<String, String> {
    let (_, text) = TEXT.split_once("Any verb can end in an error").expect("it has the sentence");
    let named = rows(text).flat_map(|cells| words(cells[1]).into_iter().map(move |name| (name, cells[0].to_owned())));
    let errors: BTreeMap<_, _> = named.collect();
    assert!(errors.len() > 20, "the table was found");
    errors
}

fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

/// What stands in backticks.
fn words(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
