//! Names, kinds and labels of everything that is recorded, and the figures in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use diesel::prelude::*;
use refresh_tokens::{
    Binding, Error, GroupConfig, GroupRotator, Janitor, JanitorConfig, OnReuse, RefreshTokenStore, RetentionPolicy,
    StoreConfig, TokenRevocation, observe,
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
    let [ended, goes_on] = [scene.create(), scene.create()];
    watch.during(|| {
        let mut tokens = scene.tokens();
        let _ = tokens.rotate(&goes_on.token_hash, &successor(), Binding::ANY).unwrap();
        assert_eq!(
            tokens.revoke(goes_on.id).unwrap(),
            TokenRevocation::SessionContinues { session_id: goes_on.session_id }
        );
        let by_hash = tokens.revoke_by_hash(&ended.token_hash);
        assert_eq!(by_hash, Ok(TokenRevocation::SessionEnded { session_id: ended.session_id }));
        let _ = tokens.rotate(&first.token_hash, &successor(), Binding::ANY).unwrap();
        tokens.revoke_all_for_user(first.user_id).unwrap();
        for _ in 0..2 {
            let redeemed = tokens.redeem(&stolen.token_hash, &successor(), Binding::ANY, OnReuse::RevokeSession);
            let _ = redeemed.unwrap();
        }
    });
    let recorded = watch.recorded();
    // A session that goes on has not ended.
    let expected = [("revoke", 1, 0), ("revoke_by_hash", 1, 1), ("revoke_all_for_user", 3, 2), ("redeem", 2, 1)];
    for (verb, tokens, sessions) in expected {
        assert_eq!(recorded.counter("refresh_tokens_revoked_tokens_total", &[("verb", verb)]), tokens, "{verb}");
        assert_eq!(recorded.counter("refresh_tokens_ended_sessions_total", &[("verb", verb)]), sessions, "{verb}");
    }
    let figures: Vec<_> = watch.events().into_iter().filter(|event| !event.field("figures").is_empty()).collect();
    let figures: Vec<&str> = figures.iter().map(|event| event.field("figures")).collect();
    assert_eq!(
        figures,
        [
            "1 token revoked, 0 of them live; 0 sessions ended",
            "1 token revoked, 1 of them live; 1 session ended",
            "3 tokens revoked, 2 of them live; 2 sessions ended",
            "2 tokens revoked, 1 of them live; 1 session ended",
        ]
    );
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

/// Each figure of the backlog under its own name.
#[test]
fn gauges_show_each_figure_of_the_backlog() {
    let watch = Watch::new();
    let mut scene = Scene::new();
    scene.sql(
        "ALTER TABLE refresh_tokens SET (autovacuum_enabled = off);
         INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, rotated_at, revoked_at)
         SELECT gen_random_uuid(), gen_random_uuid(), n::text, gen_random_uuid(), now() + interval '20 days',
             CASE WHEN n <= 3000 THEN gen_random_uuid() END, CASE WHEN n <= 3000 THEN now() - interval '9 days' END,
             CASE WHEN n > 3000 AND n <= 4000 THEN now() - interval '9 days' END
         FROM generate_series(1, 6000) n",
    );
    scene.expired_rows(500);
    scene.sql("ANALYZE refresh_tokens");
    let days = chrono::TimeDelta::days;
    let policy = RetentionPolicy::default().keep_rotated_for(days(7)).keep_revoked_for(days(7));
    let backlog = watch.during(|| scene.tokens().retention_backlog(&policy)).unwrap();
    let recorded = watch.recorded();
    let overdue = |kind| recorded.gauge("refresh_tokens_retention_overdue_tokens", &[("kind", kind)]);
    let figures = [
        ("expired_counted", overdue("expired_counted"), backlog.expired_counted),
        ("expired", overdue("expired"), backlog.expired_estimate),
        ("rotated", overdue("rotated"), backlog.rotated_estimate),
        ("revoked", overdue("revoked"), backlog.revoked_estimate),
        ("rows", recorded.gauge("refresh_tokens_table_rows", &[]), backlog.table_rows),
        ("dead rows", recorded.gauge("refresh_tokens_table_dead_rows", &[]), backlog.dead_rows),
        ("table", recorded.gauge("refresh_tokens_table_bytes", &[]), backlog.table_bytes),
        ("indexes", recorded.gauge("refresh_tokens_index_bytes", &[]), backlog.index_bytes),
    ];
    for (name, shown, figure) in figures {
        assert_eq!(format!("{shown}"), figure.to_string(), "{name}");
    }
    let distinct = [backlog.rotated_estimate, backlog.revoked_estimate, backlog.table_rows, backlog.table_bytes];
    assert_eq!(BTreeSet::from(distinct).len(), 4, "none can stand for another one: {backlog:?}");
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
    scene.sql(
        "INSERT INTO refresh_token_cutoffs (user_id, org_id, revoked_at)
         SELECT gen_random_uuid(), gen_random_uuid(), now() - interval '9 days' FROM generate_series(1, 3)",
    );
    let days = chrono::TimeDelta::days;
    let policy = RetentionPolicy::default().keep_rotated_for(days(7)).keep_cutoffs_for(days(7));
    watch.during(|| {
        scene.tokens().preview_cleanup(&policy, &refresh_tokens::CleanupBudget::default()).unwrap();
        scene.tokens().cleanup(&policy, &refresh_tokens::CleanupBudget::default()).unwrap();
    });
    let recorded = watch.recorded();
    for (verb, kind, rows) in [
        ("cleanup", "expired", 5),
        ("cleanup", "rotated", 1),
        ("cleanup", "revoked", 0),
        ("cleanup", "cutoff", 3),
        ("preview_cleanup", "expired", 0),
    ] {
        let labels = [("verb", verb), ("kind", kind)];
        assert_eq!(recorded.counter("refresh_tokens_cleaned_rows_total", &labels), rows, "{labels:?}");
    }
}
