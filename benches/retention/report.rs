//! The tables, on the screen and in a file.

use std::fs;
use std::path::PathBuf;

#[derive(Default)]
pub(crate) struct Report {
    text: String,
}

impl Report {
    pub(crate) fn line(&mut self, line: &str) {
        println!("{line}");
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The head of a table; the first column is text, the others are numbers.
    pub(crate) fn head(&mut self, columns: &[&str]) {
        self.line("");
        self.row(columns);
        let rules: Vec<&str> = columns.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "--:" }).collect();
        self.row(&rules);
    }

    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
        self.line(&format!("| {} |", cells.join(" | ")));
    }

    pub(crate) fn finish(self) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("retention");
        let file = folder.join("table.md");
        let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, self.text));
        written.expect("the target folder can be written to");
        println!("\nWritten to {}", file.display());
    }
}

pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length is an index")]
    let at = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The median, and between which two values the middle half lies.
pub(crate) fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|share| quantile(&values, share))
}
