//! Settings of any size: each is taken, bounded or refused by name.

use std::time::Duration;

use diesel::dsl::{select, sql};
use diesel::prelude::*;
use diesel::sql_types::Text;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use refresh_tokens::{
    Binding, CleanupBudget, Error, GroupConfig, GroupRotator, InvalidInput, Janitor, JanitorConfig, Pepper, Peppers,
    RefreshTokenRepository, RefreshTokenStore, RetentionPolicy, Rotation, SessionLimit, SessionPolicy, SessionService,
    Wait,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::database::{THROUGH_PGBOUNCER, is_serializable};
use refresh_tokens_support::doc::{new_token, store, successor};

use super::{delta, has_name, holds};
use crate::common::is_valid;

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(Duration::MAX),
        Just(Duration::from_secs(u64::MAX)),
        any::<u64>().prop_map(Duration::from_millis),
    ]
}

/// A wait that is longer than this does not end on a busy machine either: who says that it did is wrong.
const SOON: Duration = Duration::from_secs(10);

/// Short enough for a test that waits for it.
fn short() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), Just(Duration::from_nanos(1)), Just(Duration::from_millis(20))]
}

/// PostgreSQL writes 0 for a wait that does not end.
const BOUNDS: &str = "current_setting('lock_timeout') || ' ' || current_setting('statement_timeout')";

#[test]
fn a_store_of_any_settings_works_or_says_that_a_wait_was_too_short() {
    let database = Database::migrated();
    let waits = (duration(), duration(), duration());
    let numbers = (prop_oneof![Just(0_u32), Just(1), Just(u32::MAX)], any::<u32>());
    holds(24, &(waits, numbers), |((pool, lock, statement), (connections, retries))| {
        let config = database
            .config()
            .max_connections(connections.min(1_000))
            .pool_timeout(pool)
            .lock_timeout(lock)
            .statement_timeout(statement)
            .conflict_retries(retries);
        let bounds = RefreshTokenStore::connect(database.url(), &config).and_then(|store| {
            let token = store.create(&new_token())?;
            let found = store.get_by_hash(&token.token_hash)?;
            assert_eq!(found, Some(token), "what it says that it has made is there");
            store.transaction(|tx| Ok(select(sql::<Text>(BOUNDS)).get_result::<String>(tx.connection())?))
        });
        let is_explained = |error: &Error| match error {
            Error::PoolExhausted { .. } | Error::Unreachable { .. } => pool < SOON,
            Error::Busy(Wait::Lock) => lock < SOON,
            Error::Busy(Wait::Statement) => statement < SOON,
            // Through PgBouncer, it is told which bounds are the server's to set.
            Error::MissingTimeouts(_) => std::env::var_os(THROUGH_PGBOUNCER).is_some(),
            _ => false,
        };
        match &bounds {
            Ok(bounds) => prop_assert!(!bounds.split(' ').any(|bound| bound == "0"), "unbounded: {config:?}: {bounds}"),
            Err(error) => prop_assert!(is_explained(error), "{config:?}: {error:?}"),
        }
        Ok(())
    });
}

/// More than there may be connections or places for.
const CALLERS: usize = 4;

#[test]
fn a_group_of_any_settings_works_or_says_which_wait_was_too_short() {
    let database = Database::migrated();
    let store = store(&database);
    let sizes = prop_oneof![Just(0_usize), Just(1), Just(usize::MAX), any::<usize>()];
    holds(48, &((sizes.clone(), sizes.clone(), sizes), duration()), |((connections, batch, queue), wait)| {
        let config =
            GroupConfig::default().connections(connections).max_batch(batch).max_queue(queue).queue_timeout(wait);
        let group = GroupRotator::new(store.clone(), &config);
        let tokens: Vec<_> = (0..CALLERS).map(|_| store.create(&new_token()).unwrap().token_hash).collect();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let rotate = |token| group.rotate(token, &successor(), Binding::ANY);
            let callers: Vec<_> = tokens.iter().map(|token| scope.spawn(move || rotate(token))).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        for (token, outcome) in tokens.iter().zip(&outcomes) {
            let is_explained = match outcome {
                Ok(rotation) => matches!(rotation, Rotation::Rotated(_)),
                Err(Error::QueueFull { max }) => *max == queue && queue < CALLERS,
                Err(Error::Busy(Wait::Queue)) => wait < SOON,
                Err(Error::Conflict) => is_serializable(),
                Err(_) => false,
            };
            prop_assert!(is_explained, "{config:?}: {outcome:?}");
            prop_assert_eq!(is_valid(&database, token), outcome.is_err(), "{:?}: {:?}", config, outcome);
        }
        prop_assert_eq!(group.waiting(), 0);
        group.shutdown();
        Ok(())
    });
}

#[test]
fn clean_up_of_any_policy_and_budget_cleans_up_or_names_what_is_wrong() {
    let database = Database::migrated();
    let conn = std::cell::RefCell::new(database.connect());
    let keeps = (delta(), proptest::option::of(delta()), proptest::option::of(delta()));
    let others = (proptest::option::of(delta()), proptest::option::of(delta()));
    let budget = (any::<u32>(), proptest::option::of(any::<u64>()), proptest::option::of(duration()), duration());
    holds(192, &(keeps, others, budget), |((expired, rotated, revoked), (longest, cutoffs), budget)| {
        let mut policy = RetentionPolicy::default().keep_expired_for(expired);
        policy = rotated.into_iter().fold(policy, RetentionPolicy::keep_rotated_for);
        policy = revoked.into_iter().fold(policy, RetentionPolicy::keep_revoked_for);
        policy = longest.into_iter().fold(policy, RetentionPolicy::longest_lifetime);
        policy = cutoffs.into_iter().fold(policy, RetentionPolicy::keep_cutoffs_for);
        let (batch, rows, time, pause) = budget;
        let mut budget = CleanupBudget::default().batch(batch).pause(pause);
        budget = rows.into_iter().fold(budget, CleanupBudget::max_rows);
        budget = time.into_iter().fold(budget, CleanupBudget::max_time);
        let mut conn = conn.borrow_mut();
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let live = tokens.create(&new_token()).unwrap();
        for outcome in [
            tokens.preview_cleanup(&policy, &budget).map(drop),
            tokens.retention_backlog(&policy).map(drop),
            tokens.cleanup(&policy, &budget).map(drop),
        ] {
            let is_named = outcome.as_ref().err().is_none_or(|error| matches!(error, Error::InvalidInput(_)));
            prop_assert!(is_named, "{policy:?}: {outcome:?}");
        }
        let is_there = tokens.get_valid_by_hash(&live.token_hash, Binding::ANY).unwrap().is_some();
        prop_assert!(is_there, "a live token is gone: {policy:?}");
        Ok(())
    });
}

#[test]
fn a_janitor_of_any_settings_starts_and_stops() {
    let database = Database::migrated();
    let store = store(&database);
    holds(24, &(duration(), duration(), short(), any::<u32>()), |(interval, jitter, pause, months)| {
        let budget = CleanupBudget::default().pause(pause).max_time(pause);
        let config = JanitorConfig::default().interval(interval).jitter(jitter).budget(budget).months_ahead(months);
        let janitor = Janitor::start(store.clone(), RetentionPolicy::default(), config).unwrap();
        janitor.run_now();
        let is_over = || janitor.statistics().runs > 0 || !janitor.is_alive();
        refresh_tokens_support::race::wait_until_that("a run, or the janitor's end", is_over);
        prop_assert!(janitor.is_alive(), "interval {interval:?}, jitter {jitter:?}");
        janitor.stop();
        Ok(())
    });
}

#[test]
fn a_service_of_any_policy_starts_or_names_what_is_wrong_and_never_issues_what_is_dead() {
    let database = Database::migrated();
    let store = store(&database);
    let lengths = (delta(), delta(), delta());
    let limit = proptest::option::of((any::<bool>(), prop_oneof![Just(0_u32), Just(1), Just(u32::MAX)]));
    holds(96, &(lengths, limit), |((idle, absolute, grace), limit)| {
        let mut policy = SessionPolicy::default().idle_lifetime(idle).absolute_lifetime(absolute).grace(grace);
        if let Some((is_end, max)) = limit {
            policy =
                policy.session_limit(if is_end { SessionLimit::end_oldest(max) } else { SessionLimit::refuse(max) });
        }
        let peppers = Peppers::new(Pepper::new(1, &[7; 32]).unwrap());
        let service = match SessionService::new(store.clone(), peppers, policy.clone()) {
            Ok(service) => service,
            Err(InvalidInput::LifetimeOutOfRange { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
        };
        let login = refresh_tokens::Login::new(uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        match service.start_session(&login) {
            Ok(issued) => prop_assert!(issued.token.expires_at > issued.token.created_at, "{policy:?}"),
            Err(error) => prop_assert!(has_name(&error), "{policy:?}: {error:?}"),
        }
        Ok(())
    });
}

#[test]
fn a_pepper_of_any_bytes_is_taken_or_too_short() {
    holds(256, &(any::<u16>(), proptest::collection::vec(any::<u8>(), 0..200)), |(id, key)| {
        prop_assert_eq!(Pepper::new(id, &key).is_ok(), key.len() >= Pepper::MIN_LENGTH);
        Ok(())
    });
}
