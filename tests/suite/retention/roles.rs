//! Invariant 10: a role that may clean up, and nothing else.

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use refresh_tokens::{CleanupBudget, Error, RefreshTokenRepository};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::new_token;

use crate::common::behind_another_schema;
use crate::roles;

use super::policy;
use super::rows::{expired_rows, fill};

left_out!(on other_tables: "it calls `verify_schema` for the whole of it");
/// `FOR UPDATE` asks for UPDATE on some column; nothing is written to it.
#[test]
fn invariant_10_a_role_that_may_only_clean_up_cleans_up() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let made = fill(&mut conn);
    RefreshTokenRepository::new(&mut conn).create_archive_partitions(1).unwrap();
    let mut conn = roles::who_cleans_up(&database);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let due = made.iter().filter(|row| row.due.is_some()).count() as u64;
    let policy = policy().keep_cutoffs_for(TimeDelta::days(400));
    assert_eq!(tokens.preview_cleanup(&policy, &CleanupBudget::default()).unwrap().tokens(), due);
    assert!(tokens.retention_backlog(&policy).unwrap().expired_counted > 0);
    let half = CleanupBudget::default().max_rows(due / 2);
    assert_eq!(tokens.cleanup(&policy, &half).unwrap().tokens(), due / 2);
    // All partitions are there, so that it has only to look.
    assert_eq!(tokens.create_archive_partitions(1), Ok(Vec::new()));
    let rest = tokens.cleanup(&policy.archive(), &CleanupBudget::default()).unwrap();
    assert_eq!(rest.tokens(), due - due / 2);
    assert_eq!(tokens.archive_partitions().unwrap().len(), 2);

    let denied = |outcome: Result<(), Error>| matches!(outcome, Err(Error::PermissionDenied { .. }));
    assert!(denied(tokens.create(&new_token()).map(drop)));
    assert!(denied(tokens.create_archive_partitions(5).map(drop)));
}

left_out!(on other_tables: "it calls `verify_schema` for the whole of it");
/// In a schema that is not the first of the `search_path`, all is found; partitions are made beside the archive.
#[test]
fn invariant_10_the_archive_is_where_the_table_is() {
    let (home, elsewhere) = behind_another_schema();
    let mut conn = home.connect();
    expired_rows(&mut conn, 5);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let made = tokens.create_archive_partitions(0).unwrap();
    assert!(made[0].starts_with(home.schema()), "{made:?}");
    assert_eq!(tokens.cleanup(&policy().archive(), &CleanupBudget::default()).unwrap().tokens(), 5);
    conn.batch_execute(&format!("DROP SCHEMA {elsewhere}")).unwrap();
}
