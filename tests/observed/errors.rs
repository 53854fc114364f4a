//! Errors, each made by what makes it.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, NopErrorHandler, Pool};
use diesel::sql_query;
use refresh_tokens::{
    Binding, CleanupBudget, Error, GroupConfig, GroupRotator, NewRefreshToken, RefreshTokenRepository,
    RefreshTokenStore, RetentionPolicy, SessionLimit, SessionOptions, StoreConfig, TokenHash, Wait,
};
use refresh_tokens_support::doc::{fresh_hash, new_token, store, successor};
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

use crate::scene::Scene;

type Met = Vec<(&'static str, &'static str)>;

/// Meets errors, and says which verbs met which.
pub(crate) fn drive() -> Met {
    let mut met = Vec::new();
    of_arguments(&mut met);
    of_order(&mut met);
    of_waiting(&mut met);
    of_groups(&mut met);
    of_pools(&mut met);
    of_tables(&mut met);
    met
}

fn of_arguments(met: &mut Met) {
    let mut scene = Scene::new();
    let token = scene.create();
    let mut tokens = scene.tokens();
    let same_id = NewRefreshToken { id: token.id, ..new_token() };
    assert_eq!(tokens.create(&same_id), Err(Error::DuplicateId));
    let same_hash = NewRefreshToken { token_hash: token.token_hash.clone(), ..new_token() };
    assert_eq!(tokens.create(&same_hash), Err(Error::DuplicateHash));
    assert!(matches!(tokens.revoke(Uuid::nil()), Err(Error::InvalidInput(_))));
    let limit = SessionOptions::default().limit(SessionLimit::refuse(1));
    let one_more = NewRefreshToken { user_id: token.user_id, session: limit, ..new_token() };
    assert_eq!(tokens.create(&one_more), Err(Error::TooManySessions { max: 1 }));
    let before = SessionOptions::default().authenticated_at(tokens.now().unwrap());
    tokens.revoke_all_for_user(token.user_id).unwrap();
    let too_late = NewRefreshToken { user_id: token.user_id, session: before, ..new_token() };
    assert_eq!(tokens.create(&too_late), Err(Error::RevokedSinceLogin));
    met.extend([
        ("create", "duplicate_id"),
        ("create", "duplicate_hash"),
        ("revoke", "invalid_input"),
        ("create", "too_many_sessions"),
        ("create", "revoked_since_login"),
    ]);
}

fn of_order(met: &mut Met) {
    let mut scene = Scene::new();
    let token = scene.create();
    let spent = scene.tokens().transaction(|tx| {
        let mut locked = tx.get_valid_for_rotation(&token.token_hash, Binding::ANY)?.unwrap();
        let _ = RefreshTokenRepository::new(locked.connection()).revoke(token.id)?;
        locked.rotate_to(&successor())
    });
    assert_eq!(spent, Err(Error::LockedTokenSpent));
    let swallowed = scene.tokens().transaction(|tx| {
        assert!(sql_query("SELECT nonsense").execute(tx.connection()).is_err());
        Ok(())
    });
    assert_eq!(swallowed, Err(Error::Aborted));
    let too_high = scene
        .conn
        .build_transaction()
        .repeatable_read()
        .run(|conn| QueryResult::Ok(RefreshTokenRepository::new(conn).revoke_all_for_user(token.user_id)));
    assert_eq!(too_high, Ok(Err(Error::IsolationTooHigh)));
    let mut beside = scene.database.connect();
    let conflict = scene.conn.transaction(|holder| {
        RefreshTokenRepository::new(holder).revoke_all_for_user_in_org(token.user_id, Uuid::new_v4())?;
        RefreshTokenRepository::new(&mut beside).transaction(|tx| {
            let locked = tx.get_valid_for_rotation(&token.token_hash, Binding::ANY)?.unwrap();
            locked.rotate_to(&successor().active_org_id(Uuid::new_v4()))
        })
    });
    assert_eq!(conflict, Err(Error::Conflict));
    let process = race::pid(&mut beside);
    race::terminate(&mut scene.conn, process);
    let mut lost = RefreshTokenRepository::new(&mut beside);
    assert_eq!(lost.rotate(&token.token_hash, &successor(), Binding::ANY), Err(Error::ConnectionLost));
    met.extend([
        ("rotate_to", "locked_token_spent"),
        ("transaction", "locked_token_spent"),
        ("transaction", "aborted"),
        ("revoke_all_for_user", "isolation_too_high"),
        ("rotate_to", "conflict"),
        ("rotate", "connection_lost"),
    ]);
}

/// Holds a token locked while `work` runs, which is told the holder's process.
fn holding<T>(database: &Database, token: &TokenHash, work: impl FnOnce(i32) -> T) -> T {
    let mut holder = database.connect();
    let process = race::pid(&mut holder);
    RefreshTokenRepository::new(&mut holder)
        .transaction(|tx| {
            let _locked = tx.get_valid_for_rotation(token, Binding::ANY)?.expect("it is valid");
            Ok(work(process))
        })
        .unwrap()
}

fn of_waiting(met: &mut Met) {
    let mut scene = Scene::new();
    let token = scene.create();
    for (setting, wait) in [("lock_timeout", Wait::Lock), ("statement_timeout", Wait::Statement)] {
        let mut beside = scene.database.connect();
        beside.batch_execute(&format!("SET {setting} = 50")).unwrap();
        holding(&scene.database, &token.token_hash, |_| {
            let mut tokens = RefreshTokenRepository::new(&mut beside);
            let busy = tokens.rotate(&token.token_hash, &successor(), Binding::ANY);
            assert_eq!(busy, Err(Error::Busy(wait)));
        });
    }
    met.extend([("rotate", "busy_lock"), ("rotate", "busy_statement")]);
}

fn of_groups(met: &mut Met) {
    let mut scene = Scene::new();
    let config = GroupConfig::default().connections(1).queue_timeout(Duration::from_millis(50));
    let full = GroupRotator::new(store(&scene.database), &config.clone().max_queue(0));
    let slow = GroupRotator::new(store(&scene.database), &config);
    for (group, expected) in [(&full, Error::QueueFull { max: 0 }), (&slow, Error::Busy(Wait::Queue))] {
        let token = scene.create();
        // Whom the scope waits for, waits for the holder.
        thread::scope(|threads| {
            holding(&scene.database, &token.token_hash, |holder| {
                threads.spawn(|| group.rotate(&token.token_hash, &successor(), Binding::ANY));
                race::wait_until_blocked(&mut scene.conn, holder, 1);
                assert_eq!(group.rotate(&fresh_hash(), &successor(), Binding::ANY), Err(expected));
            });
        });
    }
    full.shutdown();
    assert_eq!(full.rotate(&fresh_hash(), &successor(), Binding::ANY), Err(Error::GroupShutDown));
    met.extend([("group_rotate", "queue_full"), ("group_rotate", "busy_queue"), ("group_rotate", "group_shut_down")]);
}

fn of_pools(met: &mut Met) {
    let database = Database::migrated();
    let config = StoreConfig::default().max_connections(1).pool_timeout(Duration::from_millis(500));
    let small = RefreshTokenStore::connect(database.url(), &config).unwrap();
    let (held, is_held) = channel();
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        let holder = small.clone();
        scope.spawn(move || {
            holder.with(|_| {
                held.send(()).unwrap();
                is_done.recv_timeout(Duration::from_secs(30)).unwrap();
                Ok(())
            })
        });
        race::hear(&is_held, "the connection is taken");
        assert!(matches!(small.now(), Err(Error::PoolExhausted { .. })));
        assert!(matches!(small.with(|_| Ok(())), Err(Error::PoolExhausted { .. })));
        assert!(matches!(small.transaction(|_| Ok(())), Err(Error::PoolExhausted { .. })));
        done.send(()).unwrap();
    });
    let nowhere = Pool::builder()
        .min_idle(Some(0))
        .connection_timeout(Duration::from_millis(200))
        .error_handler(Box::new(NopErrorHandler))
        .build_unchecked(ConnectionManager::<PgConnection>::new("postgres://nobody@127.0.0.1:1/nothing"));
    assert!(matches!(RefreshTokenStore::from_pool(nowhere).now(), Err(Error::Unreachable { .. })));
    met.extend([
        ("now", "pool_exhausted"),
        ("with", "pool_exhausted"),
        ("transaction", "pool_exhausted"),
        ("now", "unreachable"),
    ]);
}

fn of_tables(met: &mut Met) {
    let empty = Database::empty();
    let missing = RefreshTokenRepository::new(&mut empty.connect()).get_by_hash(&fresh_hash());
    assert_eq!(missing, Err(Error::SchemaMissing));
    let mut scene = Scene::new();
    scene.expired_rows(1);
    let archive = RetentionPolicy::default().archive();
    let unprepared = scene.tokens().cleanup(&archive, &CleanupBudget::default());
    assert_eq!(unprepared, Err(Error::ArchiveNotPrepared));
    scene.sql("DELETE FROM refresh_token_gates");
    assert!(matches!(scene.tokens().revoke_all_for_user(Uuid::new_v4()), Err(Error::SchemaMismatch(_))));
    scene.sql("ALTER TABLE refresh_tokens ADD CONSTRAINT of_the_host CHECK (expires_at < '2001-01-01') NOT VALID");
    assert!(matches!(scene.tokens().create(&new_token()), Err(Error::Database { .. })));
    let mut scene = Scene::new();
    let token = scene.create();
    scene.sql("ALTER TABLE refresh_tokens ALTER active_org_id TYPE text");
    assert_eq!(scene.tokens().get_by_hash(&token.token_hash), Err(Error::UnreadableRow));
    met.extend([
        ("get_by_hash", "schema_missing"),
        ("cleanup", "archive_not_prepared"),
        ("revoke_all_for_user", "schema_mismatch"),
        ("create", "database"),
        ("get_by_hash", "unreadable_row"),
    ]);
}
