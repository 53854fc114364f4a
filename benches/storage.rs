//! The indexes, the fillfactor and the autovacuum settings of `refresh_tokens`, beside others: what a rotation writes,
//! how many bytes a row takes, what a long history, a clean-up and a tenant cost, and how far a table in use grows.
//!
//! `scripts/storage` runs it; `benches/README.md` says how to read it, and `ARCHITECTURE.md` what was chosen by it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench that cannot measure must fail loudly, and its tables are what it is run for"
)]

#[path = "throughput/awake.rs"]
mod awake;
#[path = "storage/comparison.rs"]
mod comparison;
#[path = "storage/load.rs"]
mod load;
#[path = "common/quartiles.rs"]
mod quartiles;
#[path = "storage/questions.rs"]
mod questions;
#[path = "storage/report.rs"]
mod report;
#[path = "storage/steady.rs"]
mod steady;
#[path = "storage/subject.rs"]
mod subject;
#[path = "storage/variants.rs"]
mod variants;

use std::env;

use refresh_tokens_support::Server;
use refresh_tokens_support::server::Durability;

use crate::awake::Awake;
use crate::report::Report;

/// What the command line and the environment ask for.
struct Run {
    url: String,
    /// Of ordinary users; the default's otherwise.
    rows: Option<i32>,
    measures: bool,
    filters: Vec<String>,
}

impl Run {
    fn from_args(url: String) -> Self {
        let args: Vec<String> = env::args().skip(1).collect();
        Self {
            url,
            rows: env::var("REFRESH_TOKENS_STORAGE_ROWS").ok().and_then(|rows| rows.parse().ok()),
            // Cargo says --bench for `cargo bench` alone.
            measures: args.iter().any(|arg| arg == "--bench") && !args.iter().any(|arg| arg == "--test"),
            filters: args.into_iter().filter(|arg| !arg.starts_with('-')).collect(),
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

fn main() {
    let (url, _server) = match env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()) {
        Some(url) => (url, None),
        // Autovacuum looks every second, so that a minute of it shows what otherwise takes an hour.
        None => match Server::temporary_with(Durability::None, &["autovacuum_naptime=1s"]) {
            Ok(server) => (server.url(), Some(server)),
            Err(error) => panic!("\n\n{error}\n"),
        },
    };
    let run = Run::from_args(url);
    let mut report = Report::new(run.measures);
    {
        // Client and server take turns here.
        let _awake = run.measures.then(Awake::all_processors);
        comparison::compare(&run, &mut report);
    }
    steady::compare(&run, &mut report);
    report.write();
}
