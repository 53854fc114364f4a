//! Names, kinds and labels of everything that is recorded, and the figures in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use diesel::prelude::*;
use refresh_tokens::{
    Binding, Error, GroupConfig, GroupRotator, Janitor, JanitorConfig, OnReuse, RefreshTokenStore, RetentionPolicy,
    StoreConfig, observe,
};
use refresh_tokens_support::doc::{store, successor};

use crate::scene::Scene;
use crate::table;
use crate::watch::Watch;
use crate::{exchange, upkeep};

/// The closure meets one conflict, which its transaction is run again for.
fn meet_a_conflict(store: &RefreshTokenStore) {
    let mut attempts = 0;
    let outcome = store.transaction(|_| {
        attempts += 1;
        if attempts == 1 { Err(Error::Conflict) } else { Ok(()) }
    });
    assert_eq!((outcome, attempts), (Ok(()), 2));
}

#[test]
fn every_metric_is_as_the_table_says() {
    let watch = Watch::new();
    let scene = Scene::new();
    let store = store(&scene.database);
    let group = GroupRotator::new(store.clone(), &GroupConfig::default());
    let later = JanitorConfig::default().jitter(Duration::from_secs(u64::from(u32::MAX)));
    let janitor = Janitor::start(store.clone(), RetentionPolicy::default(), later).unwrap();
    watch.during(|| {
        observe::describe();
        exchange::drive();
        upkeep::drive();
        meet_a_conflict(&store);
        observe::record_pool(&store, "main");
        observe::record_group(&group, "main");
        observe::record_janitor(&janitor);
    });
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for series in watch.recorded().0 {
        assert!(series.is_described, "describe() knows {}", series.name);
        let (kind, labels) = (series.kind().to_owned(), series.labels.into_keys().collect());
        let before = found.insert(series.name.clone(), (kind.clone(), BTreeSet::clone(&labels)));
        assert!(
            before.is_none_or(|before| before == (kind, labels)),
            "{} has one kind, and one set of labels",
            series.name
        );
    }
    assert_eq!(found, table::metrics());
}

#[test]
fn a_conflict_is_counted_as_an_attempt_and_as_a_retry() {
    let watch = Watch::new();
    let scene = Scene::new();
    let store = store(&scene.database);
    watch.during(|| meet_a_conflict(&store));
    let recorded = watch.recorded();
    assert_eq!(recorded.counter("refresh_tokens_conflict_retries_total", &[]), 1);
    for outcome in ["conflict", "done"] {
        let labels = [("verb", "transaction"), ("outcome", outcome)];
        assert_eq!(recorded.counter("refresh_tokens_calls_total", &labels), 1, "{outcome}");
    }
}

#[test]
fn a_call_of_the_stores_is_counted_once() {
    let watch = Watch::new();
    let mut scene = Scene::new();
    let token = scene.create();
    let store = store(&scene.database);
    let outcome = watch.during(|| store.rotate(&token.token_hash, &successor(), Binding::ANY)).unwrap();
    let made = outcome.successor().unwrap();
    let recorded = watch.recorded();
    let sightings = recorded.sightings();
    assert_eq!(sightings.len(), 1, "{sightings:?}");
    let labels = [("verb", "rotate"), ("outcome", "rotated"), ("class", "done")];
    assert_eq!(recorded.counter("refresh_tokens_calls_total", &labels), 1);
    assert_eq!(recorded.histogram("refresh_tokens_call_seconds", &[("verb", "rotate")]).len(), 1);
    assert_eq!(recorded.histogram("refresh_tokens_pool_wait_seconds", &[]).len(), 1);

    let reports = watch.reports();
    let [span, event] = reports.as_slice() else { panic!("a span and an event: {reports:?}") };
    assert_eq!((span.is_span, span.field("verb"), span.field("otel.name")), (true, "rotate", "rotate"));
    assert_eq!((event.field("verb"), event.field("outcome")), ("rotate", "rotated"));
    let ids = ["token_id", "session_id", "user_id", "org_id"].map(|name| event.field(name).to_owned());
    assert_eq!(ids, [made.id, token.session_id, token.user_id, token.active_org_id].map(|id| id.to_string()));
}

/// The ids that the caller gives are on the span, also where the outcome knows none.
#[test]
fn a_span_has_the_ids_of_its_call() {
    let watch = Watch::new();
    let mut scene = Scene::new();
    let token = scene.create();
    watch.during(|| {
        let mut tokens = scene.tokens();
        tokens.revoke_all_for_user_except(token.user_id, token.id).unwrap();
        tokens.revoke_all_for_user_except_session(token.user_id, token.session_id).unwrap();
        tokens.revoke_all_for_user_in_org(token.user_id, token.active_org_id).unwrap();
        let binding = Binding::user(token.user_id).org(token.active_org_id);
        tokens.get_valid_by_hash(&token.token_hash, binding).unwrap();
    });
    let spans: Vec<_> = watch.reports().into_iter().filter(|report| report.is_span).collect();
    let ids = |name: &str| spans.iter().map(|span| span.field(name).to_owned()).collect::<Vec<_>>();
    let [token_id, session_id] = [token.id, token.session_id].map(|id| id.to_string());
    let [user_id, org_id] = [token.user_id, token.active_org_id].map(|id| id.to_string());
    assert_eq!(ids("token_id"), [&*token_id, "", "", ""]);
    assert_eq!(ids("session_id"), ["", &*session_id, "", ""]);
    assert_eq!(ids("user_id"), [&*user_id, &*user_id, &*user_id, &*user_id]);
    assert_eq!(ids("org_id"), ["", "", &*org_id, &*org_id]);
}

#[test]
fn receipts_are_added_up() {
    let watch = Watch::new();
    let mut scene = Scene::new();
    let first = scene.create();
    scene.create_for(first.user_id);
    let stolen = scene.create();
    watch.during(|| {
        let mut tokens = scene.tokens();
        let _ = tokens.rotate(&first.token_hash, &successor(), Binding::ANY).unwrap();
        tokens.revoke_all_for_user(first.user_id).unwrap();
        for _ in 0..2 {
            let redeemed = tokens.redeem(&stolen.token_hash, &successor(), Binding::ANY, OnReuse::RevokeSession);
            let _ = redeemed.unwrap();
        }
    });
    let recorded = watch.recorded();
    for (verb, tokens, sessions) in [("revoke_all_for_user", 3, 2), ("redeem", 2, 1)] {
        assert_eq!(recorded.counter("refresh_tokens_revoked_tokens_total", &[("verb", verb)]), tokens, "{verb}");
        assert_eq!(recorded.counter("refresh_tokens_ended_sessions_total", &[("verb", verb)]), sessions, "{verb}");
    }
    let figures: Vec<_> = watch.events().into_iter().filter(|event| !event.field("figures").is_empty()).collect();
    assert_eq!(figures[0].field("figures"), "3 tokens revoked, 2 of them live; 2 sessions ended");
}

#[test]
fn gauges_show_the_pool_and_the_backlog() {
    let watch = Watch::new();
    let mut scene = Scene::new();
    scene.expired_rows(7);
    scene.sql("ANALYZE refresh_tokens");
    let store = RefreshTokenStore::connect(scene.database.url(), &StoreConfig::default().max_connections(3)).unwrap();
    watch.during(|| {
        let backlog = store.retention_backlog(&RetentionPolicy::default()).unwrap();
        assert_eq!(backlog.expired_counted, 7);
        let held = store.pool().get().unwrap();
        observe::record_pool(&store, "main");
        drop(held);
    });
    let recorded = watch.recorded();
    let gauge = |name: &str, labels: &[(&str, &str)]| recorded.gauge(name, labels);
    let counted = gauge("refresh_tokens_retention_overdue_tokens", &[("kind", "expired_counted")]);
    assert_eq!(counted.to_bits(), 7.0_f64.to_bits());
    let days_behind = gauge("refresh_tokens_retention_behind_seconds", &[]) / 86_400.0;
    assert!((29.0..31.0).contains(&days_behind), "expired 60 days ago, and kept for 30: {days_behind}");
    assert!(gauge("refresh_tokens_table_bytes", &[]) > 0.0 && gauge("refresh_tokens_index_bytes", &[]) > 0.0);
    let pool = ["connections", "idle_connections", "max_connections"]
        .map(|what| gauge(&format!("refresh_tokens_pool_{what}"), &[("pool", "main")]));
    let [connections, idle, most] = pool;
    assert_eq!(most.to_bits(), 3.0_f64.to_bits());
    assert!(connections >= 1.0 && idle <= connections - 1.0, "one is in use: {pool:?}");
}

#[test]
fn what_clean_up_took_is_counted_by_kind() {
    let watch = Watch::new();
    let mut scene = Scene::new();
    scene.expired_rows(5);
    let spent = scene.create();
    let _ = scene.tokens().rotate(&spent.token_hash, &successor(), Binding::ANY).unwrap();
    diesel::sql_query("UPDATE refresh_tokens SET rotated_at = now() - interval '9 days' WHERE rotated_to IS NOT NULL")
        .execute(&mut scene.conn)
        .unwrap();
    let policy = RetentionPolicy::default().keep_rotated_for(chrono::TimeDelta::days(7));
    watch.during(|| {
        scene.tokens().preview_cleanup(&policy, &refresh_tokens::CleanupBudget::default()).unwrap();
        scene.tokens().cleanup(&policy, &refresh_tokens::CleanupBudget::default()).unwrap();
    });
    let recorded = watch.recorded();
    for (verb, kind, rows) in [
        ("cleanup", "expired", 5),
        ("cleanup", "rotated", 1),
        ("cleanup", "revoked", 0),
        ("preview_cleanup", "expired", 0),
    ] {
        let labels = [("verb", verb), ("kind", kind)];
        assert_eq!(recorded.counter("refresh_tokens_cleaned_rows_total", &labels), rows, "{labels:?}");
    }
}
