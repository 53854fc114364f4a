//! Each outcome of each verb, counted and told under its documented name.

use std::collections::BTreeSet;

use tracing::Level;

use crate::table::{self, Sighting};
use crate::watch::Watch;
use crate::{errors, exchange, upkeep};

fn missing<'a>(of: &'a BTreeSet<Sighting>, from: &'a BTreeSet<Sighting>) -> Vec<&'a Sighting> {
    of.difference(from).collect()
}

#[test]
fn each_outcome_of_each_verb_is_counted_and_told_under_its_documented_name() {
    let watch = Watch::new();
    watch.during(|| {
        exchange::drive();
        upkeep::drive();
    });
    let recorded = watch.recorded();
    let errors = table::errors();
    let is_no_error = |(_, outcome, _): &Sighting| !errors.contains_key(outcome);
    let counted: BTreeSet<Sighting> = recorded.sightings().into_iter().filter(is_no_error).collect();
    // What the janitor does is on a thread of its own: `janitor.rs` sees it.
    let documented: BTreeSet<Sighting> =
        table::outcomes().into_iter().filter(|(verb, ..)| verb != "janitor_run").collect();
    assert_eq!(missing(&documented, &counted), Vec::<&Sighting>::new(), "documented, and not counted");
    assert_eq!(missing(&counted, &documented), Vec::<&Sighting>::new(), "counted, and not documented");

    let events = watch.events();
    let sighting = |field: &dyn Fn(&str) -> String| (field("verb"), field("outcome"), field("class"));
    let told: BTreeSet<Sighting> =
        events.iter().map(|event| sighting(&|name| event.field(name).to_owned())).filter(is_no_error).collect();
    assert_eq!(told, documented, "an event for each");
    for event in &events {
        assert_eq!(event.target, "refresh_tokens");
        assert_eq!(event.within.as_deref(), Some(event.field("verb")), "it is in the span of its verb: {event:?}");
        assert_level(event.level, event.field("class"));
    }
    for (verb, ..) in &documented {
        let times = recorded.histogram("refresh_tokens_call_seconds", &[("verb", verb)]);
        assert!(!times.is_empty(), "{verb} has a time");
        assert!(times.iter().all(|seconds| (0.0..30.0).contains(seconds)), "in seconds: {times:?}");
    }
}

fn assert_level(level: Level, class: &str) {
    let allowed: &[Level] = match class {
        "done" => &[Level::DEBUG, Level::INFO],
        "refused" => &[Level::INFO],
        "alarm" | "transient" => &[Level::WARN],
        "failed" => &[Level::ERROR],
        other => panic!("no class: {other}"),
    };
    assert!(allowed.contains(&level), "{class} at {level}");
}

/// Reuse and a binding mismatch stand out, and say whose they are.
#[test]
fn warnings_are_what_a_human_should_look_at() {
    let watch = Watch::new();
    watch.during(exchange::drive);
    let warned: Vec<_> = watch.events().into_iter().filter(|event| event.level == Level::WARN).collect();
    let outcomes: BTreeSet<&str> = warned.iter().map(|event| event.field("outcome")).collect();
    let expected =
        ["binding_mismatch", "reused", "reused_successor_unused", "reused_successor_used", "reused_session_ended"];
    assert_eq!(outcomes, BTreeSet::from(expected));
    for event in &warned {
        for id in ["token_id", "session_id", "user_id", "org_id"] {
            assert!(uuid::Uuid::parse_str(event.field(id)).is_ok(), "{id} of {event:?}");
        }
    }
    assert!(!watch.events().iter().any(|event| event.level == Level::ERROR), "no error among them");
}

#[test]
fn each_error_is_counted_and_told_under_its_documented_name() {
    let watch = Watch::new();
    let met = watch.during(errors::drive);
    let documented = table::errors();
    let recorded = watch.recorded();
    for (verb, outcome) in &met {
        let class = documented.get(*outcome).unwrap_or_else(|| panic!("{outcome} is documented"));
        let labels = [("verb", *verb), ("outcome", *outcome), ("class", class.as_str())];
        assert!(recorded.counter("refresh_tokens_calls_total", &labels) > 0, "{labels:?} in {recorded:?}");
        let told = watch.events().into_iter().any(|event| {
            assert_level(event.level, event.field("class"));
            let is_it = event.field("verb") == *verb && event.field("outcome") == *outcome;
            assert!(!is_it || !event.field("error").is_empty(), "with what it says: {event:?}");
            is_it
        });
        assert!(told, "{verb} {outcome}");
    }
    let met: BTreeSet<&str> = met.iter().map(|(_, outcome)| *outcome).collect();
    // No test can take the randomness from the operating system, nor log in faster than a hundred passes revoke; and the
    // suite has tests of its own for servers, disks, roles and poolers that these come from.
    let elsewhere = [
        "busy_new_tokens",
        "commit_unknown",
        "disk_full",
        "randomness_unavailable",
        "permission_denied",
        "read_only",
        "transaction_pooler",
        "missing_timeouts",
    ];
    let left: BTreeSet<&str> = documented.keys().map(String::as_str).filter(|name| !met.contains(name)).collect();
    assert_eq!(left, BTreeSet::from(elsewhere));
}
