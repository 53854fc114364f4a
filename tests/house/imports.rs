//! Which file of `src` uses which, read from their `crate::`, `super::` and child paths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The files, and for each those that it uses.
pub(crate) struct Imports(BTreeMap<String, BTreeSet<String>>);

/// The folder of a file; the face of a folder belongs to it.
pub(crate) fn folder_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or(file)
}

impl Imports {
    /// Of the crate, without its root, which re-exports from everywhere.
    pub(crate) fn read() -> Self {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        collect(&src, &src, &mut files);
        Self::of(files.iter().filter(|(name, _)| name != "lib.rs").map(|(name, text)| (&**name, &**text)))
    }

    pub(crate) fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let files: BTreeMap<&str, &str> = files.into_iter().collect();
        let used = |file: &str, text: &str| {
            let paths = paths(file, text);
            let found = paths.iter().filter_map(|path| file_of(path, &files)).filter(|used| used != file);
            found.collect::<BTreeSet<_>>()
        };
        Self(files.iter().map(|(file, text)| ((*file).to_owned(), used(file, text))).collect())
    }

    pub(crate) fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(file, used)| used.iter().map(|used| (&**file, &**used)))
    }

    /// The sets of files of which each reaches each.
    pub(crate) fn circles(&self) -> Vec<Vec<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.0.keys().map(|file| (&**file, self.reached_from(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, from_it) in &reached {
            let circle: Vec<&str> = from_it.iter().filter(|other| reached[**other].contains(file)).copied().collect();
            circles.extend((!circle.is_empty()).then_some(circle));
        }
        circles.into_iter().collect()
    }

    fn reached_from(&self, file: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut to_visit: Vec<&str> = self.0[file].iter().map(|used| &**used).collect();
        while let Some(next) = to_visit.pop() {
            if reached.insert(next) {
                to_visit.extend(self.0[next].iter().map(|used| &**used));
            }
        }
        reached
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            // What stands in the place of another file without a feature, and unit tests of their own file.
            if !name.ends_with("_tests.rs") {
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
}

/// The module paths that a text names, as from the root of the crate, without comments and unit tests.
fn paths(file: &str, text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| line.to_owned() + "\n").collect();
    let own = file.trim_end_matches(".rs").replace('/', "::");
    let parent = own.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut paths = Vec::new();
    let mut starts = vec![("crate::".to_owned(), String::new()), ("super::".to_owned(), format!("{parent}::"))];
    for line in code.lines() {
        let module = line.trim_end_matches(';').rsplit_once("mod ").filter(|_| line.ends_with(';'));
        starts.extend(module.map(|(_, child)| (format!("use {child}::"), format!("{own}::{child}::"))));
    }
    for (start, prefix) in starts {
        for (at, found) in code.match_indices(&*start) {
            expand(&prefix, &code[at + found.len()..], &mut paths);
        }
    }
    paths
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(prefix: &str, rest: &str, paths: &mut Vec<String>) {
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
    let path = format!("{prefix}{}", &rest[..end]);
    let Some(group) = rest[end..].strip_prefix('{').filter(|_| path.ends_with("::")) else {
        paths.push(path);
        return;
    };
    let mut depth = 0;
    let mut begin = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                let item = group[begin..at].trim();
                if !item.is_empty() {
                    expand(&path, item, paths);
                }
                begin = at + 1;
                if c == '}' {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// The file of the longest beginning of a path that is a module.
fn file_of(path: &str, files: &BTreeMap<&str, &str>) -> Option<String> {
    let mut parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
    while !parts.is_empty() {
        let name = format!("{}.rs", parts.join("/"));
        if files.contains_key(&*name) {
            return Some(name);
        }
        parts.pop();
    }
    None
}
