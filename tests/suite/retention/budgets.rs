//! Where a budget of time ends a run, and what a batch may be.

use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use refresh_tokens::{CleanupBudget, CleanupEnd, JanitorConfig, RefreshTokenRepository};
use refresh_tokens_support::doc::connection;

use super::policy;
use super::rows::{count, expired_rows};

const NEVER: Duration = Duration::from_secs(86_400);

#[test]
fn a_time_budget_ends_a_run_between_two_batches() {
    let mut conn = connection();
    expired_rows(&mut conn, 50);
    // One that is over makes a batch, and does not rest after it.
    let over = CleanupBudget::default().batch(20).max_time(Duration::ZERO).pause(NEVER);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let report = tokens.cleanup(&policy(), &over).unwrap();
    assert_eq!((report.expired, report.batches, report.end), (20, 1, Some(CleanupEnd::TimeBudget)));
    assert!(report.next.is_some());
    assert_eq!(count(&mut conn), 30);
    // One that is not over ends nothing.
    let long = CleanupBudget::default().batch(20).max_time(NEVER);
    let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &long).unwrap();
    assert_eq!((report.expired, report.batches, report.end), (30, 2, Some(CleanupEnd::Complete)));
}

/// It is over while the third batch is made: the run rests before that, and begins no fourth one.
#[test]
fn a_time_budget_that_ends_within_a_run_ends_it_there() {
    let mut conn = connection();
    expired_rows(&mut conn, 50);
    let most = Duration::from_secs(3);
    let budget = CleanupBudget::default().batch(10).max_time(most).pause(Duration::from_millis(1));
    let (mut batches, mut first_ended) = (0, None);
    let (_nobody_tells, never) = channel::<()>();
    let report = RefreshTokenRepository::new(&mut conn)
        .cleanup_with(&policy(), &budget, |_| {
            batches += 1;
            let since: &mut Instant = first_ended.get_or_insert_with(Instant::now);
            if batches == 3 {
                // The run began before that.
                let _ = never.recv_timeout(most.saturating_sub(since.elapsed()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((report.expired, report.batches, report.end), (30, 3, Some(CleanupEnd::TimeBudget)));
    let rest = budget.resume_from(report.next.unwrap()).max_time(NEVER);
    let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &rest).unwrap();
    assert_eq!((report.expired, report.end), (20, Some(CleanupEnd::Complete)));
}

#[test]
fn a_batch_is_never_empty_and_never_larger_than_the_largest() {
    let mut conn = connection();
    expired_rows(&mut conn, 10_001);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let mut taken = Vec::new();
    let report = tokens
        .cleanup_with(&policy(), &CleanupBudget::default().batch(u32::MAX), |so_far| {
            taken.push(so_far.expired);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((taken, report.end), (vec![10_000, 10_001], Some(CleanupEnd::Complete)));
    expired_rows(&mut conn, 2);
    let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &CleanupBudget::default().batch(0)).unwrap();
    assert_eq!((report.expired, report.end), (2, Some(CleanupEnd::Complete)));
}

/// Each setter says what it is without it.
#[test]
fn a_janitor_runs_by_the_documented_defaults() {
    let documented = JanitorConfig::default()
        .interval(Duration::from_secs(5 * 60))
        .jitter(Duration::from_secs(60))
        .budget(CleanupBudget::gentle().max_time(Duration::from_secs(2 * 60)))
        .months_ahead(2);
    assert_eq!(format!("{:?}", JanitorConfig::default()), format!("{documented:?}"));
}
