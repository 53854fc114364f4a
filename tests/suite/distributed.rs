//! The tables for engines that lack parts of PostgreSQL's DDL: what is left out, and that the verbs need no more.

use std::fs;
use std::path::Path;

use diesel::PgConnection;
use refresh_tokens::{Error, verify_schema};
use refresh_tokens_support::Database;
use refresh_tokens_support::database::{DISTRIBUTED, lines};

use crate::once_more;

/// What needs more than these tables.
const NOT_ON: [&str; 27] = [
    // They start poolers or servers of their own, or the suite, or are about how the tables are made.
    "adoption::",
    "distributed::",
    "environment::",
    "failover::",
    "indexes::",
    "killed",
    "migrations::",
    "no_advisory_locks::",
    "pgbouncer::",
    "serializable::",
    // They call `verify_schema` for the whole of it.
    "guest::invariant_10_a_role_that_owns_nothing_runs_every_verb",
    "roles::",
    // They rotate as other software does, whose successors only the trigger makes members of the session.
    "end_session::invariant_3_a_rotation_in_flight_does_not_outlive_it",
    "flaws::flaw_4_two_callers_in_autocommit_get_two_live_successors",
    "guest::invariant_5_only_a_token_of_the_same_user_is_adopted",
    "reference",
    "sessions::a_session_is_one_entry_through_all_its_rotations",
    // They archive.
    "bad_input::arguments::the_other_verbs_take_any_id_and_instant_or_name_what_is_wrong",
    "retention::any_number_of_workers_share_the_work",
    "retention::archive::",
    "retention::chains::invariant_5_a_session_ends_from_a_stale_token_whatever_is_gone_between",
    "retention::janitor::it_makes_the_partitions_that_it_archives_into",
    "retention::janitor::one_that_deletes_makes_no_partitions",
    "retention::janitor::why_the_next_months_could_not_be_made_is_told",
    "storm::a_storm_under_serializable_breaks_no_invariant",
    "storm::a_storm_with_clean_up_breaks_no_invariant",
    // They are about PostgreSQL's plans and pages.
    "plans::",
];

#[test]
fn the_tests_of_the_verbs_pass_on_it() {
    // The model draws 1,000 sequences otherwise.
    let passed = once_more::pass(&[(DISTRIBUTED, "1"), ("PROPTEST_CASES", "100")], &NOT_ON);
    once_more::print(&format!("{passed} tests passed on the tables for other engines"));
    assert!(passed >= 270, "only {passed} tests ran");
}

#[test]
fn nothing_is_left_out_but_what_other_engines_lack() {
    let (whole, left) = (Database::migrated(), Database::for_other_engines());
    let (whole, left) = (&mut whole.connect(), &mut left.connect());
    for table in ["refresh_tokens", "refresh_token_gates", "refresh_token_cutoffs"] {
        let described = described(left, table);
        assert!(described.len() >= 4, "{table}: {described:?}");
        assert_eq!(described, self::described(whole, table), "{table}");
    }
    let gates = "SELECT format('gate %s', gate) AS line FROM refresh_token_gates ORDER BY gate";
    assert_eq!(lines(left, gates), lines(whole, gates));
    let Err(Error::SchemaMismatch(problems)) = verify_schema(left) else { panic!() };
    assert!(problems.len() == 1 && problems[0].starts_with("trigger "), "{problems:?}");
}

/// A table's columns, constraints and indexes.
fn described(conn: &mut PgConnection, table: &str) -> Vec<String> {
    let query = format!(
        "SELECT format('%s %s %s %s', attname, format_type(atttypid, atttypmod), attnotnull,
            pg_get_expr(adbin, adrelid)) AS line
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '{table}'::regclass
        UNION ALL
        SELECT replace(pg_get_indexdef(indexrelid), current_schema(), '')
        FROM pg_index WHERE indrelid = '{table}'::regclass
        ORDER BY line"
    );
    lines(conn, &query)
}

#[test]
fn no_statement_has_what_other_engines_lack() {
    let sql = include_str!("../../docs/distributed.sql");
    let statements: String = sql.lines().filter(|line| !line.starts_with("--")).collect();
    assert!(statements.matches("CREATE TABLE").count() == 3, "{statements}");
    for lacking in ["PARTITION", "WITH (", "TRIGGER", "plpgsql", "$$", "LOCK", "advisory", "ALTER", "COMMENT"] {
        assert!(!statements.contains(lacking), "{lacking}");
    }
}

/// An empty list is a syntax error in older versions of CockroachDB (its issue 83255).
#[test]
fn every_select_of_a_verb_has_a_list() {
    // These read PostgreSQL's catalog.
    let of_postgres = ["archive_", "durability", "indexes", "verify_schema"];
    let mut read = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sql")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if of_postgres.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let sql = fs::read_to_string(&path).unwrap();
        let words: Vec<&str> = sql.split_whitespace().collect();
        let is_empty = |pair: &[&str]| pair[0].ends_with("SELECT") && pair[1] == "FROM" || pair[0].ends_with("SELECT)");
        assert!(!words.windows(2).any(is_empty), "{name}");
        read += 1;
    }
    assert!(read >= 20, "{read}");
}
