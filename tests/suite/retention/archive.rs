//! The archive: rows move whole, partitions are made ahead and dropped.

mod partitions;

left_out!(module, on other_tables: "it archives");

use chrono::{Months, TimeDelta};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use refresh_tokens::{CleanupBudget, Error, InvalidInput, RefreshTokenRepository};
use refresh_tokens_support::database::lines;
use refresh_tokens_support::doc::connection;
use refresh_tokens_support::{Database, race};

use super::policy;
use super::rows::{count, expired_rows, fill};

fn columns(conn: &mut PgConnection, table: &str) -> Vec<String> {
    let query = format!(
        "SELECT attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull AS line FROM pg_attribute
         WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    );
    lines(conn, &query)
}

/// All rows of a table, in every column that both tables have.
fn content(conn: &mut PgConnection, table: &str) -> Vec<String> {
    lines(conn, &format!("SELECT (to_jsonb(it) - 'archived_at')::text AS line FROM {table} it ORDER BY id"))
}

fn archived(conn: &mut PgConnection) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    let Count { rows } = sql_query("SELECT count(*) AS rows FROM refresh_tokens_archive").get_result(conn).unwrap();
    rows
}

#[test]
fn rows_move_into_the_archive_as_they_are() {
    let mut conn = connection();
    let made = fill(&mut conn);
    conn.batch_execute(
        "UPDATE refresh_tokens SET generation = 7, session_expires_at = now(), reused_at = now(),
             revoked_reason = CASE WHEN revoked_at IS NOT NULL THEN 'logged_out' END",
    )
    .unwrap();
    // No column is empty in all rows, so that none can be forgotten.
    let filled =
        "SELECT DISTINCT key AS line FROM refresh_tokens it, jsonb_each_text(to_jsonb(it)) WHERE value IS NOT NULL";
    assert_eq!(lines(&mut conn, filled).len(), columns(&mut conn, "refresh_tokens").len());
    let before = content(&mut conn, "refresh_tokens");
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    tokens.create_archive_partitions(0).unwrap();
    let report = tokens.cleanup(&policy().archive(), &CleanupBudget::default().batch(5)).unwrap();
    let due = made.iter().filter(|row| row.due.is_some()).count();
    assert_eq!(report.tokens(), due as u64);
    assert_eq!(archived(&mut conn), i64::try_from(due).unwrap());
    let mut after = [content(&mut conn, "refresh_tokens"), content(&mut conn, "refresh_tokens_archive")].concat();
    after.sort();
    let mut before = before;
    before.sort();
    assert_eq!(after, before);
}

/// A column that a later version adds to the one is missing in the other: this says so.
#[test]
fn the_archive_has_the_columns_of_the_table() {
    let mut conn = connection();
    let mut of_table = columns(&mut conn, "refresh_tokens");
    assert!(of_table.len() >= 15, "{of_table:?}");
    of_table.push("archived_at timestamp with time zone true".to_owned());
    assert_eq!(columns(&mut conn, "refresh_tokens_archive"), of_table);
}

#[test]
fn without_the_archive_the_error_says_that_the_schema_is_missing() {
    let mut conn = connection();
    conn.batch_execute("DROP TABLE refresh_tokens_archive").unwrap();
    expired_rows(&mut conn, 1);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.create_archive_partitions(0), Err(Error::SchemaMissing));
    assert_eq!(tokens.archive_partitions(), Err(Error::SchemaMissing));
    let now = tokens.now().unwrap();
    assert_eq!(tokens.drop_archived_before(now), Err(Error::SchemaMissing));
    assert_eq!(tokens.cleanup(&policy().archive(), &CleanupBudget::default()), Err(Error::SchemaMissing));
    // What archives nothing needs none.
    assert_eq!(tokens.cleanup(&policy(), &CleanupBudget::default()).unwrap().tokens(), 1);
}

#[test]
fn without_a_partition_nothing_moves_and_the_error_says_what_to_do() {
    let mut conn = connection();
    expired_rows(&mut conn, 10);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let refused = tokens.cleanup(&policy().archive(), &CleanupBudget::default());
    assert_eq!(refused, Err(Error::ArchiveNotPrepared));
    assert!(refused.unwrap_err().to_string().contains("create_archive_partitions"));
    assert_eq!(count(&mut conn), 10);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    tokens.create_archive_partitions(0).unwrap();
    assert_eq!(tokens.cleanup(&policy().archive(), &CleanupBudget::default()).unwrap().tokens(), 10);
    assert_eq!((count(&mut conn), archived(&mut conn)), (0, 10));
}

/// The months are those of UTC, whatever time zone the session has, and follow each other without a gap.
#[test]
fn partitions_are_made_ahead_month_by_month() {
    let mut conn = connection();
    conn.batch_execute("SET TIME ZONE 'Asia/Kolkata'").unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let made = tokens.create_archive_partitions(14).unwrap();
    assert_eq!(made.len(), 15);
    assert_eq!(tokens.create_archive_partitions(14), Ok(Vec::new()));
    assert_eq!(tokens.create_archive_partitions(15).unwrap().len(), 1);
    let now = tokens.now().unwrap();
    for zone in ["Asia/Kolkata", "America/St_Johns"] {
        conn.batch_execute(&format!("SET TIME ZONE '{zone}'")).unwrap();
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        assert_eq!(tokens.create_archive_partitions(15), Ok(Vec::new()), "{zone}");
        let partitions = tokens.archive_partitions().unwrap();
        assert_eq!(partitions.len(), 16);
        assert!(partitions[0].begins_at <= now && now < partitions[0].ends_at);
        for (one, next) in partitions.iter().zip(&partitions[1..]) {
            assert_eq!(one.ends_at, next.begins_at);
            assert_eq!(one.begins_at + Months::new(1), one.ends_at);
        }
        let first = partitions[0].begins_at;
        assert_eq!(partitions[0].name, format!("refresh_tokens_archive_{}", first.format("%Y_%m")));
        assert_eq!(first.format("%d %H:%M:%S").to_string(), "01 00:00:00");
    }
    assert_eq!(RefreshTokenRepository::new(&mut conn).create_archive_partitions(120).unwrap().len(), 121 - 16);
    let refused = InvalidInput::TooManyMonthsAhead { months: 121, max: 120 };
    assert_eq!(RefreshTokenRepository::new(&mut conn).create_archive_partitions(121), Err(refused.into()));
}

#[test]
fn processes_that_prepare_at_once_make_each_partition_once() {
    let database = Database::migrated();
    let made: usize = std::thread::scope(|scope| {
        let prepare = || {
            let mut conn = database.connect();
            RefreshTokenRepository::new(&mut conn).create_archive_partitions(11).unwrap().len()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(prepare)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(made, 12);
}

#[test]
fn invariant_9_partitions_are_made_while_others_archive() {
    let database = Database::migrated();
    let (mut holder, mut conn) = (database.connect(), database.connect());
    conn.batch_execute("SET lock_timeout = '5s'").unwrap();
    expired_rows(&mut conn, 20);
    RefreshTokenRepository::new(&mut conn).create_archive_partitions(0).unwrap();
    holder
        .transaction(|holder| {
            let budget = CleanupBudget::default().max_rows(10);
            let report = RefreshTokenRepository::new(holder).cleanup(&policy().archive(), &budget).unwrap();
            assert_eq!(report.tokens(), 10);
            assert_eq!(RefreshTokenRepository::new(&mut conn).create_archive_partitions(3).unwrap().len(), 3);
            QueryResult::Ok(())
        })
        .unwrap();
    assert_eq!((count(&mut conn), archived(&mut conn)), (10, 10));
}

/// Partitions of three past months, made as `create_archive_partitions` would have.
fn past_months(conn: &mut PgConnection) {
    conn.batch_execute(
        "DO $$ BEGIN FOR ago IN 1..3 LOOP
             EXECUTE format('CREATE TABLE past_%s PARTITION OF refresh_tokens_archive FOR VALUES FROM (%L) TO (%L)', ago,
                 date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '1 month' * ago,
                 date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '1 month' * (ago - 1));
         END LOOP; END $$;
         INSERT INTO refresh_tokens_archive (id, user_id, token_hash, active_org_id, expires_at, created_at, session_id,
             generation, session_started_at, archived_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'h', gen_random_uuid(), now(), now(), gen_random_uuid(), 0, now(),
             date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '1 month' * ago
         FROM generate_series(1, 3) ago, generate_series(1, 5);
         SET TIME ZONE 'UTC'",
    )
    .unwrap();
}

#[test]
fn old_months_are_dropped_whole() {
    let mut conn = connection();
    conn.batch_execute("SET TIME ZONE 'UTC'").unwrap();
    past_months(&mut conn);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    tokens.create_archive_partitions(1).unwrap();
    assert_eq!(tokens.archive_partitions().unwrap()[0].rows, 0, "nobody has counted them");
    conn.batch_execute("ANALYZE refresh_tokens_archive").unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let partitions = tokens.archive_partitions().unwrap();
    assert_eq!(partitions.iter().map(|partition| partition.rows).collect::<Vec<_>>(), [5, 5, 5, 0, 0]);
    let names: Vec<&str> = partitions.iter().map(|partition| partition.name.as_str()).collect();
    assert_eq!(names[..3], ["past_3", "past_2", "past_1"]);
    let now = tokens.now().unwrap();
    let refused = tokens.drop_archived_before(now + TimeDelta::hours(1));
    assert_eq!(refused, Err(InvalidInput::ArchiveCutInFuture.into()));

    // An instant within a month leaves that month.
    let within_second = partitions[1].ends_at - TimeDelta::microseconds(1);
    let dropped = tokens.drop_archived_before(within_second).unwrap();
    assert_eq!(dropped.iter().map(|partition| partition.name.as_str()).collect::<Vec<_>>(), ["past_3"]);
    assert!(dropped[0].bytes > 0);
    assert_eq!(tokens.drop_archived_before(partitions[1].ends_at).unwrap().len(), 1);
    assert_eq!(archived(&mut conn), 5);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.drop_archived_before(now).unwrap().len(), 1);
    assert_eq!(tokens.archive_partitions().unwrap().len(), 2);
}

/// A partition for whatever has none may hold anything: it is none of the months, and is not dropped with them.
#[test]
fn a_default_partition_is_no_month() {
    let mut conn = connection();
    conn.batch_execute("CREATE TABLE anything PARTITION OF refresh_tokens_archive DEFAULT").unwrap();
    past_months(&mut conn);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.archive_partitions().unwrap().len(), 3);
    assert_eq!(tokens.create_archive_partitions(1).unwrap().len(), 2, "this month and the next are made all the same");
    let now = tokens.now().unwrap();
    assert_eq!(tokens.drop_archived_before(now).unwrap().len(), 3);
    assert_eq!(tokens.archive_partitions().unwrap().len(), 2);
    assert_eq!(lines(&mut conn, "SELECT to_regclass('anything')::text AS line"), ["anything"]);
}

/// Who drops has listed them, and waits for one who has not dropped them yet.
#[test]
fn a_partition_that_goes_after_it_was_listed_is_passed_over() {
    let database = Database::migrated();
    let mut conn = database.connect();
    past_months(&mut conn);
    let now = race::now(&mut conn);
    let (first, second) = conn
        .transaction(|conn| {
            conn.batch_execute("LOCK TABLE refresh_tokens_archive IN SHARE UPDATE EXCLUSIVE MODE")?;
            let pid = race::pid(conn);
            let second = race::start_blocked(&database, pid, move |conn| {
                RefreshTokenRepository::new(conn).drop_archived_before(now)
            });
            QueryResult::Ok((RefreshTokenRepository::new(conn).drop_archived_before(now), second))
        })
        .unwrap();
    assert_eq!(first.unwrap().len(), 3);
    assert_eq!(second.join().unwrap(), Ok(Vec::new()));
}

/// Two that drop at once: each partition is dropped by one of them, and neither fails.
#[test]
fn a_partition_that_another_one_has_dropped_is_passed_over() {
    let database = Database::migrated();
    let mut conn = database.connect();
    past_months(&mut conn);
    let now = race::now(&mut conn);
    let (first, second) = race::wait_for_commit(
        &database,
        |conn| RefreshTokenRepository::new(conn).drop_archived_before(now),
        move |conn| RefreshTokenRepository::new(conn).drop_archived_before(now),
    );
    assert_eq!([first, second].map(|dropped| dropped.unwrap().len()), [3, 0]);
}
