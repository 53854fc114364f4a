//! The suite itself, run by one of its tests under other conditions.

use std::process::Command;

/// Passes all tests but those whose names contain one of these, and returns how many it were.
///
/// # Panics
///
/// If one of them fails; with what was printed.
pub(crate) fn pass(environment: &[(&str, &str)], without: &[&str]) -> usize {
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.envs(environment.iter().copied()).args(without.iter().flat_map(|name| ["--skip", name]));
    let output = tests.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let count = text.lines().find_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[expect(clippy::print_stdout, reason = "shown where the test fails, or with --nocapture")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}
