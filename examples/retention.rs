//! Keeping the table small: how long what is kept, the archive, and a janitor that does it by itself.
//!
//! Paste `policy` and `start_janitor`. Run it: `cargo run --example retention`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks to its reader")]

use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;

use chrono::TimeDelta;
use diesel::prelude::*;
use refresh_tokens::{
    CleanupBudget, CleanupReport, Janitor, JanitorConfig, RefreshTokenStore, RetentionPolicy, StoreConfig,
};
use refresh_tokens_support::Database;

/// Spent tokens for a week, in which their reuse is noticed; the last token of a session that was ended, for half a
/// year, so that it can be listed; the rest until 30 days after its expiry. Then into the archive.
fn policy() -> RetentionPolicy {
    RetentionPolicy::default()
        .keep_rotated_for(TimeDelta::days(7))
        .keep_revoked_for(TimeDelta::days(180))
        .keep_cutoffs_for(TimeDelta::days(400)) // longer than any session lives
        .longest_lifetime(TimeDelta::days(30)) // as this application issues them
        .archive()
}

/// In each process of the application; stop it, or drop it, at the end.
fn start_janitor(
    store: RefreshTokenStore,
    told: impl Fn(&Result<CleanupReport, refresh_tokens::Error>) + Send + Sync + 'static,
) -> Result<Janitor, refresh_tokens::Error> {
    let config = JanitorConfig::default()
        .interval(Duration::from_secs(300))
        .jitter(Duration::from_secs(1))
        .budget(CleanupBudget::gentle().max_time(Duration::from_secs(120)))
        .on_run(told);
    Janitor::start(store, policy(), config)
}

fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::migrated();
    let store = RefreshTokenStore::connect(database.url(), &StoreConfig::default().max_connections(4))?;
    fill(&mut database.connect())?;

    println!("A table with a month of refreshes every quarter of an hour, of 20 sessions.");
    for days in [1, 7, 30] {
        let kept = RetentionPolicy::default().keep_rotated_for(TimeDelta::days(days));
        let report = store.preview_cleanup(&kept, &CleanupBudget::default())?;
        println!("  spent tokens kept for {days:>2} days: {:>6} of 57,600 rows would go", report.tokens());
    }

    let (told, hears) = mpsc::channel();
    let janitor = start_janitor(store.clone(), move |outcome| {
        // Where nobody listens any more, there is a log.
        if let Err(unheard) = told.send(outcome.clone()) {
            eprintln!("clean-up: {:?}", unheard.0);
        }
    })?;
    let report = hears.recv()??;
    println!("The janitor's first run: {report}.");
    let statistics = janitor.stop();
    println!("In all: {} tokens in {} run.", statistics.tokens, statistics.runs);

    for month in store.archive_partitions()? {
        println!("  {} has {} kB", month.name, month.bytes / 1_024);
    }
    let backlog = store.retention_backlog(&policy())?;
    println!("Overdue: {} tokens, for {} s.", backlog.expired_counted, backlog.behind.num_seconds());
    Ok(())
}

/// As a month of rotations leaves them, made by the server.
fn fill(conn: &mut PgConnection) -> QueryResult<()> {
    diesel::sql_query(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, created_at, session_id, generation,
             rotated_to, rotated_at)
         SELECT md5('token ' || n)::uuid, md5('user ' || n % 20)::uuid, md5('hash ' || n), md5('org')::uuid,
             born + interval '30 days', born, md5('session ' || n % 20)::uuid, n / 20,
             CASE WHEN n / 20 < 2879 THEN md5('token ' || n + 20)::uuid END,
             CASE WHEN n / 20 < 2879 THEN born + interval '15 minutes' END
         FROM generate_series(0, 57599) n,
             LATERAL (SELECT now() - interval '15 minutes' * (2879 - n / 20) AS born) AS clock",
    )
    .execute(conn)?;
    diesel::sql_query("ANALYZE refresh_tokens").execute(conn)?;
    Ok(())
}
