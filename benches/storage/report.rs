//! The tables, in Markdown: printed, and written to the target folder.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::quartiles::Quartiles;
use crate::questions::Answer;

/// Says nothing where nothing is measured.
pub(crate) struct Report {
    measures: bool,
    text: String,
}

impl Report {
    pub(crate) fn new(measures: bool) -> Self {
        Self { measures, text: String::new() }
    }

    pub(crate) fn table(&mut self, title: &str, header: &[&str], rows: &[Vec<String>]) {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let mut table = format!("### {title}\n\n");
        table += &line(header.to_vec());
        table += &line(header.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "--:" }).collect());
        for row in rows {
            table += &line(row.iter().map(String::as_str).collect());
        }
        if self.measures {
            println!("{table}");
        }
        self.text += &table;
        self.text.push('\n');
    }

    pub(crate) fn write(&self) {
        if !self.measures {
            return;
        }
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let file = target.join("storage").join("table.md");
        fs::create_dir_all(target.join("storage")).expect("the target folder can be written");
        fs::write(&file, &self.text).expect("the target folder can be written");
        eprintln!("Written to {}.", file.display());
    }
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Whole bytes.
pub(crate) fn bytes(bytes: f64) -> String {
    format!("{bytes:.0}")
}

/// Medians; and how many times the first's time it was, within rounds.
pub(crate) fn cost(these: Option<&[Answer]>, first: Option<&[Answer]>) -> String {
    let Some(these) = these else { return String::new() };
    let milliseconds = Quartiles::of(these.iter().map(|answer| answer.seconds * 1e3).collect()).median;
    let time = if milliseconds < 10.0 { format!("{milliseconds:.2} ms") } else { format!("{milliseconds:.0} ms") };
    let pages: Option<Vec<f64>> = these.iter().map(|answer| answer.pages).collect();
    let pages = pages.map(|pages| format!("{:.0} pages", Quartiles::of(pages).median));
    let ratio = first.map(|first| {
        let ratios = these.iter().zip(first).map(|(this, first)| this.seconds / first.seconds).collect();
        let Quartiles { lower, median, upper } = Quartiles::of(ratios);
        format!("× {median:.2} ({lower:.2} to {upper:.2})")
    });
    [Some(time), pages, ratio].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
