//! Which of its outcomes a call is counted under: one call at a time.

use std::ops::ControlFlow;
use std::time::Duration;

use refresh_tokens::{Binding, CleanupBudget, RefreshTokenRepository, RetentionPolicy};
use refresh_tokens_support::doc::{fresh_hash, successor};
use refresh_tokens_support::race;

use crate::scene::Scene;
use crate::watch::Watch;

/// The one outcome that was counted while `work` ran.
#[track_caller]
fn counted(scene: &mut Scene, work: impl FnOnce(&mut RefreshTokenRepository<'_>)) -> String {
    let watch = Watch::new();
    watch.during(|| work(&mut scene.tokens()));
    let sightings: Vec<_> = watch.recorded().sightings().into_iter().collect();
    let [(_, outcome, _)] = &sightings[..] else { panic!("one call: {sightings:?}") };
    outcome.clone()
}

#[test]
fn a_look_up_is_counted_as_what_it_found() {
    let mut scene = Scene::new();
    let token = scene.create();
    for (hash, expected) in [(&token.token_hash, "found"), (&fresh_hash(), "none")] {
        let look_up = |tokens: &mut RefreshTokenRepository<'_>| drop(tokens.get_by_hash(hash).unwrap());
        assert_eq!(counted(&mut scene, look_up), expected);
        let look_up =
            |tokens: &mut RefreshTokenRepository<'_>| drop(tokens.get_valid_by_hash(hash, Binding::ANY).unwrap());
        assert_eq!(counted(&mut scene, look_up), expected);
    }
    let next = successor();
    for (reused, exchanged) in [("none", "rotated"), ("reused", "repeated")] {
        let is_reused = |tokens: &mut RefreshTokenRepository<'_>| {
            tokens.check_token_reuse(&token.token_hash).unwrap();
        };
        assert_eq!(counted(&mut scene, is_reused), reused);
        let rotate = |tokens: &mut RefreshTokenRepository<'_>| {
            let _ = tokens.rotate(&token.token_hash, &next, Binding::ANY).unwrap();
        };
        assert_eq!(counted(&mut scene, rotate), exchanged);
    }
}

#[test]
fn a_revocation_is_counted_as_what_it_ended() {
    let mut scene = Scene::new();
    let [spent, live, session] = [(); 3].map(|()| scene.create());
    let _ = scene.tokens().rotate(&spent.token_hash, &successor(), Binding::ANY).unwrap();
    for (token, expected) in [(&spent, "session_continues"), (&live, "session_ended"), (&live, "unchanged")] {
        let revoke = |tokens: &mut RefreshTokenRepository<'_>| {
            let _ = tokens.revoke(token.id).unwrap();
        };
        assert_eq!(counted(&mut scene, revoke), expected);
    }
    for expected in ["revoked", "nothing"] {
        let revoke = |tokens: &mut RefreshTokenRepository<'_>| {
            tokens.revoke_session(session.session_id).unwrap();
        };
        assert_eq!(counted(&mut scene, revoke), expected);
    }
}

#[test]
fn a_clean_up_is_counted_as_what_ended_it() {
    let mut scene = Scene::new();
    scene.expired_rows(10);
    let budget = CleanupBudget::default().batch(1);
    let ends: [(&str, CleanupBudget, ControlFlow<()>); 4] = [
        ("row_budget", budget.clone().max_rows(1), ControlFlow::Continue(())),
        ("time_budget", budget.clone().max_time(Duration::ZERO), ControlFlow::Continue(())),
        ("interrupted", budget.clone(), ControlFlow::Break(())),
        ("complete", budget, ControlFlow::Continue(())),
    ];
    for (expected, budget, goes_on) in ends {
        let clean_up = |tokens: &mut RefreshTokenRepository<'_>| {
            tokens.cleanup_with(&RetentionPolicy::default(), &budget, |_| goes_on).unwrap();
        };
        assert_eq!(counted(&mut scene, clean_up), expected);
    }
}

#[test]
fn work_on_the_archive_is_counted_as_what_it_did() {
    let mut scene = Scene::new();
    for expected in ["prepared", "nothing"] {
        assert_eq!(counted(&mut scene, |tokens| drop(tokens.create_archive_partitions(0).unwrap())), expected);
    }
    scene.sql(
        "CREATE TABLE past PARTITION OF refresh_tokens_archive
             FOR VALUES FROM ('2001-01-01 00:00:00+00') TO ('2001-02-01 00:00:00+00')",
    );
    let now = race::now(&mut scene.conn);
    for expected in ["dropped", "nothing"] {
        assert_eq!(counted(&mut scene, |tokens| drop(tokens.drop_archived_before(now).unwrap())), expected);
    }
}
