//! The pages, and what they may measure.

use std::fs;
use std::path::{Path, PathBuf};

/// The most columns of a line that can be wrapped.
const WIDTH: usize = 120;

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page by its path in the repository.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text }
    }

    /// Its lines, without those of code.
    pub(crate) fn prose(&self) -> Vec<&str> {
        let mut is_code = false;
        let mut prose = Vec::new();
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            } else if !is_code {
                prose.push(line);
            }
        }
        assert!(!is_code, "{}: a block of code is open at its end", self.path);
        prose
    }

    /// Whether it is about one task: a page of the guide, and not a page beside it.
    fn is_short(&self) -> bool {
        self.path.starts_with("docs/")
    }
}

/// The names of a folder, in order.
pub(crate) fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The files under a folder that have one of these extensions; an empty one is none.
pub(crate) fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in names(folder) {
        let path = format!("{folder}/{name}");
        if root().join(&path).is_dir() {
            found.extend(files(&path, extensions));
        } else if extensions.contains(&Path::new(&name).extension().unwrap_or_default().to_str().unwrap()) {
            found.push(root().join(path));
        }
    }
    found
}

/// Every page but the changelog.
pub(crate) fn all() -> Vec<Page> {
    let beside = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "RUNBOOK.md", "benches/README.md"];
    let mut pages: Vec<_> = beside.map(Page::read).into();
    let guide = files("docs", &["md"]).into_iter().filter(|path| !path.ends_with("links.md"));
    pages.extend(guide.map(|path| Page::read(path.strip_prefix(root()).unwrap().to_str().unwrap())));
    assert!(pages.len() > 15, "the guide was found");
    pages
}

#[test]
fn the_readme_fits_on_a_few_screens_and_a_page_of_the_guide_is_about_one_task() {
    assert!(Page::read("README.md").text.lines().count() <= 130);
    for page in all().into_iter().filter(Page::is_short) {
        assert!(page.text.lines().count() <= 200, "{} is long", page.path);
    }
}

#[test]
fn lines_are_wrapped() {
    for page in all().into_iter().filter(|page| page.path != "benches/README.md") {
        for line in page.prose() {
            let cannot_be_wrapped = line.trim_start().starts_with(['|', '[']);
            assert!(cannot_be_wrapped || line.chars().count() <= WIDTH, "{}: {line}", page.path);
        }
    }
}
