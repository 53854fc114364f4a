//! What a mode (`scripts/test --through pgbouncer`) leaves out, which stands at the test with its reason.

use std::process::Command;

use refresh_tokens_support::modes::{LeftOut, MODES, left_out};

/// Has the modes leave out the test that follows, or the module in whose head it stands. It is read from the sources, by
/// `refresh_tokens_support::modes`; what is written here says no more than how.
macro_rules! left_out {
    (@ through pgbouncer) => {};
    (@ under serializable) => {};
    (@ on other_tables) => {};
    (module, $($way:ident $name:ident),+: $reason:literal) => { left_out!($($way $name),+: $reason); };
    ($($way:ident $name:ident),+: $reason:literal) => {
        $(left_out!(@ $way $name);)+
        const _: () = assert!(!$reason.is_empty(), "without a reason nothing is left out");
    };
}

fn tests() -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

#[test]
fn what_a_mode_leaves_out_is_there_and_most_is_not_left_out() {
    let (tests, left_out) = (tests(), left_out().unwrap());
    assert!(tests.len() >= 390 && left_out.len() >= 80, "{} {}", tests.len(), left_out.len());
    for LeftOut { mode, path, .. } in &left_out {
        let all = left_out.iter().filter(|other| other.mode == *mode && other.path == *path);
        assert_eq!(all.count(), 1, "{mode} leaves out {path} more than once");
    }
    for one in &left_out {
        assert!(tests.iter().any(|test| one.is(test)), "there is no {} to be left out", one.path);
    }
    for mode in &MODES {
        let is_left_out = |test: &String| left_out.iter().any(|one| one.mode == mode && one.is(test));
        let kept = tests.iter().filter(|test| !is_left_out(test)).count();
        assert!(kept >= mode.at_least && kept < tests.len(), "{mode} passes {kept} of {} tests", tests.len());
    }
}
