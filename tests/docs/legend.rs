//! The legend of ARCHITECTURE.md, beside the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::pages::{Page, files};

/// The numbered items under a heading, each with the tests that it names.
fn items(heading: &str) -> BTreeMap<usize, Vec<String>> {
    let page = Page::read("ARCHITECTURE.md");
    let (_, rest) = page.text.split_once(&format!("\n### {heading}\n")).expect("it has the heading");
    let section = rest.split("\n#").next().unwrap();
    let mut items: Vec<(usize, String)> = Vec::new();
    for line in section.lines() {
        match line.split_once(". ").and_then(|(number, text)| Some((number.parse().ok()?, text))) {
            Some((number, text)) => items.push((number, text.to_owned())),
            None if line.starts_with("   ") => items.last_mut().unwrap().1.extend([" ", line.trim_start()]),
            None => {}
        }
    }
    let numbers: Vec<usize> = items.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=14).collect::<Vec<_>>(), "{heading}");
    let tests = |text: &str| {
        let (_, tests) = text.rsplit_once("Tests: ").unwrap_or_else(|| panic!("tests for {text}"));
        tests.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    items.iter().map(|(number, text)| (*number, tests(text))).collect()
}

/// The functions of the tests that have no arguments.
fn functions() -> BTreeSet<String> {
    let mut functions = BTreeSet::new();
    for file in files("tests", &["rs"]) {
        let text = fs::read_to_string(file).unwrap();
        let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn ")?.split_once("() {"));
        functions.extend(names.map(|(name, _)| name.to_owned()));
    }
    assert!(functions.len() > 400, "they were found");
    functions
}

/// The numbers in a name such as `invariants_1_and_6_hold`.
fn numbers(name: &str, kind: &str) -> Vec<usize> {
    let mut words = name.split('_');
    let mut numbers = Vec::new();
    if words.next().is_some_and(|word| word.trim_end_matches('s') == kind) {
        while let Some(number) = words.next().and_then(|word| word.parse().ok()) {
            numbers.push(number);
            if words.next() != Some("and") {
                break;
            }
        }
    }
    numbers
}

#[test]
fn numbers_are_read_from_names() {
    assert_eq!(numbers("invariant_10_no_row_content_panics", "invariant"), [10]);
    assert_eq!(numbers("invariants_1_and_6_hold_within_a_batch", "invariant"), [1, 6]);
    assert_eq!(numbers("invariant_9_64_waiters", "invariant"), [9]);
    assert_eq!(numbers("flaw_8_none_means_five_things", "invariant"), []);
}

#[test]
fn every_test_that_the_legend_names_exists() {
    let functions = functions();
    for heading in ["Invariants", "Flaws of the reference"] {
        for (number, tests) in items(heading) {
            assert!(!tests.is_empty(), "{heading}, {number}");
            for test in tests {
                assert!(functions.contains(&test), "{heading}, {number}: {test}");
            }
        }
    }
}

/// Of each invariant or flaw, the legend names a test that carries its number, where there is one.
#[test]
fn every_number_in_a_tests_name_is_in_the_legend() {
    for (kind, heading) in [("invariant", "Invariants"), ("flaw", "Flaws of the reference")] {
        let legend = items(heading);
        let mut seen = BTreeSet::new();
        for name in functions() {
            for number in numbers(&name, kind) {
                let tests = legend.get(&number).unwrap_or_else(|| panic!("{name} is in no item of the legend"));
                let carries = |test: &String| numbers(test, kind).contains(&number);
                assert!(tests.iter().any(carries), "{heading}, {number}: it names none such as {name}");
                seen.insert(number);
            }
        }
        assert!(seen.len() >= 10, "{kind}: {seen:?}");
    }
}
