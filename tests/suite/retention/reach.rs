//! How far clean-up reaches: to the end of what can be due, to each kind of cutoff, and no further.

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use refresh_tokens::{CleanupBudget, CleanupEnd, RefreshTokenRepository, RetentionPolicy};
use refresh_tokens_support::database::lines;
use refresh_tokens_support::doc::connection;
use uuid::Uuid;

use super::policy;
use super::rows::expired_rows;

/// Revoked tokens are kept for three days here and rotated ones for seven: so the walk has to go as far as the younger.
#[test]
fn a_walk_that_knows_the_longest_lifetime_goes_as_far_as_the_shorter_time_kept_asks_for() {
    let mut conn = connection();
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, created_at, expires_at, revoked_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'h' || n, gen_random_uuid(), now() - interval '5 days',
             now() + interval '25 days', now() - interval '4 days'
         FROM generate_series(1, 5) n",
    )
    .unwrap();
    let policy = policy().longest_lifetime(TimeDelta::days(30));
    let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy, &CleanupBudget::default()).unwrap();
    assert_eq!((report.revoked, report.end), (5, Some(CleanupEnd::Complete)));
}

/// More members of one user than one statement looks at, and organisations, whose cutoffs name no user.
#[test]
fn cutoffs_of_organisations_and_of_each_member_go() {
    let mut conn = connection();
    conn.batch_execute(
        "INSERT INTO refresh_token_cutoffs (user_id, org_id, revoked_at)
         SELECT '11111111-0000-4000-8000-000000000000'::uuid, gen_random_uuid(), now() - interval '11 days'
         FROM generate_series(1, 1500)
         UNION ALL
         SELECT '00000000-0000-0000-0000-000000000000', gen_random_uuid(), now() - interval '11 days'
         FROM generate_series(1, 1500)",
    )
    .unwrap();
    let policy = RetentionPolicy::default().keep_cutoffs_for(TimeDelta::days(10));
    let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy, &CleanupBudget::default()).unwrap();
    assert_eq!(report.cutoffs, 3_000);
}

/// What expired, but not for as long as the policy keeps it, is not overdue.
#[test]
fn what_is_kept_is_no_backlog() {
    let mut conn = connection();
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'h' || n, gen_random_uuid(), now() - interval '29 days'
         FROM generate_series(1, 5) n",
    )
    .unwrap();
    let backlog = RefreshTokenRepository::new(&mut conn).retention_backlog(&RetentionPolicy::default()).unwrap();
    assert_eq!((backlog.expired_counted, backlog.behind), (0, TimeDelta::zero()));
}

/// A rotated token that was revoked as well is kept as a rotated one, and estimated as such.
#[test]
fn what_was_rotated_and_revoked_is_estimated_as_rotated() {
    let mut conn = connection();
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, rotated_at, revoked_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'h' || n, gen_random_uuid(), now() + interval '20 days',
             gen_random_uuid(), now() - interval '8 days', now() - interval '4 days'
         FROM generate_series(1, 3000) n",
    )
    .unwrap();
    conn.batch_execute("ANALYZE refresh_tokens").unwrap();
    let backlog = RefreshTokenRepository::new(&mut conn).retention_backlog(&policy()).unwrap();
    assert!(backlog.rotated_estimate > 2_000 && backlog.revoked_estimate < 100, "{backlog:?}");
}

/// The index is measured as the index, and the table as the table.
#[test]
fn a_backlog_tells_the_size_of_the_table_from_that_of_its_indexes() {
    let mut conn = connection();
    let user_id = Uuid::new_v4();
    conn.batch_execute(&format!(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
         SELECT gen_random_uuid(), '{user_id}', 'h' || n, gen_random_uuid(), now() FROM generate_series(1, 3000) n"
    ))
    .unwrap();
    let backlog = RefreshTokenRepository::new(&mut conn).retention_backlog(&policy()).unwrap();
    let sizes = "SELECT format('%s %s', pg_table_size('refresh_tokens'), pg_indexes_size('refresh_tokens')) AS line";
    assert_eq!(lines(&mut conn, sizes), [format!("{} {}", backlog.table_bytes, backlog.index_bytes)]);
}

/// A batch of none would never end, or do nothing: it is one row.
#[test]
fn a_batch_of_no_rows_is_one_of_one() {
    let mut conn = connection();
    expired_rows(&mut conn, 3);
    let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &CleanupBudget::default().batch(0)).unwrap();
    assert_eq!((report.expired, report.end), (3, Some(CleanupEnd::Complete)));
}

/// Rows that expire a microsecond apart, all of them due or each third, in spans of every length: the walk steps over none.
#[test]
fn a_walk_steps_over_no_instant_between_two_spans() {
    let mut conn = connection();
    for batch in 2..=6 {
        for each in [1, 3] {
            conn.batch_execute(&format!(
                "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, rotated_at)
                 SELECT gen_random_uuid(), gen_random_uuid(), '{batch} {each} ' || n, gen_random_uuid(),
                     now() + interval '10 days' + n * interval '1 microsecond', gen_random_uuid(),
                     now() - CASE n % {each} WHEN 0 THEN interval '10 days' ELSE interval '5 days' END
                 FROM generate_series(1, 60) n"
            ))
            .unwrap();
            let budget = CleanupBudget::default().batch(batch);
            let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &budget).unwrap();
            assert_eq!((report.rotated, report.end), (60 / each, Some(CleanupEnd::Complete)), "{batch}, {each}");
            conn.batch_execute("DELETE FROM refresh_tokens").unwrap();
        }
    }
}
