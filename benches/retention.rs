//! What clean-up costs those who rotate beside it, what the verbs cost in a small table and in a large one, and what it
//! takes to delete, archive and drop. `scripts/scale` runs it on ten million rows; `benches/README.md` says how to read
//! it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench that cannot measure must fail loudly, and its tables are what it is run for; no count needs 53 bits"
)]

#[path = "retention/beside.rs"]
mod beside;
#[path = "retention/bulk.rs"]
mod bulk;
#[path = "retention/report.rs"]
mod report;
#[path = "retention/scale.rs"]
mod scale;
#[path = "retention/sizes.rs"]
mod sizes;
#[path = "retention/table.rs"]
mod table;

use std::env;

use refresh_tokens_support::Server;
use refresh_tokens_support::server::Durability;

use crate::report::Report;
use crate::scale::Scale;
use crate::table::Table;

fn main() {
    let scale = Scale::from_args();
    let (url, _server) = match env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()) {
        Some(url) => (url, None),
        // With the disk: what clean-up writes, others wait for. And with the memory that who has such a table gives it.
        None => match Server::temporary_with(Durability::Full, &["shared_buffers=2GB"]) {
            Ok(server) => (server.url(), Some(server)),
            Err(error) => panic!("\n\n{error}\n"),
        },
    };
    let mut report = Report::default();
    let small = Table::filled(&url, scale.small_rows);
    let large = Table::filled(&url, scale.rows);
    report.line(&large.filling);
    sizes::compare(&scale, &small, &large, &mut report);
    beside::compare(&scale, &large, &mut report);
    report.finish();
}
