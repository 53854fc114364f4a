//! The ways to run `tests/suite` under other conditions, and what each of them leaves out: that stands at the test, as
//! `left_out!(under serializable: "its reason");`, or at the head of a module, as `left_out!(module, …)`.

use std::fs;
use std::io;
use std::path::Path;

use crate::database::{DISTRIBUTED, SERIALIZABLE, THROUGH_PGBOUNCER};

/// A condition that every test of the suite can be under, which names itself in two words: `--through pgbouncer`.
#[derive(Debug, PartialEq, Eq)]
pub struct Mode {
    /// The first word, which is an option of `scripts/test`.
    pub way: &'static str,
    /// The second word.
    pub name: &'static str,
    /// What the tests are told by.
    pub variable: &'static str,
    /// Fewer tests would be a sign that more is left out than has to be.
    pub at_least: usize,
}

/// All of them.
pub const MODES: [Mode; 3] = [
    Mode { way: "through", name: "pgbouncer", variable: THROUGH_PGBOUNCER, at_least: 300 },
    Mode { way: "under", name: "serializable", variable: SERIALIZABLE, at_least: 300 },
    Mode { way: "on", name: "other_tables", variable: DISTRIBUTED, at_least: 270 },
];

impl Mode {
    /// The one of these two words; a hyphen is as good as an underscore.
    pub fn named(way: &str, name: &str) -> Option<&'static Self> {
        let name = name.replace('-', "_");
        MODES.iter().find(|mode| mode.way == way && mode.name == name)
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--{} {}", self.way, self.name.replace('_', "-"))
    }
}

/// What a mode leaves out.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The mode.
    pub mode: &'static Mode,
    /// The path of a test, or of a module with `::` behind it.
    pub path: String,
    /// Why.
    pub reason: String,
}

impl LeftOut {
    /// Whether it is this test, or one of its module.
    pub fn is(&self, test: &str) -> bool {
        if self.path.ends_with("::") { test.starts_with(&self.path) } else { test == self.path }
    }
}

/// What stands in the sources of `tests/suite`.
///
/// # Panics
///
/// If one of them cannot be understood.
pub fn left_out() -> io::Result<Vec<LeftOut>> {
    let mut found = Vec::new();
    read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../suite"), "", &mut found)?;
    Ok(found)
}

fn read_folder(folder: &Path, module: &str, found: &mut Vec<LeftOut>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let of = if module.is_empty() { stem.to_string() } else { format!("{module}::{stem}") };
        if path.is_dir() {
            read_folder(&path, &of, found)?;
        } else if of != "main" {
            found.extend(read(&fs::read_to_string(path)?, &of));
        }
    }
    Ok(())
}

fn read(source: &str, module: &str) -> Vec<LeftOut> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices("\nleft_out!(") {
        let understood = read_one(&source[at + "\nleft_out!(".len()..], module);
        found.extend(
            understood.unwrap_or_else(|| panic!("{module}: {}", &source[at..].chars().take(200).collect::<String>())),
        );
    }
    found
}

/// From behind the bracket on.
fn read_one(source: &str, module: &str) -> Option<Vec<LeftOut>> {
    let (inside, rest) = source.split_once("\");")?;
    let (modes, reason) = inside.split_once(':')?;
    let reason = reason.trim_start().strip_prefix('"')?;
    let (path, modes) = match modes.strip_prefix("module, ") {
        Some(modes) => (format!("{module}::"), modes),
        None => (format!("{module}::{}", rest.split_once("\nfn ")?.1.split_once('(')?.0), modes),
    };
    let of = |mode: &str| {
        let (way, name) = mode.trim().split_once(' ')?;
        Some(LeftOut { mode: Mode::named(way, name)?, path: path.clone(), reason: reason.to_owned() })
    };
    modes.split(',').map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_at_a_test_or_at_a_module_is_read() {
        let source = "//! A module.\n\nleft_out!(module, through pgbouncer, on other_tables:\n    \"it starts: servers\");\n\
            left_out!(under serializable: \"it has (no) retries\");\n/// A test.\n#[test]\nfn goes() {}\n\nfn stays() {}\n";
        let [through, under, on] = MODES.each_ref();
        let is = |mode, path: &str, reason: &str| LeftOut { mode, path: path.to_owned(), reason: reason.to_owned() };
        let found = read(source, "outer::inner");
        assert_eq!(found[0], is(through, "outer::inner::", "it starts: servers"));
        assert_eq!(found[1], is(on, "outer::inner::", "it starts: servers"));
        assert_eq!(found[2], is(under, "outer::inner::goes", "it has (no) retries"));
        assert_eq!(found.len(), 3);
        assert!(found[0].is("outer::inner::stays") && found[2].is("outer::inner::goes"));
        assert!(!found[0].is("outer::inner_too::stays") && !found[2].is("outer::inner::goes_on"));
    }

    #[test]
    fn a_mode_is_named_as_on_the_command_line() {
        for mode in &MODES {
            let said = mode.to_string();
            let (way, name) = said.strip_prefix("--").and_then(|said| said.split_once(' ')).unwrap_or_default();
            assert_eq!(Mode::named(way, name), Some(mode));
        }
        assert_eq!(Mode::named("through", "serializable"), None);
    }
}
