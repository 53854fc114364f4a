//! The tables, in Markdown: printed, and written to the target folder.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::quartiles::Quartiles;

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

/// The median in milliseconds and, unless this is the first, its ratio to the first's, taken within rounds.
pub(crate) fn times(first: &[f64], these: &[f64], is_first: bool) -> String {
    let median = Quartiles::of(these.to_vec()).median * 1e3;
    let time = if median < 10.0 { format!("{median:.2} ms") } else { format!("{median:.0} ms") };
    if is_first || first.len() != these.len() {
        return time;
    }
    let ratio = Quartiles::of(these.iter().zip(first).map(|(this, first)| this / first).collect());
    format!("{time}; × {:.2} ({:.2} to {:.2})", ratio.median, ratio.lower, ratio.upper)
}
