//! Which settings can lose an acknowledged change, as this connection has them; `failover.rs` has a standby.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{DurabilityRisk, verify_durability};
use refresh_tokens_support::Database;

/// A connection to a server whose settings are these: a function of that name stands before PostgreSQL's in the search
/// path.
fn with_settings(settings: &[(&str, &str)]) -> (Database, PgConnection) {
    let empty = Database::empty();
    let path = format!("{}, pg_catalog", empty.schema());
    let empty = empty.with(&[("search_path", &path)]);
    let mut conn = empty.connect();
    let cases: Vec<String> = settings.iter().map(|(name, value)| format!("WHEN '{name}' THEN '{value}'")).collect();
    let cases = cases.join(" ");
    conn.batch_execute(&format!(
        "CREATE FUNCTION current_setting(name text) RETURNS text LANGUAGE sql
             AS $$ SELECT CASE name {cases} ELSE pg_catalog.current_setting(name) END $$"
    ))
    .unwrap();
    (empty, conn)
}

/// PostgreSQL takes no blanks for it, but what passes for PostgreSQL may.
#[test]
fn names_of_blanks_are_no_standbys() {
    use DurabilityRisk::{CommitNotAwaited, NoSynchronousStandby, StandbyMayNotHaveWritten, StandbyNotAwaited};
    for (commit, names, expected) in [
        ("on", "", vec![NoSynchronousStandby]),
        ("on", "  \t ", vec![NoSynchronousStandby]),
        ("local", " ", vec![NoSynchronousStandby]),
        ("remote_write", " ", vec![NoSynchronousStandby]),
        ("off", " ", vec![CommitNotAwaited]),
        ("on", " * ", vec![]),
        ("remote_apply", "ANY 1 (a, b)", vec![]),
        ("local", "*", vec![StandbyNotAwaited]),
        ("remote_write", "*", vec![StandbyMayNotHaveWritten]),
    ] {
        let (_database, mut conn) = with_settings(&[
            ("synchronous_commit", commit),
            ("synchronous_standby_names", names),
            ("fsync", "on"),
            ("full_page_writes", "on"),
        ]);
        assert_eq!(verify_durability(&mut conn), Ok(expected), "{commit} {names:?}");
    }
}
