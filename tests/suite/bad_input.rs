//! Bad input at the door, at random: every public constructor and verb with the strangest arguments, and on rows that
//! only other software would write. Never a panic, never a wrong `Ok`, and an error that has a name.
//!
//! More of it: `PROPTEST_CASES=100000`.

mod arguments;
mod rows;
mod settings;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use refresh_tokens::{Error, Result};
use uuid::Uuid;

/// So many, unless `PROPTEST_CASES` says otherwise.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

/// Runs a property on so many values, unless `PROPTEST_CASES` says otherwise.
fn holds<S: Strategy>(usual: u32, strategy: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases: cases(usual), failure_persistence: None, ..Config::default() };
    if let Err(error) = TestRunner::new(config).run(strategy, property) {
        panic!("{error}");
    }
}

/// What names what is wrong with the argument or with the row; and not what the server found wrong with a statement.
fn has_name(error: &Error) -> bool {
    match error {
        Error::Database { message } => message == "integer out of range",
        error => !error.is_transient() && *error != Error::SchemaMissing,
    }
}

fn uuid() -> impl Strategy<Value = Uuid> {
    prop_oneof![
        Just(Uuid::nil()),
        Just(Uuid::max()),
        (1_u128..6).prop_map(Uuid::from_u128),
        any::<u128>().prop_map(Uuid::from_u128)
    ]
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    let micros = any::<i64>().prop_map(|micros| DateTime::from_timestamp_micros(micros).unwrap_or_default());
    prop_oneof![
        Just(DateTime::<Utc>::MIN_UTC),
        Just(DateTime::<Utc>::MAX_UTC),
        Just(DateTime::UNIX_EPOCH),
        Just(refresh_tokens::MAX_EXPIRY),
        Just(refresh_tokens_support::doc::in_days(1)),
        Just(refresh_tokens_support::doc::in_days(-1)),
        micros,
    ]
}

fn delta() -> impl Strategy<Value = TimeDelta> {
    prop_oneof![
        Just(TimeDelta::MIN),
        Just(TimeDelta::MAX),
        Just(TimeDelta::zero()),
        Just(TimeDelta::nanoseconds(1)),
        Just(TimeDelta::days(36_500)),
        (0_i64..40_000).prop_map(TimeDelta::days),
        any::<i64>().prop_map(TimeDelta::nanoseconds),
    ]
}
