//! Invariant 10, least privilege: the files of `roles/` give what is needed, and nothing that is not.

left_out!(module, on other_tables: "it calls `verify_schema` for the whole of it");

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{CleanupBudget, Error, RefreshTokenRepository, Result, RetentionPolicy};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::new_token;

use crate::common::expire;
use crate::every_verb::{Case, VERBS};

const VERBS_SQL: &str = include_str!("../../roles/verbs.sql");
const REFERENCE: &str = include_str!("../../roles/reference.sql");
const CLEANUP: &str = include_str!("../../roles/cleanup.sql");
const MIGRATION: &str = include_str!("../../roles/migration.sql");

/// A predefined role, so that no role has to be made; what it is granted goes with the schema.
const ROLE: &str = "pg_monitor";

/// The statements of a file, for the test's schema and role.
fn of_test(sql: &str, database: &Database) -> String {
    let statements: Vec<&str> = sql.lines().filter(|line| !line.starts_with("--")).collect();
    let mut text = statements.join(" ").replace("SCHEMA public", &format!("SCHEMA {}", database.schema()));
    for role in ["refresh_tokens_verbs", "refresh_tokens_cleanup", "refresh_tokens_owner"] {
        text = text.replace(&format!("TO {role};"), &format!("TO {ROLE};"));
    }
    assert!(text.matches("GRANT ").count() == text.matches(&format!("TO {ROLE};")).count(), "{text}");
    text
}

/// A connection of a role that has what the file grants, in this schema.
pub(crate) fn with_rights(database: &Database, files: &[&str]) -> PgConnection {
    let mut conn = database.connect();
    for sql in files {
        conn.batch_execute(&of_test(sql, database)).unwrap();
    }
    conn.batch_execute(&format!("SET ROLE {ROLE}")).unwrap();
    conn
}

pub(crate) fn who_runs_the_verbs(database: &Database) -> PgConnection {
    with_rights(database, &[VERBS_SQL])
}

pub(crate) fn who_runs_the_reference_too(database: &Database) -> PgConnection {
    with_rights(database, &[VERBS_SQL, REFERENCE])
}

pub(crate) fn who_cleans_up(database: &Database) -> PgConnection {
    with_rights(database, &[CLEANUP])
}

/// Each single right of the statements: `UPDATE (a, b)` is two of them.
fn rights(statements: &str) -> Vec<(String, String)> {
    let mut rights = Vec::new();
    for grant in statements.split(';').filter_map(|statement| statement.trim().strip_prefix("GRANT ")) {
        let (privileges, rest) = grant.split_once(" ON ").unwrap();
        let object = rest.split_once(" TO ").unwrap().0.to_owned();
        let (whole, columns) = privileges.trim().split_once(" (").unwrap_or((privileges.trim(), ""));
        let (whole, of_columns) = match whole.rsplit_once(", ") {
            Some((whole, last)) if !columns.is_empty() => (whole, last),
            _ if !columns.is_empty() => ("", whole),
            _ => (whole, ""),
        };
        let columns = columns.trim_end_matches(')').split(", ").filter(|column| !column.is_empty());
        let named = columns.map(|column| (format!("{of_columns} ({column})"), object.clone()));
        rights.extend(
            whole.split(", ").filter(|right| !right.is_empty()).map(|right| (right.to_owned(), object.clone())),
        );
        rights.extend(named);
    }
    rights
}

/// What `work` says where one right is missing is an error that names a right, and only there.
fn each_is_needed(database: &Database, sql: &str, mut work: impl FnMut() -> Result<()>) {
    let mut owner = database.connect_directly();
    let rights = rights(&of_test(sql, database));
    assert!(rights.len() >= 8, "{rights:?}");
    assert_eq!(work(), Ok(()));
    for (right, object) in rights {
        owner.batch_execute(&format!("REVOKE {right} ON {object} FROM {ROLE}")).unwrap();
        let outcome = work();
        let is_told = match &outcome {
            Err(Error::PermissionDenied { message }) => message.starts_with("permission denied for table"),
            Err(Error::SchemaMissing) => object.starts_with("SCHEMA"),
            _ => false,
        };
        assert!(is_told, "without {right} on {object}: {outcome:?}");
        owner.batch_execute(&format!("GRANT {right} ON {object} TO {ROLE}")).unwrap();
    }
    assert_eq!(work(), Ok(()));
}

#[test]
fn invariant_10_verbs_sql_is_what_the_verbs_need_and_no_more() {
    let database = Database::migrated();
    let mut conn = who_runs_the_verbs(&database);
    let mut owner = database.connect_directly();
    refresh_tokens::verify_schema(&mut conn).unwrap();
    each_is_needed(&database, VERBS_SQL, || {
        for verb in VERBS {
            let case = Case::new(&mut owner);
            let answer = (verb.call)(&mut RefreshTokenRepository::new(&mut conn), &case)?;
            assert_eq!(answer, verb.first, "{}", verb.name);
        }
        Ok(())
    });
    // And nothing else.
    let token = RefreshTokenRepository::new(&mut conn).create(&new_token()).unwrap();
    expire(&mut owner, &token.token_hash, 2);
    let cleaned = RefreshTokenRepository::new(&mut conn).cleanup_expired(1);
    assert!(matches!(cleaned, Err(Error::PermissionDenied { .. })), "{cleaned:?}");
    for forbidden in [
        "UPDATE refresh_tokens SET token_hash = 'x'",
        "UPDATE refresh_tokens SET user_id = gen_random_uuid()",
        "UPDATE refresh_tokens SET expires_at = 'infinity'",
        "DELETE FROM refresh_tokens",
        "DELETE FROM refresh_token_cutoffs",
        "SELECT 1 FROM refresh_tokens_archive",
        "TRUNCATE refresh_tokens",
        "DROP TABLE refresh_tokens",
    ] {
        assert!(conn.batch_execute(forbidden).is_err(), "{forbidden}");
    }
}

#[test]
fn invariant_10_cleanup_sql_is_what_clean_up_needs_and_no_more() {
    let database = Database::migrated();
    let mut conn = who_cleans_up(&database);
    let mut owner = database.connect_directly();
    RefreshTokenRepository::new(&mut owner).create_archive_partitions(0).unwrap();
    let policy = RetentionPolicy::default().keep_cutoffs_for(chrono::TimeDelta::days(1)).archive();
    let old_cutoff = "INSERT INTO refresh_token_cutoffs VALUES (gen_random_uuid(), gen_random_uuid(), '2000-01-01')";
    each_is_needed(&database, CLEANUP, || {
        for policy in [RetentionPolicy::default(), policy.clone()] {
            let token = RefreshTokenRepository::new(&mut owner).create(&new_token()).unwrap();
            expire(&mut owner, &token.token_hash, 60);
            owner.batch_execute(old_cutoff).unwrap();
            RefreshTokenRepository::new(&mut conn).cleanup(&policy, &CleanupBudget::default())?;
        }
        Ok(())
    });
    let created = RefreshTokenRepository::new(&mut conn).create(&new_token());
    assert!(matches!(created, Err(Error::PermissionDenied { .. })), "{created:?}");
    for forbidden in [
        "UPDATE refresh_tokens SET rotated_to = NULL",
        "UPDATE refresh_tokens SET revoked_at = NULL",
        "SELECT 1 FROM refresh_token_gates",
        "DELETE FROM refresh_tokens_archive",
    ] {
        assert!(conn.batch_execute(forbidden).is_err(), "{forbidden}");
    }
}

#[test]
fn invariant_10_migration_sql_is_what_migrations_need() {
    let database = Database::empty();
    let mut conn = with_rights(&database, &[MIGRATION]);
    assert!(!refresh_tokens::migrate(&mut conn).unwrap().is_empty());
    refresh_tokens::verify_schema(&mut conn).unwrap();
    refresh_tokens::build_indexes(&mut conn).unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.create_archive_partitions(1).map(|made| made.len()), Ok(2));
    let now = tokens.now().unwrap();
    assert!(tokens.drop_archived_before(now).is_ok());
    refresh_tokens::drop_tables(&mut conn).unwrap();

    let other = Database::empty();
    let mut conn = other.connect();
    conn.batch_execute(&format!("GRANT USAGE ON SCHEMA {} TO {ROLE}; SET ROLE {ROLE}", other.schema())).unwrap();
    assert!(refresh_tokens::migrate(&mut conn).is_err(), "CREATE is needed");
}
