//! Rotations and look-ups a second, beside pgbench, plain Diesel and the reference, in one run: by threads, in batches,
//! and with many more callers than connections. `scripts/throughput` runs it; `benches/README.md` says how to read it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that cannot measure must fail loudly, and its table is what it is run for"
)]

#[path = "throughput/awake.rs"]
mod awake;
#[path = "common/contenders.rs"]
mod contenders;
#[path = "throughput/crowd.rs"]
mod crowd;
#[path = "throughput/many.rs"]
mod many;
#[path = "throughput/pgbench.rs"]
mod pgbench;
#[path = "throughput/plots.rs"]
mod plots;
#[path = "throughput/proxy.rs"]
mod proxy;
#[path = "throughput/rounds.rs"]
mod rounds;
#[path = "throughput/same_table.rs"]
mod same_table;
#[path = "common/table.rs"]
mod table;
#[path = "throughput/threads.rs"]
mod threads;

use std::env;

use refresh_tokens_support::Server;
use refresh_tokens_support::server::Durability;

use crate::rounds::Run;

const THREADS: [usize; 4] = [1, 2, 4, 8];

fn main() {
    let (url, _server) = match env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()) {
        Some(url) => (url, None),
        // Without the disk: what is left is what software can do something about.
        None => match Server::temporary(Durability::None) {
            Ok(server) => (server.url(), Some(server)),
            Err(error) => panic!("\n\n{error}\n"),
        },
    };
    let mut run = Run::from_args(url);
    for threads in THREADS {
        threads::rotations(&mut run, threads);
    }
    for threads in THREADS {
        threads::look_ups(&mut run, threads);
    }
    many::batches(&mut run);
    crowd::callers(&mut run);
    crowd::alone(&mut run);
    crowd::delayed(&mut run);
    crowd::one_token(&mut run);
    run.finish();
}
