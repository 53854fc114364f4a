//! How much is measured.

use std::env;
use std::time::Duration;

pub(crate) struct Scale {
    /// Of the large table.
    pub(crate) rows: i64,
    pub(crate) small_rows: i64,
    /// How long rotations are watched with no clean-up beside them.
    pub(crate) watch: Duration,
    /// Rounds in which both tables have a turn.
    pub(crate) rounds: usize,
}

/// Of a plain `cargo bench`; `scripts/scale` asks for more.
const ROWS: i64 = 1_000_000;

impl Scale {
    /// `--rows N` sets the size of the large table.
    pub(crate) fn from_args() -> Self {
        let args: Vec<String> = env::args().skip(1).collect();
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        if !has("--bench") || has("--test") {
            return Self { rows: 20_000, small_rows: 5_000, watch: Duration::from_millis(300), rounds: 1 };
        }
        let given = args.iter().skip_while(|arg| *arg != "--rows").nth(1);
        let rows = given.map_or(ROWS, |rows| rows.parse().expect("--rows takes a number"));
        Self { rows, small_rows: 10_000, watch: Duration::from_secs(30), rounds: 25 }
    }

    /// A tenth of the table: what each clean-up deletes that is watched.
    pub(crate) fn due_rows(&self) -> u64 {
        self.rows.unsigned_abs() / 10
    }
}
