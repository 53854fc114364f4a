//! Passes `tests/suite` in a mode: `suite-in-mode [--sample] --through pgbouncer [FILTER…]`, for `scripts/test`.
//!
//! What the mode leaves out is counted by its reasons. With `--sample`, it is one part of the tests, another one each day.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use refresh_tokens_support::effort::{Effort, Sample};
use refresh_tokens_support::modes::{LeftOut, MODES, Mode, left_out};
use uuid::Uuid;

/// Parts of a sample.
const PARTS: usize = 6;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let is_sample = arguments.first().is_some_and(|first| first == "--sample");
    if is_sample {
        arguments.remove(0);
    }
    let mode = match arguments.as_slice() {
        [way, name, ..] => way.strip_prefix("--").and_then(|way| Mode::named(way, name)),
        _ => None,
    };
    let Some(mode) = mode else {
        let modes: Vec<String> = MODES.iter().map(Mode::to_string).collect();
        say(&format!("the modes are: {}", modes.join(", ")));
        return ExitCode::FAILURE;
    };
    match pass(mode, &arguments[2..], is_sample) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("{mode}: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn pass(mode: &'static Mode, filters: &[String], is_sample: bool) -> Result<(), String> {
    let sample = if is_sample { Sample::new(PARTS, PARTS) } else { Sample::whole() };
    let all = list()?;
    let reasons = left_out().map_err(|error| error.to_string())?;
    let is_asked_for = |test: &str| filters.is_empty() || filters.iter().any(|filter| test.contains(filter.as_str()));
    let why = |test: &str| reasons.iter().find(|left_out| left_out.mode == mode && left_out.is(test));
    let (left, kept): (Vec<&String>, Vec<&String>) =
        all.iter().filter(|test| is_asked_for(test)).partition(|test| why(test).is_some());
    say(&format!("\n{mode}: {} tests are left out:", left.len()));
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for LeftOut { reason, .. } in left.iter().filter_map(|test| why(test)) {
        *counted.entry(reason).or_default() += 1;
    }
    for (reason, count) in counted {
        say(&format!("{count:7}  {reason}"));
    }
    let kept: Vec<&str> =
        kept.iter().enumerate().filter(|(at, _)| sample.takes(mode.name, *at)).map(|(_, test)| test.as_str()).collect();
    if kept.is_empty() {
        return Err("no test is left".to_owned());
    }
    say(&format!("{mode}: {} tests are passed ({sample})", kept.len()));
    let list = env::temp_dir().join(format!("refresh_tokens_{}", Uuid::new_v4()));
    let passed = run(mode, &kept, &list.to_string_lossy());
    let through = fs::read_to_string(&list).unwrap_or_default();
    // It is there only where a test has reached its database.
    let _ = fs::remove_file(&list);
    let mut passed = passed?;
    if mode.way == "through" {
        // Others need no database.
        passed = through.lines().collect::<BTreeSet<_>>().len();
    }
    say(&format!("{mode}: {passed} tests passed"));
    let at_least = if filters.is_empty() { sample.at_least(mode.at_least) } else { 1 };
    if passed >= at_least { Ok(()) } else { Err(format!("only {passed} tests of at least {at_least}")) }
}

fn suite() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--quiet", "--package", "refresh-tokens", "--test", "suite", "--"]);
    command
}

/// The names of all tests.
fn list() -> Result<Vec<String>, String> {
    let output = suite().arg("--list").stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let names: Vec<String> = text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    if output.status.success() && !names.is_empty() { Ok(names) } else { Err("there is no list of tests".to_owned()) }
}

/// How many passed.
fn run(mode: &Mode, tests: &[&str], list: &str) -> Result<usize, String> {
    let mut command = suite();
    command.arg("--exact").args(tests).env(mode.variable, list).stdout(Stdio::piped());
    // They show no more than that the mode does not matter to it.
    if env::var_os("PROPTEST_CASES").is_none() {
        command.env("PROPTEST_CASES", Effort::now().pick("10", "20", "100"));
    }
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut passed = 0;
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).map_while(Result::ok)
    {
        let count = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")?.1.split(' ').next());
        passed += count.and_then(|count| count.parse::<usize>().ok()).unwrap_or(0);
        print(&line);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(passed) } else { Err("a test failed".to_owned()) }
}

#[expect(clippy::print_stdout, reason = "a command speaks to its user")]
fn print(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "a command speaks to its user")]
fn say(line: &str) {
    eprintln!("{line}");
}
