//! The dashboard, the rules for alerts and the runbook: well-formed, of one mind, and about metrics that there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::table;

const DASHBOARD: &str = include_str!("../../examples/grafana.json");
const ALERTS: &str = include_str!("../../examples/alerts.yml");
const ALERT_TESTS: [&str; 3] = [
    include_str!("../../examples/alerts_test/calls.yml"),
    include_str!("../../examples/alerts_test/reuse.yml"),
    include_str!("../../examples/alerts_test/upkeep.yml"),
];
const RUNBOOK: &str = include_str!("../../RUNBOOK.md");

/// The words of a query that look like names of ours.
fn names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("refresh_tokens")).collect()
}

/// The documented metric that a name in a query is of: Prometheus gives a histogram three names.
fn metric_of(name: &str) -> String {
    let metrics = table::metrics();
    if metrics.get(name).is_some_and(|(kind, _)| kind != "histogram") {
        return name.to_owned();
    }
    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    match of_histogram.filter(|base| metrics.get(*base).is_some_and(|(kind, _)| kind == "histogram")) {
        Some(base) => base.to_owned(),
        None => panic!("{name} is not in the table of metrics"),
    }
}

/// What a query asks of a label: `label="value"`, or `label=~"value|value"`.
fn matchers(query: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for braces in query.split('{').skip(1) {
        let inner = braces.split('}').next().unwrap();
        for matcher in inner.split(',').map(str::trim).filter(|matcher| !matcher.is_empty()) {
            let (label, values) = matcher.split_once('=').unwrap_or_else(|| panic!("{matcher} of {query}"));
            let values = values.trim_start_matches('~').trim_matches('"');
            found.extend(values.split('|').map(|value| (label.to_owned(), value.to_owned())));
        }
    }
    found
}

/// A query asks for metrics, labels and values that there are.
fn check_query(query: &str) {
    let metrics = table::metrics();
    let names = names(query);
    assert!(!names.is_empty(), "{query}");
    let labels: BTreeSet<String> =
        names.iter().flat_map(|name| metrics[&metric_of(name)].1.clone()).chain(["job".into(), "le".into()]).collect();
    let outcomes = table::outcomes();
    let errors = table::errors();
    let is_verb = |value: &str| outcomes.iter().any(|(verb, ..)| verb == value);
    let is_outcome = |value: &str| errors.contains_key(value) || outcomes.iter().any(|(_, name, _)| name == value);
    let is_class =
        |value: &str| errors.values().any(|class| class == value) || outcomes.iter().any(|(.., class)| class == value);
    for (label, value) in matchers(query) {
        assert!(labels.contains(&label), "{label} of {query}");
        let is_known = match label.as_str() {
            "verb" => is_verb(&value),
            "outcome" => is_outcome(&value),
            "class" => is_class(&value),
            "job" => value == "$job",
            _ => false,
        };
        assert!(is_known, "{label} {value} of {query}");
    }
    for by in query.split("by (").skip(1) {
        for label in by.split(')').next().unwrap().split(',').map(str::trim) {
            assert!(labels.contains(label), "{label} of {query}");
        }
    }
    let depth = |open, close| query.matches(open).count() == query.matches(close).count();
    assert!(
        depth('(', ')') && depth('{', '}') && depth('[', ']') && query.matches('"').count().is_multiple_of(2),
        "{query}"
    );
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("it is JSON");
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 20);
    let mut shown = BTreeSet::new();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "its id is its own: {panel}");
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "it is within the grid: {panel}");
        for (x, y) in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(cells.insert((place("x") + x, place("y") + y)), "it overlaps with another one: {panel}");
        }
        if let Some(alert) = panel["description"].as_str().and_then(|text| text.split_once("Runbook: ")) {
            for alert in alert.1.trim_end_matches('.').split(", ") {
                assert!(headings().contains(alert), "{alert} is in the runbook");
            }
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            check_query(query);
            shown.extend(names(query).into_iter().map(metric_of));
            let legend = target["legendFormat"].as_str().unwrap();
            for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
                assert!(query.contains("by (") && query.contains(label), "{label} is kept by {query}");
            }
        }
    }
    assert_eq!(shown, table::metrics().into_keys().collect::<BTreeSet<_>>());
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Alert {
    name: String,
    query: String,
    lasts: String,
    severity: String,
    runbook: String,
}

/// What stands behind `prefix` on the next line: one word, or text that means nothing else in YAML.
fn next(lines: &mut impl Iterator<Item = &'static str>, prefix: &str) -> String {
    let line = lines.next().unwrap_or_default();
    let value = line.strip_prefix(prefix).unwrap_or_else(|| panic!("{prefix:?} begins {line:?}"));
    assert!(!value.contains(": ") && !value.contains(" #") && value == value.trim(), "plain: {line:?}");
    value.to_owned()
}

/// The rules, by a grammar that is narrower than YAML: what it takes, YAML takes.
fn alerts() -> Vec<Alert> {
    let lines: Vec<&str> = ALERTS.lines().skip_while(|line| line.starts_with('#')).collect();
    assert_eq!(lines[..3], ["groups:", "  - name: refresh-tokens", "    rules:"]);
    let mut lines = lines.into_iter().skip(3).peekable();
    let mut alerts = Vec::new();
    while lines.peek().is_some() {
        let name = next(&mut lines, "      - alert: ");
        next(&mut lines, "        expr: |");
        let mut query = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("          ")) {
            query += line.trim_start();
            query.push('\n');
        }
        let lasts = next(&mut lines, "        for: ");
        next(&mut lines, "        labels:");
        let severity = next(&mut lines, "          severity: ");
        next(&mut lines, "        annotations:");
        assert!(!next(&mut lines, "          summary: ").is_empty());
        let runbook = next(&mut lines, "          runbook: ").trim_matches('"').to_owned();
        alerts.push(Alert { name, query, lasts, severity, runbook });
    }
    alerts
}

fn headings() -> BTreeSet<&'static str> {
    RUNBOOK.lines().filter_map(|line| line.strip_prefix("## ")).collect()
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let alerts = alerts();
    assert!(alerts.len() > 10);
    for Alert { query, .. } in &alerts {
        check_query(query);
    }
}

/// `scripts/alerts` runs the tests of the rules; this is whether there are any for each rule, and about our metrics.
#[test]
fn each_alert_has_tests_that_it_fires_and_that_it_is_silent() {
    let [mut fires, mut is_silent] = [BTreeSet::new(), BTreeSet::new()];
    let mut series = BTreeSet::new();
    for line in ALERT_TESTS.iter().flat_map(|text| text.lines()) {
        if let Some((_, test)) = line.split_once("alertname: ") {
            match test.strip_suffix(", exp_alerts: []}") {
                Some(name) => is_silent.insert(name),
                None => fires.insert(test),
            };
        } else if let Some((_, text)) = line.split_once("series: '") {
            series.extend(names(text).into_iter().map(metric_of));
        }
    }
    let alerts = alerts();
    let documented: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(fires, documented);
    assert_eq!(is_silent, documented);
    assert_eq!(series, alerts.iter().flat_map(|alert| names(&alert.query)).map(metric_of).collect::<BTreeSet<_>>());
}

#[test]
fn each_alert_has_its_section_and_its_line_in_the_runbook() {
    let table: BTreeMap<&str, (String, &str)> = RUNBOOK
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.strip_prefix("| [")?.split('|').map(str::trim).collect();
            let name = cells[0].split(']').next()?;
            assert_eq!(cells[0], format!("{name}](#{})", name.to_lowercase()), "it links to its section");
            let lasts = if cells[2] == "0" { "0s".to_owned() } else { cells[2].replace(" min", "m").replace(' ', "") };
            Some((name, (lasts, cells[3])))
        })
        .collect();
    let alerts = alerts();
    assert_eq!(table.keys().copied().collect::<BTreeSet<_>>(), headings());
    assert_eq!(alerts.iter().map(|alert| alert.name.as_str()).collect::<BTreeSet<_>>(), headings());
    for Alert { name, lasts, severity, runbook, .. } in &alerts {
        let (documented, how_bad) = &table[name.as_str()];
        assert_eq!((lasts, severity.as_str()), (documented, *how_bad), "{name}");
        assert_eq!(*runbook, format!("RUNBOOK.md#{}", name.to_lowercase()));
    }
}

/// What each phrase of a condition asks of a figure.
const PHRASES: [(&str, &str, f64); 16] = [
    ("more than 5", ">", 5.0),
    ("more than 10 ", ">", 10.0),
    ("over 1 % ", ">", 0.01),
    ("over 2 % ", ">", 0.02),
    ("over 20 % ", ">", 0.2),
    ("over 250 ms", ">", 0.25),
    ("over 1 s", ">", 1.0),
    ("over a day", ">", 86_400.0),
    ("over 100,000", ">", 100_000.0),
    ("at least one a second", ">", 1.0),
    ("any outcome", ">", 0.0),
    ("a call got none", ">", 0.0),
    ("turns callers away", ">", 0.0),
    ("no janitor has ended", "==", 0.0),
    ("one was there", ">=", 0.0),
    ("thread is gone", "==", 0.0),
];

/// The comparisons that a condition of the runbook says, in its order.
fn said(condition: &str) -> Vec<(&'static str, f64)> {
    let found = PHRASES.iter().flat_map(|(phrase, operator, number)| {
        condition.match_indices(phrase).map(move |(place, _)| (place, (*operator, *number)))
    });
    let by_place: BTreeMap<usize, _> = found.collect();
    by_place.into_values().collect()
}

/// The comparisons with a number that a query makes, in its order.
fn asked(query: &str) -> Vec<(&str, f64)> {
    let words: Vec<&str> = query.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| [">", "<", ">=", "<=", "==", "!="].contains(&pair[0]));
    pairs.map(|pair| (pair[0], pair[1].parse().unwrap_or_else(|_| panic!("a number: {pair:?} of {query}")))).collect()
}

/// A rule fires where the runbook says that it does: beyond these numbers, within this window.
#[test]
fn each_alert_has_the_condition_that_the_runbook_says() {
    let conditions: BTreeMap<&str, &str> = RUNBOOK
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| [")?.split('|').map(str::trim);
            Some((cells.next()?.split(']').next()?, cells.next()?))
        })
        .collect();
    let alerts = alerts();
    assert!(alerts.len() > 10);
    for Alert { name, query, .. } in &alerts {
        let condition = conditions[name.as_str()];
        if condition == "there are no figures" {
            assert!(query.starts_with("absent(") && asked(query).is_empty(), "{name}: {query}");
            continue;
        }
        assert!(!said(condition).is_empty(), "{name} says when: {condition}");
        assert_eq!(asked(query), said(condition), "{name}: {condition}: {query}");
        if let Some((_, window)) = condition.split_once(" in ") {
            let (number, unit) = window.split_once(' ').unwrap();
            let window = format!("{number}{}", &unit[..1]);
            for (before, after) in [("[", "]"), ("offset ", ")")] {
                assert!(query.contains(&format!("{before}{window}{after}")), "{name}: {condition}: {query}");
            }
        }
    }
}

/// What the runbook says of names: in backticks, and among the documented ones.
#[test]
fn the_runbook_names_metrics_and_outcomes_that_there_are() {
    let (metrics, errors) = (table::metrics(), table::errors());
    let mut seen = 0;
    for word in RUNBOOK.split('`').skip(1).step_by(2).filter(|word| word.starts_with("refresh_tokens_")) {
        let name = word.split('{').next().unwrap();
        assert!(metrics.contains_key(name), "{name}");
        seen += 1;
    }
    assert!(seen > 5);
    for name in errors.keys().filter(|name| errors[*name] != "refused") {
        assert!(RUNBOOK.contains(&format!("`{name}`")), "{name} has an entry");
    }
}
