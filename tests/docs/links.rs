//! Links lead to what there is: in the repository, on the page of the crate registry, and in rustdoc.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::pages::{Page, all, files, root};
use crate::published::is_published;

const DOCS_RS: &str = "https://docs.rs/refresh-tokens/latest/refresh_tokens";

/// The definitions at the end of a page, `[label]: target`.
fn definitions(page: &Page) -> BTreeMap<String, String> {
    let lines = page.prose().into_iter().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    lines.map(|(label, target)| (label.to_owned(), target.to_owned())).collect()
}

/// The targets that stand in the text itself, `](target)`.
fn inline(page: &Page) -> Vec<String> {
    let text = page.prose().join(" ");
    text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()).collect()
}

/// The labels that the text uses: `[text][label]`.
fn labels(page: &Page) -> BTreeSet<String> {
    let text = page.prose().join(" ");
    text.split("][").skip(1).map(|rest| rest.split(']').next().unwrap().to_owned()).collect()
}

/// What rustdoc's pages define, before the pages do.
fn of_rustdoc() -> BTreeMap<String, String> {
    definitions(&Page::read("docs/links.md"))
}

/// The modules of the guide.
fn modules() -> BTreeSet<String> {
    let modules: BTreeSet<_> = Page::read("src/guide.rs")
        .text
        .lines()
        .filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(" {}")?.to_owned()))
        .collect();
    assert!(modules.len() > 15, "they were found");
    modules
}

/// As rustdoc and most others make it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

fn anchors(page: &Page) -> BTreeSet<String> {
    page.prose().iter().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// The path in the repository that a link of a page leads to.
fn resolved(page: &Page, target: &str) -> String {
    let mut path: Vec<&str> = page.path.split('/').collect();
    path.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(path.pop().expect("it does not leave the repository")),
            part => path.push(part),
        }
    }
    path.join("/")
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for page in all() {
        let definitions = definitions(&page);
        for label in labels(&page) {
            assert!(definitions.contains_key(&label), "[{label}] of {}", page.path);
        }
        for target in definitions.values().chain(&inline(&page)) {
            let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
            if path.starts_with("https://") {
                continue;
            }
            followed += 1;
            let of = if path.is_empty() { page.path.clone() } else { resolved(&page, path) };
            assert!(root().join(&of).is_file(), "{target} of {}", page.path);
            let is_whole = is_published(&of) || !is_published(&page.path);
            assert!(is_whole, "{} is published, and {of} is not", page.path);
            assert!(fragment.is_empty() || anchors(&Page::read(&of)).contains(fragment), "{target} of {}", page.path);
        }
    }
    assert!(followed > 50, "links were found");
}

/// The registry shows the README alone, and has no repository to look files up in.
#[test]
fn the_readme_links_to_pages_of_the_guide_by_whole_addresses() {
    let readme = Page::read("README.md");
    assert_eq!(inline(&readme), Vec::<String>::new());
    let definitions = definitions(&readme);
    assert!(!definitions.is_empty());
    for (label, target) in definitions {
        let page = if label == "guide" { String::new() } else { format!("{label}/") };
        assert_eq!(target, format!("{DOCS_RS}/guide/{page}index.html"));
        assert!(of_rustdoc().contains_key(&label), "{label}");
    }
}

/// Within rustdoc a link of a page to another one has to be to a module, since there is no such file beside it.
#[test]
fn rustdoc_has_its_own_target_for_every_link_to_a_page() {
    let modules = modules();
    let of_rustdoc = of_rustdoc();
    for (label, target) in &of_rustdoc {
        let module = target.strip_prefix("crate::guide").expect("it is in the guide").trim_start_matches("::");
        let module = module.split('#').next().unwrap();
        assert!(module.is_empty() || modules.contains(module), "{label}");
    }
    for page in all().into_iter().filter(|page| page.path == "RUNBOOK.md" || is_published(&page.path)) {
        for (label, _) in definitions(&page) {
            assert!(of_rustdoc.contains_key(&label), "[{label}] of {}", page.path);
        }
        let is_file = |target: &&String| !target.starts_with("https://") && !target.starts_with('#');
        let inline = inline(&page);
        assert_eq!(inline.iter().find(is_file), None, "{}: it needs a label", page.path);
    }
}

#[test]
fn the_guide_lists_every_page() {
    let listed = labels(&Page::read("docs/README.md"));
    assert_eq!(listed, modules());
    for page in all().into_iter().filter(|page| page.path.starts_with("docs/") && page.path != "docs/README.md") {
        let name = page.path.trim_start_matches("docs/").trim_end_matches(".md");
        assert!(listed.contains(name), "{}", page.path);
    }
}

/// Whether it is named as a file is, and could be one of the repository's.
fn is_path(word: &str) -> bool {
    let folders = ["benches/", "docs/", "examples/", "fuzz/", "migrations/", "roles/", "scripts/", "src/", "tests/"];
    folders.iter().any(|folder| word.starts_with(folder)) && !word.contains(['*', ' ', '{', '…'])
}

#[test]
fn files_that_the_pages_name_exist() {
    let mut named = 0;
    for page in all() {
        for word in page.prose().join(" ").split('`').skip(1).step_by(2).filter(|word| is_path(word)) {
            assert!(root().join(word).exists(), "{word} of {}", page.path);
            named += 1;
        }
    }
    assert!(named > 50, "names were found");
}

/// Documents that the sources name are beside them.
#[test]
fn documents_that_the_sources_name_exist() {
    let folders = ["src", "tests", "benches", "examples", "migrations", "roles", "scripts", ".ci"];
    let mut named = 0;
    for file in folders.iter().flat_map(|folder| files(folder, &["rs", "sql", "yml", "json", "sh", "md", ""])) {
        let text = fs::read_to_string(&file).unwrap();
        let words = text.split(|c: char| !(c.is_alphanumeric() || "_-./".contains(c)));
        for word in words.filter(|word| word.len() > 3 && Path::new(word).extension().is_some_and(|ext| ext == "md")) {
            // What a bench writes.
            if word == "table.md" {
                continue;
            }
            let beside = file.parent().unwrap().join(word);
            let is_here = root().join(word).is_file() || beside.is_file() || root().join("docs").join(word).is_file();
            assert!(is_here, "{word} of {}", file.display());
            named += 1;
        }
    }
    assert!(named > 50, "documents were found");
}
