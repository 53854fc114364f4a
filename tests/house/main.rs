//! The rule of the folders of `src`: each uses only those before it, and no circle of files closes.
//!
//! `cargo test --test house -- --nocapture` prints who uses whom.

#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod imports;

use std::collections::{BTreeMap, BTreeSet};

use imports::{Imports, folder_of};

/// The folders in their order. CONTRIBUTING.md says what each owns.
const FOLDERS: [&str; 14] = [
    "schema",
    "error",
    "values",
    "telemetry",
    "db",
    "protocol",
    "retention",
    "operations",
    "repository",
    "store",
    "group",
    "janitor",
    "service",
    "observe",
];

/// Surfaces over the store that know nothing of each other.
const APART: [(&str, &str); 3] = [("janitor", "group"), ("service", "group"), ("service", "janitor")];

#[test]
fn each_folder_uses_only_folders_before_it() {
    let place = |folder: &str| FOLDERS.iter().position(|known| *known == folder);
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let imports = Imports::read();
    let mut wrong = Vec::new();
    for (file, used) in imports.edges() {
        let (from, to) = (folder_of(file), folder_of(used));
        assert!(place(from).is_some(), "{file} is in no folder of FOLDERS: where does it belong?");
        uses.entry(from).or_default().insert(to);
        let is_apart = APART.contains(&(from, to));
        if place(to).is_none_or(|to| Some(to) > place(from)) || is_apart {
            wrong.push(format!("{file} uses {used}"));
        }
    }
    for folder in FOLDERS {
        let others = uses.get(folder).into_iter().flatten().filter(|other| **other != folder);
        print(&format!("{folder:11} {}", others.copied().collect::<Vec<_>>().join(" ")));
    }
    assert!(uses.len() >= FOLDERS.len() - 2, "only {uses:?} were read");
    assert!(wrong.is_empty(), "a folder uses only those before it in {FOLDERS:?}:\n{}", wrong.join("\n"));
}

#[test]
fn no_circle_of_files_closes() {
    let imports = Imports::read();
    assert!(imports.edges().count() > 200, "only {} imports were read", imports.edges().count());
    let circles = imports.circles();
    assert!(circles.is_empty(), "these files import each other: {circles:?}");
}

/// What the two above stand on: a file that is not read breaks no rule.
#[test]
fn every_file_and_every_kind_of_import_is_read() {
    let imports = Imports::of([
        ("a.rs", "//! crate::z\nmod child;\nuse crate::b::{One, inner::{Two}};\npub use child::Three;\n"),
        ("a/child.rs", "fn f() { crate::b::inner::g() }\n#[cfg(test)]\nmod tests { use crate::a::X; }\n"),
        ("b.rs", "pub(crate) mod inner;\n"),
        ("b/inner.rs", "use super::outer;\n"),
        ("z.rs", "use crate::z;\n"),
    ]);
    let edges: Vec<_> = imports.edges().collect();
    let expected = [
        ("a.rs", "a/child.rs"),
        ("a.rs", "b.rs"),
        ("a.rs", "b/inner.rs"),
        ("a/child.rs", "b/inner.rs"),
        ("b/inner.rs", "b.rs"),
    ];
    assert_eq!(edges, expected);
    assert!(imports.circles().is_empty());
    let circle =
        Imports::of([("a.rs", "use crate::b::B;"), ("b.rs", "use crate::c::C;"), ("c.rs", "use crate::a::A;")]);
    assert_eq!(circle.circles(), [["a.rs", "b.rs", "c.rs"]]);
}

#[expect(clippy::print_stdout, reason = "shown with --nocapture")]
fn print(line: &str) {
    println!("{line}");
}
