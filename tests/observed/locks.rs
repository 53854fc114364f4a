//! Waits: for a lock, for a connection, for a place in a group.

use std::collections::BTreeSet;
use std::thread;

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error as PoolError, Pool};
use refresh_tokens::{Binding, GroupConfig, GroupRotator, RefreshToken, RefreshTokenRepository, RefreshTokenStore};
use refresh_tokens_support::doc::{fresh_hash, new_token, store, successor};
use refresh_tokens_support::race;
use uuid::Uuid;

use crate::scene::Scene;
use crate::watch::{Recorded, Watch};

/// The longest wait for this kind of lock, in seconds.
fn longest(recorded: &Recorded, lock: &str) -> f64 {
    let waits = recorded.histogram("refresh_tokens_lock_statement_seconds", &[("lock", lock)]);
    waits.into_iter().fold(0.0, f64::max)
}

type Work = fn(&mut RefreshTokenRepository<'_>, &RefreshToken);

/// Each kind of lock is held until the other side has waited for it for half a second by the database's clock.
#[test]
fn the_wait_for_each_kind_of_lock_is_in_its_time() {
    let rotate: Work = |tokens, token| drop(tokens.rotate(&token.token_hash, &successor(), Binding::ANY).unwrap());
    let guard: Work = |tokens, token| {
        tokens.transaction(|tx| tx.get_valid_for_rotation(&token.token_hash, Binding::ANY).map(drop)).unwrap();
    };
    let shut_gate: Work = |tokens, token| {
        tokens.revoke_all_for_user_in_org(token.user_id, Uuid::new_v4()).unwrap();
    };
    let revoke: Work = |tokens, token| assert!(tokens.revoke(token.id).is_ok());
    let revoke_chain: Work = |tokens, token| assert!(tokens.revoke_token_chain(token.id).is_ok());
    let revoke_user: Work = |tokens, token| assert!(tokens.revoke_all_for_user(token.user_id).is_ok());
    let revoke_all: Work = |tokens, _| assert!(tokens.revoke_all_for_everyone().is_ok());
    let end_session: Work = |tokens, token| assert!(tokens.end_session(token.session_id).is_ok());
    for (lock, hold, work) in [
        ("token", rotate, rotate),
        ("token", rotate, guard),
        ("gate", shut_gate, revoke_chain),
        ("gate", shut_gate, revoke_user),
        ("gate", shut_gate, revoke_all),
        ("rows", rotate, revoke),
        ("rows", rotate, revoke_user),
        ("rows", rotate, revoke_all),
        ("rows", rotate, end_session),
    ] {
        let watch = Watch::new();
        let Scene { database, mut conn } = Scene::new();
        let token = RefreshTokenRepository::new(&mut conn).create(&new_token()).unwrap();
        let holder = race::pid(&mut conn);
        let mut observer = database.connect();
        let waiting = RefreshTokenRepository::new(&mut conn).transaction(|tx| {
            hold(tx, &token);
            let (watch, token) = (watch.clone(), token.clone());
            let waiting = race::start_blocked(&database, holder, move |conn| {
                watch.during(|| work(&mut RefreshTokenRepository::new(conn), &token));
                QueryResult::Ok(())
            });
            let now = race::now(&mut observer);
            race::wait_until(&mut observer, now + TimeDelta::milliseconds(500));
            Ok(waiting)
        });
        waiting.unwrap().join().unwrap().unwrap();
        let recorded = watch.recorded();
        for kind in ["token", "gate", "rows"] {
            let waited = longest(&recorded, kind);
            assert_eq!(waited >= 0.5, kind == lock, "for {lock}, and {waited} s for {kind}");
        }
    }
}

#[derive(Debug)]
struct OpensSlowly;

impl CustomizeConnection<PgConnection, PoolError> for OpensSlowly {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), PoolError> {
        conn.batch_execute("SELECT pg_sleep(0.5)").map_err(PoolError::QueryError)
    }
}

#[test]
fn the_wait_for_a_connection_is_not_in_the_time_of_the_call() {
    let scene = Scene::new();
    let pool = Pool::builder()
        .max_size(1)
        .min_idle(Some(0))
        .connection_customizer(Box::new(OpensSlowly))
        .build_unchecked(ConnectionManager::new(scene.database.url()));
    let store = RefreshTokenStore::from_pool(pool);
    let watch = Watch::new();
    watch.during(|| store.now()).unwrap();
    let recorded = watch.recorded();
    let waits = recorded.histogram("refresh_tokens_pool_wait_seconds", &[]);
    let calls = recorded.histogram("refresh_tokens_call_seconds", &[("verb", "now")]);
    assert!(waits.len() == 1 && waits[0] >= 0.5, "{waits:?}");
    assert!(calls.len() == 1 && calls[0] < 0.5, "{calls:?}");
}

/// Three who wait while a fourth holds the only connection go together.
#[test]
fn the_size_of_a_groups_batches_is_recorded() {
    let mut scene = Scene::new();
    let tokens: Vec<_> = (0..4).map(|_| scene.create().token_hash).collect();
    let watch = Watch::new();
    let group = GroupRotator::new(store(&scene.database), &GroupConfig::default().connections(1));
    let rotate = |presented| {
        let outcome = watch.during(|| group.rotate(presented, &successor(), Binding::ANY));
        assert!(outcome.unwrap().successor().is_some());
    };
    let Scene { database, conn } = &mut scene;
    let mut observer = database.connect();
    thread::scope(|scope| {
        let holder = race::pid(conn);
        let held = RefreshTokenRepository::new(conn).transaction(|tx| {
            assert!(tx.get_valid_for_rotation(&tokens[0], Binding::ANY)?.is_some());
            scope.spawn(|| rotate(&tokens[0]));
            race::wait_until_blocked(&mut observer, holder, 1);
            for presented in &tokens[1..] {
                scope.spawn(|| rotate(presented));
            }
            race::wait_for(|| group.waiting() == 3);
            watch.during(|| refresh_tokens::observe::record_group(&group, "main"));
            Ok(())
        });
        held.unwrap();
    });
    let recorded = watch.recorded();
    let waiting = recorded.gauge("refresh_tokens_group_waiting", &[("group", "main")]);
    assert_eq!(waiting.to_bits(), 3.0_f64.to_bits());
    let mut batches = recorded.histogram("refresh_tokens_group_batch_rotations", &[]);
    batches.sort_by(f64::total_cmp);
    // The first one once without waiting, and once for the lock.
    assert_eq!(batches, [1.0, 1.0, 3.0]);
    let verbs: BTreeSet<_> = recorded.sightings().into_iter().map(|(verb, ..)| verb).collect();
    assert_eq!(verbs, BTreeSet::from(["group_rotate".to_owned()]), "each is counted once, as its caller sees it");
    assert!(group.rotate(&fresh_hash(), &successor(), Binding::ANY).is_ok());
}
