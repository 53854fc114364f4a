//! What there is to clean up, without a scan.

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use refresh_tokens::{CleanupBudget, RefreshTokenRepository, RetentionBacklog, RetentionPolicy};
use refresh_tokens_support::doc::connection;
use refresh_tokens_support::race;

use super::policy;
use super::rows::expired_rows;

#[test]
fn a_backlog_is_counted_up_to_a_bound_and_estimated_beyond() {
    let mut conn = connection();
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, rotated_at, revoked_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'h' || n, gen_random_uuid(),
             now() + CASE WHEN n <= 12000 THEN interval '-40 days' ELSE interval '20 days' END,
             CASE WHEN n BETWEEN 12001 AND 18000 THEN gen_random_uuid() END,
             CASE WHEN n BETWEEN 12001 AND 18000 THEN now() - interval '8 days' END,
             CASE WHEN n BETWEEN 18001 AND 22000 THEN now() - interval '4 days' END
         FROM generate_series(1, 30000) n",
    )
    .unwrap();
    conn.batch_execute("VACUUM ANALYZE refresh_tokens").unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let backlog = tokens.retention_backlog(&policy()).unwrap();
    assert_eq!(backlog.expired_counted, RetentionBacklog::MAX_COUNTED);
    let is_near = |estimate: u64, rows: u64| estimate.abs_diff(rows) < rows / 3;
    assert!(is_near(backlog.expired_estimate, 12_000), "{backlog:?}");
    // The planner takes what happened to a token and when it expires for independent.
    assert!(backlog.rotated_estimate > 1_000 && backlog.rotated_estimate <= 6_500, "{backlog:?}");
    assert!(backlog.revoked_estimate > 500 && backlog.revoked_estimate <= 4_500, "{backlog:?}");
    assert_eq!(backlog.table_rows, 30_000);
    assert!(backlog.table_bytes > 1_000_000 && backlog.index_bytes > 1_000_000, "{backlog:?}");
    let ten_days = TimeDelta::days(10);
    assert!(backlog.behind >= ten_days && backlog.behind < ten_days + TimeDelta::hours(1), "{backlog:?}");

    let expired_alone = RetentionPolicy::default();
    let backlog = tokens.retention_backlog(&expired_alone).unwrap();
    assert_eq!((backlog.rotated_estimate, backlog.revoked_estimate), (0, 0));
    tokens.cleanup(&policy(), &CleanupBudget::default()).unwrap();
    let backlog = tokens.retention_backlog(&policy()).unwrap();
    assert_eq!((backlog.expired_counted, backlog.behind), (0, TimeDelta::zero()));
}

/// What has expired long enough ago goes by that, and is counted there alone.
#[test]
fn what_has_expired_is_in_no_other_estimate() {
    let mut conn = connection();
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, rotated_at, revoked_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'h' || n, gen_random_uuid(), now() - interval '40 days',
             CASE WHEN n % 2 = 0 THEN gen_random_uuid() END,
             CASE WHEN n % 2 = 0 THEN now() - interval '60 days' END,
             CASE WHEN n % 2 = 1 THEN now() - interval '60 days' END
         FROM generate_series(1, 10000) n;
         INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'live' || n, gen_random_uuid(), now() + interval '20 days'
         FROM generate_series(1, 100) n",
    )
    .unwrap();
    conn.batch_execute("ANALYZE refresh_tokens").unwrap();
    let backlog = RefreshTokenRepository::new(&mut conn).retention_backlog(&policy()).unwrap();
    assert!(backlog.expired_estimate > 9_000, "{backlog:?}");
    assert!(backlog.rotated_estimate < 200 && backlog.revoked_estimate < 200, "{backlog:?}");
}

#[test]
fn what_a_vacuum_has_before_it_is_counted() {
    let mut conn = connection();
    conn.batch_execute("ALTER TABLE refresh_tokens SET (autovacuum_enabled = off)").unwrap();
    expired_rows(&mut conn, 1_000);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.cleanup(&policy(), &CleanupBudget::default().max_rows(700)).unwrap().tokens(), 700);
    conn.batch_execute("ANALYZE refresh_tokens").unwrap();
    let conn = std::cell::RefCell::new(conn);
    race::wait_until_that("the server has counted the dead rows", || {
        RefreshTokenRepository::new(&mut conn.borrow_mut()).retention_backlog(&policy()).unwrap().dead_rows == 700
    });
    let left = RefreshTokenRepository::new(&mut conn.borrow_mut()).retention_backlog(&policy()).unwrap();
    assert_eq!((left.expired_counted, left.table_rows), (300, 300));
}

#[test]
fn a_backlog_is_found_without_a_scan_of_the_table() {
    #[derive(QueryableByName)]
    struct Scans {
        #[diesel(sql_type = BigInt)]
        scans: i64,
    }
    let mut conn = connection();
    expired_rows(&mut conn, 20_000);
    conn.batch_execute("ANALYZE refresh_tokens").unwrap();
    // Those of the server process that it has not reported yet, so also from before.
    let scans = |conn: &mut PgConnection| -> QueryResult<i64> {
        let scans = "SELECT seq_scan AS scans FROM pg_stat_xact_user_tables
            WHERE relname = 'refresh_tokens' AND schemaname = current_schema()";
        Ok(sql_query(scans).get_result::<Scans>(conn)?.scans)
    };
    conn.transaction(|conn| {
        let before = scans(conn)?;
        RefreshTokenRepository::new(conn).retention_backlog(&policy()).unwrap();
        assert_eq!(scans(conn)?, before);
        QueryResult::Ok(())
    })
    .unwrap();
}
