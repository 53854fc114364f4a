//! No verb is left out: the sources are held against the cases.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::cases;

/// The types that have verbs, their sources, and what they offer that sends nothing to the server.
const TYPES: [(&str, &str, &[&str]); 4] = [
    ("RefreshTokenStore", "store", &["from_pool", "pool", "with_reason"]),
    ("GroupRotator", "group", &["new", "shutdown", "waiting", "is_shut_down"]),
    ("SessionService", "service", &["new", "store", "counts"]),
    ("ReplicaReader", "repository/replica", &["new"]),
];

/// A file and those in the folder of its name.
fn source(name: &str) -> String {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut text = fs::read_to_string(src.join(name).with_extension("rs")).unwrap();
    for entry in fs::read_dir(src.join(name)).into_iter().flatten() {
        text += &fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    text
}

/// The public functions of a type, and those that a macro gives it.
fn functions(of: &str, source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut is_inside, mut is_table) = (false, false);
    for line in source.lines() {
        match line {
            "}" => (is_inside, is_table) = (false, false),
            "pooled_methods! {" => is_table = true,
            _ if line.starts_with("impl") => is_inside = line.split(['<', ' ']).any(|word| word == of),
            _ => {}
        }
        let name = |text: &str| text.split(['(', '<']).next().unwrap_or_default().to_owned();
        let function = line.strip_prefix("    pub fn ").or_else(|| line.strip_prefix("    pub const fn "));
        found.extend(function.filter(|_| is_inside).map(name));
        let in_table = line.strip_prefix("    ").filter(|rest| is_table && rest.starts_with(char::is_lowercase));
        found.extend(in_table.filter(|rest| rest.contains(") -> ")).map(name));
    }
    found
}

/// The functions that the crate's root exports.
fn free_functions() -> BTreeSet<String> {
    let root = source("lib");
    let exports = root.split(';').filter_map(|item| item.rsplit_once("pub use ").map(|(_, item)| item));
    let names = exports.flat_map(|item| item.split(['{', '}', ',', ' ', '\n']));
    let last = names.filter_map(|path| path.rsplit("::").next());
    last.filter(|name| name.starts_with(char::is_lowercase)).map(str::to_owned).collect()
}

#[test]
fn every_public_verb_is_a_case() {
    let cases: BTreeSet<String> =
        cases::all().into_iter().map(|case| case.name.split(',').next().unwrap_or_default().to_owned()).collect();
    let mut verbs = free_functions();
    assert!(verbs.contains("migrate") && verbs.len() >= 6, "{verbs:?}");
    for (of, file, sends_nothing) in TYPES {
        let mut found = functions(of, &source(file));
        assert!(found.len() > sends_nothing.len(), "{of}: {found:?}");
        for name in sends_nothing {
            assert!(found.remove(*name), "{of} has no {name}");
        }
        // Without a prefix they are the store's.
        let prefix = if of == "RefreshTokenStore" { String::new() } else { format!("{of}::") };
        verbs.extend(found.into_iter().map(|name| format!("{prefix}{name}")));
    }
    assert_eq!(cases, verbs);
}
