//! The tables for engines that lack parts of PostgreSQL's DDL: what is left out. That the verbs need no more, the suite shows,
//! passed on them (`scripts/test --on other-tables`).

left_out!(module, through pgbouncer, under serializable, on other_tables:
    "it is about the tables for other engines, whatever the others begin with");

use std::fs;
use std::path::Path;

use diesel::PgConnection;
use refresh_tokens::{Error, verify_schema};
use refresh_tokens_support::Database;
use refresh_tokens_support::database::lines;

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
