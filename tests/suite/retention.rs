//! Clean-up by a policy: what goes, what stays, within which budget, beside whom.

mod archive;
mod backlog;
mod budgets;
mod chains;
mod cutoffs;
mod janitor;
mod killed;
mod reach;
mod roles;
mod rows;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    CleanupBudget, CleanupEnd, Durability, Error, InvalidInput, RefreshTokenRepository, RefreshTokenStore,
    RetentionPolicy,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::connection;
use uuid::Uuid;

use crate::common::{By, create, rotate};
use rows::{Kind, Made, count, expired_rows, fill};

/// What most tests clean up by: shorter for what is spent than for what expired.
fn policy() -> RetentionPolicy {
    RetentionPolicy::default()
        .keep_expired_for(TimeDelta::days(30))
        .keep_rotated_for(TimeDelta::days(7))
        .keep_revoked_for(TimeDelta::days(3))
}

fn counts(made: &[Made]) -> (u64, u64, u64) {
    let of = |kind| made.iter().filter(|row| row.due == Some(kind)).count() as u64;
    (of(Kind::Expired), of(Kind::Rotated), of(Kind::Revoked))
}

fn ids(conn: &mut PgConnection) -> Vec<Uuid> {
    dsl::refresh_tokens.select(dsl::id).order(dsl::id).load(conn).unwrap()
}

/// Rows of every kind, several at the same instant of expiry, and a walk in batches of every size that might lose one.
#[test]
fn what_a_policy_says_goes_and_nothing_else() {
    let mut conn = connection();
    for batch in [1, 2, 3, 7, 1_000] {
        let made = fill(&mut conn);
        let (expired, rotated, revoked) = counts(&made);
        assert!(expired > 10 && rotated > 2 && revoked > 2, "{expired} {rotated} {revoked}");
        let budget = CleanupBudget::default().batch(batch);
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let preview = tokens.preview_cleanup(&policy(), &budget).unwrap();
        let report = tokens.cleanup(&policy(), &budget).unwrap();
        assert_eq!((report.expired, report.rotated, report.revoked), (expired, rotated, revoked), "batch of {batch}");
        assert_eq!((report.end, report.next), (Some(CleanupEnd::Complete), None));
        assert_eq!((preview.expired, preview.rotated, preview.revoked), (expired, rotated, revoked));
        let mut left: Vec<Uuid> = made.iter().filter(|row| row.due.is_none()).map(|row| row.id).collect();
        left.sort();
        assert_eq!(ids(&mut conn), left, "batch of {batch}");
    }
}

#[test]
fn a_preview_changes_nothing_and_waits_for_nobody() {
    let database = Database::migrated();
    let (mut holder, mut conn) = (database.connect(), database.connect());
    let made = fill(&mut conn);
    conn.batch_execute("SET lock_timeout = '5s'").unwrap();
    let report = holder
        .transaction(|holder| {
            holder.batch_execute("SELECT FROM refresh_tokens FOR UPDATE")?;
            let report =
                RefreshTokenRepository::new(&mut conn).preview_cleanup(&policy(), &CleanupBudget::default()).unwrap();
            QueryResult::Ok(report)
        })
        .unwrap();
    assert_eq!((report.expired, report.rotated, report.revoked), counts(&made));
    assert_eq!(ids(&mut conn).len(), made.len());
}

/// Told the longest lifetime, it does not look at what is too young.
#[test]
fn a_walk_ends_where_nothing_can_be_due() {
    let mut conn = connection();
    // Made ten days ago and rotated a day later, for 30 days and for 60.
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, created_at, rotated_to, rotated_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'h' || days || n, gen_random_uuid(),
             now() + interval '1 day' * (days - 10), now() - interval '10 days', gen_random_uuid(),
             now() - interval '9 days'
         FROM unnest(ARRAY[30, 60]) days, generate_series(1, 50) n;
         INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'young' || n, gen_random_uuid(), now() + interval '30 days'
         FROM generate_series(1, 100) n",
    )
    .unwrap();
    let budget = CleanupBudget::default().batch(10);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let within_30 = policy().longest_lifetime(TimeDelta::days(30));
    let report = tokens.cleanup(&within_30, &budget).unwrap();
    assert_eq!((report.rotated, report.batches, report.end), (50, 6, Some(CleanupEnd::Complete)));
    let report = tokens.cleanup(&policy(), &budget).unwrap();
    assert_eq!((report.rotated, report.batches, report.end), (50, 7, Some(CleanupEnd::Complete)));
}

/// What is due lies close together, with other rows between: the walk goes on from where a span ended, and no further.
#[test]
fn a_walk_passes_over_nothing() {
    let mut conn = connection();
    for distance in ["1 microsecond", "1 second"] {
        conn.batch_execute(&format!(
            "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, rotated_at)
             SELECT gen_random_uuid(), gen_random_uuid(), '{distance}' || n, gen_random_uuid(),
                 now() + interval '10 days' + n * interval '{distance}', gen_random_uuid(),
                 now() - interval '5 days' * (n % 3)
             FROM generate_series(1, 60) n"
        ))
        .unwrap();
        let report =
            RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &CleanupBudget::default().batch(4)).unwrap();
        assert_eq!((report.rotated, report.end), (20, Some(CleanupEnd::Complete)), "{distance}");
    }
}

/// Other software writes them for "always" and "never".
#[test]
fn instants_without_end_are_walked_over() {
    let mut conn = connection();
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, rotated_at)
         SELECT gen_random_uuid(), gen_random_uuid(), expires_at || n, gen_random_uuid(), expires_at::timestamptz,
             CASE WHEN n % 2 = 0 THEN gen_random_uuid() END, CASE WHEN n % 2 = 0 THEN now() - interval '8 days' END
         FROM unnest(ARRAY['-infinity', 'infinity']) expires_at, generate_series(1, 6) n",
    )
    .unwrap();
    let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &CleanupBudget::default().batch(2)).unwrap();
    assert_eq!((report.expired, report.rotated, report.end), (6, 3, Some(CleanupEnd::Complete)));
    assert_eq!(count(&mut conn), 3);
}

#[test]
fn a_row_budget_is_exact_and_another_run_goes_on() {
    let mut conn = connection();
    expired_rows(&mut conn, 95);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let mut budget = CleanupBudget::default().batch(20).max_rows(50);
    let report = tokens.cleanup(&policy(), &budget).unwrap();
    assert_eq!((report.expired, report.batches, report.end), (50, 3, Some(CleanupEnd::RowBudget)));
    budget = budget.resume_from(report.next.unwrap());
    let report = tokens.cleanup(&policy(), &budget).unwrap();
    assert_eq!((report.expired, report.end, report.next), (45, Some(CleanupEnd::Complete), None));
    assert_eq!(count(&mut conn), 0);
}

#[test]
fn a_callback_sees_each_batch_and_can_end_the_run() {
    let mut conn = connection();
    expired_rows(&mut conn, 100);
    let mut seen = Vec::new();
    let budget = CleanupBudget::default().batch(10);
    let report = RefreshTokenRepository::new(&mut conn)
        .cleanup_with(&policy(), &budget, |so_far| {
            assert_eq!(so_far.end, None);
            seen.push(so_far.tokens());
            if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(seen, [10, 20, 30]);
    assert_eq!((report.tokens(), report.end), (30, Some(CleanupEnd::Interrupted)));
    assert_eq!(count(&mut conn), 70);
}

#[test]
fn it_rests_between_two_batches_with_nothing_locked() {
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, 30);
    let began = Instant::now();
    let pause = Duration::from_millis(30);
    let mut observer = database.connect();
    observer.batch_execute("SET lock_timeout = '5s'").unwrap();
    let report = RefreshTokenRepository::new(&mut conn)
        .cleanup_with(&policy(), &CleanupBudget::default().batch(10).pause(pause), |so_far| {
            // What it has done is committed, and what it has not done is not locked.
            let left: Vec<Uuid> = dsl::refresh_tokens.select(dsl::id).for_update().load(&mut observer).unwrap();
            assert_eq!(left.len() as u64, 30 - so_far.tokens());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((report.batches, report.tokens()), (4, 30));
    assert!(began.elapsed() >= pause * 3, "{:?}", began.elapsed());
}

#[test]
fn in_a_callers_transaction_it_says_that_nothing_is_done_yet() {
    let mut conn = connection();
    expired_rows(&mut conn, 30);
    let rolled_back: Result<(), _> = conn.transaction(|conn| {
        // A rest would never end.
        let budget = CleanupBudget::default().batch(10).pause(Duration::from_secs(86_400));
        let report = RefreshTokenRepository::new(conn).cleanup(&policy(), &budget).unwrap();
        assert_eq!((report.expired, report.batches, report.durability), (30, 4, Durability::PendingYourCommit));
        assert_eq!(count(conn), 0);
        Err(diesel::result::Error::RollbackTransaction)
    });
    assert!(rolled_back.is_err());
    assert_eq!(count(&mut conn), 30);
    let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &CleanupBudget::default()).unwrap();
    assert_eq!(report.durability, Durability::Committed);
}

/// Not for what comes after it on the same connection, and not for what the host does in its own transaction.
#[test]
fn only_its_own_transactions_do_not_wait_for_the_disk() {
    let database = Database::migrated();
    let mut conn = database.connect();
    conn.batch_execute(
        "SET synchronous_commit = on;
         CREATE TABLE met (setting text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO met VALUES (current_setting('synchronous_commit'));
             RETURN NULL;
         END $$;
         CREATE TRIGGER note AFTER DELETE ON refresh_tokens FOR EACH STATEMENT EXECUTE FUNCTION note()",
    )
    .unwrap();
    let setting = |conn: &mut PgConnection, query: &str| {
        diesel::dsl::sql::<diesel::sql_types::Text>(query).get_result::<String>(conn).unwrap()
    };
    expired_rows(&mut conn, 10);
    RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &CleanupBudget::default()).unwrap();
    assert_eq!(setting(&mut conn, "SELECT string_agg(setting, ' ') FROM met"), "off");
    assert_eq!(setting(&mut conn, "SELECT current_setting('synchronous_commit')"), "on");
    expired_rows(&mut conn, 10);
    conn.transaction(|conn| {
        RefreshTokenRepository::new(conn).cleanup(&policy(), &CleanupBudget::default()).unwrap();
        assert_eq!(setting(conn, "SELECT current_setting('synchronous_commit')"), "on");
        QueryResult::Ok(())
    })
    .unwrap();
    assert_eq!(setting(&mut conn, "SELECT string_agg(setting, ' ') FROM met"), "off on");
}

left_out!(on other_tables: "it archives");
/// None goes twice, none is forgotten, nobody waits: without retries, a deadlock would be an error.
#[test]
fn any_number_of_workers_share_the_work() {
    const ROWS: u64 = 4_000;
    let database = Database::migrated();
    let mut conn = database.connect();
    expired_rows(&mut conn, i32::try_from(ROWS).unwrap());
    let config = database.config().max_connections(4).conflict_retries(0);
    let store = RefreshTokenStore::connect(database.url(), &config).unwrap();
    store.create_archive_partitions(0).unwrap();
    let budget = CleanupBudget::default().batch(50);
    let worker = |archives: bool| {
        let policy = if archives { policy().archive() } else { policy() };
        // Some rows may be locked by another one when the walk passes them.
        store.cleanup(&policy, &budget).unwrap().tokens()
    };
    let gone: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || worker(number % 2 == 0))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(gone + count(&mut conn), ROWS);
    assert!(gone > ROWS / 2, "{gone}");
    let rest = store.cleanup(&policy(), &budget).unwrap().tokens();
    assert_eq!((gone + rest, count(&mut conn)), (ROWS, 0));
}

left_out!(under serializable:
    "its schedule is one of READ COMMITTED: who waits there is rolled back here, and comes later");
/// A token that somebody rotates, or anything that somebody has locked, is left for the next time.
#[test]
fn invariant_9_clean_up_waits_for_no_lock() {
    let database = Database::migrated();
    let (mut holder, mut conn) = (database.connect(), database.connect());
    conn.batch_execute("SET lock_timeout = '5s'").unwrap();
    let made = fill(&mut conn);
    let due = made.iter().filter(|row| row.due.is_some());
    let held: Vec<Uuid> = due.clone().step_by(3).map(|row| row.id).collect();
    let free = due.count() - held.len();
    let live = create(&mut conn).token_hash;
    holder
        .transaction(|holder| {
            rotate(By::Library, holder, &live);
            let locked = dsl::refresh_tokens.filter(dsl::id.eq_any(&held)).select(dsl::id).for_update();
            assert_eq!(locked.load::<Uuid>(holder)?.len(), held.len());
            let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &CleanupBudget::default().batch(4));
            assert_eq!(report.unwrap().tokens(), free as u64);
            QueryResult::Ok(())
        })
        .unwrap();
    let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &CleanupBudget::default()).unwrap();
    assert_eq!(report.tokens(), held.len() as u64);
}

#[test]
fn times_out_of_range_are_refused_before_anything_is_read() {
    let database = Database::empty(); // there is no table
    let mut conn = database.connect();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let century = TimeDelta::days(36_500);
    let micro = TimeDelta::microseconds(1);
    for (policy, field, least_seconds) in [
        (RetentionPolicy::default().keep_expired_for(-micro), "keep_expired_for", 0),
        (RetentionPolicy::default().keep_expired_for(century + micro), "keep_expired_for", 0),
        (RetentionPolicy::default().keep_rotated_for(TimeDelta::hours(1) - micro), "keep_rotated_for", 3_600),
        (RetentionPolicy::default().keep_rotated_for(TimeDelta::MAX), "keep_rotated_for", 3_600),
        (RetentionPolicy::default().keep_revoked_for(-micro), "keep_revoked_for", 0),
        (RetentionPolicy::default().keep_cutoffs_for(TimeDelta::days(1) - micro), "keep_cutoffs_for", 86_400),
        (RetentionPolicy::default().keep_cutoffs_for(TimeDelta::MAX), "keep_cutoffs_for", 86_400),
    ] {
        let refused = Err(Error::from(InvalidInput::RetentionOutOfRange { field, least_seconds }));
        assert_eq!(tokens.cleanup(&policy, &CleanupBudget::default()), refused);
        assert_eq!(tokens.preview_cleanup(&policy, &CleanupBudget::default()), refused);
        assert_eq!(tokens.retention_backlog(&policy).map(drop), refused.map(drop));
    }
    for lifetime in [TimeDelta::zero(), TimeDelta::MAX] {
        let policy = RetentionPolicy::default().longest_lifetime(lifetime);
        let refused = Err(Error::from(InvalidInput::LifetimeOutOfRange { field: "longest_lifetime" }));
        assert_eq!(tokens.cleanup(&policy, &CleanupBudget::default()), refused);
    }
    assert_eq!(tokens.cleanup(&policy(), &CleanupBudget::default()), Err(Error::SchemaMissing));
    // The bounds themselves can be computed with.
    let mut conn = connection();
    let widest = RetentionPolicy::default()
        .keep_expired_for(century)
        .keep_rotated_for(century)
        .keep_revoked_for(century)
        .keep_cutoffs_for(century)
        .longest_lifetime(century);
    let report = RefreshTokenRepository::new(&mut conn).cleanup(&widest, &CleanupBudget::default().batch(u32::MAX));
    assert_eq!(report.unwrap().end, Some(CleanupEnd::Complete));
}
