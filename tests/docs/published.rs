//! What is in the published package.

use std::fs;
use std::path::Path;

use crate::pages::{Page, root};

/// The patterns of `include` in Cargo.toml.
fn patterns() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, list) = manifest.split_once("\ninclude = [").expect("it has a list");
    let (list, _) = list.split_once(']').expect("the list ends");
    let patterns: Vec<_> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(patterns.iter().all(|pattern| pattern.starts_with('/')), "from the root: {patterns:?}");
    patterns
}

/// Whether a path of the repository is in the package. A pattern is a file, a folder, or a name with one `*`.
pub(crate) fn is_published(path: &str) -> bool {
    patterns().iter().map(|pattern| &pattern[1..]).any(|pattern| match pattern.split_once('*') {
        Some((before, after)) => {
            let rest = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            rest.is_some_and(|rest| !rest.contains('/'))
        }
        None => Path::new(path).starts_with(pattern),
    })
}

/// rustdoc reads them on the reader's machine, and on that of docs.rs.
#[test]
fn what_the_documentation_includes_is_published() {
    let mut included = 0;
    for source in ["src/lib.rs", "src/guide.rs"] {
        for part in Page::read(source).text.split("include_str!(\"../").skip(1) {
            let (path, _) = part.split_once('"').unwrap();
            assert!(root().join(path).is_file() && is_published(path), "{path} of {source}");
            included += 1;
        }
    }
    assert!(included > 15);
}
