//! At most so many live sessions: which end, who is refused, and that logins at one moment cannot slip through.

use std::sync::{Arc, Barrier};

use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Error, NewRefreshToken, RefreshToken, RefreshTokenRepository, RevokedReason, Rotation, SessionLimit,
    SessionOptions,
};
use refresh_tokens_support::doc::{connection, new_token, store, successor};
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

use crate::common::{expire, row, statements};

fn login(user_id: Uuid, limit: SessionLimit) -> NewRefreshToken {
    NewRefreshToken { user_id, session: SessionOptions::default().limit(limit), ..new_token() }
}

fn live(conn: &mut PgConnection, user_id: Uuid) -> Vec<RefreshToken> {
    RefreshTokenRepository::new(conn).get_active_tokens_for_user(user_id).unwrap()
}

#[test]
fn the_oldest_sessions_make_room() {
    let mut conn = connection();
    let user_id = Uuid::new_v4();
    let mut log_in =
        |max| RefreshTokenRepository::new(&mut conn).create(&login(user_id, SessionLimit::end_oldest(max))).unwrap();
    let [first, second, third] = [(); 3].map(|()| log_in(3));
    // Used a moment ago, it is still the oldest session.
    let Ok(Rotation::Rotated(first)) =
        RefreshTokenRepository::new(&mut conn).rotate(&first.token_hash, &successor(), Binding::ANY)
    else {
        panic!()
    };
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let fourth = tokens.create(&login(user_id, SessionLimit::end_oldest(3))).unwrap();
    let ids = |tokens: &[RefreshToken]| tokens.iter().map(|token| token.id).collect::<Vec<_>>();
    assert_eq!(ids(&live(&mut conn, user_id)), [fourth.id, third.id, second.id]);
    assert_eq!(row(&mut conn, &first.token_hash).revoked_reason, Some(RevokedReason::SessionLimit));
    // A lower limit ends as many as it takes.
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let fifth = tokens.create(&login(user_id, SessionLimit::end_oldest(1))).unwrap();
    assert_eq!(ids(&live(&mut conn, user_id)), [fifth.id]);
}

#[test]
fn one_too_many_is_refused_and_nothing_is_changed() {
    let mut conn = connection();
    let user_id = Uuid::new_v4();
    let refuse = login(user_id, SessionLimit::refuse(2));
    let log_in = |conn: &mut PgConnection| {
        RefreshTokenRepository::new(conn)
            .create(&NewRefreshToken { user_id, ..login(user_id, SessionLimit::refuse(2)) })
    };
    let first = log_in(&mut conn).unwrap();
    let second = log_in(&mut conn).unwrap();
    assert_eq!(RefreshTokenRepository::new(&mut conn).create(&refuse), Err(Error::TooManySessions { max: 2 }));
    assert_eq!(live(&mut conn, user_id).len(), 2);
    // Neither other users nor sessions that are over count.
    assert!(RefreshTokenRepository::new(&mut conn).create(&login(Uuid::new_v4(), SessionLimit::refuse(1))).is_ok());
    expire(&mut conn, &first.token_hash, 1);
    assert!(log_in(&mut conn).is_ok());
    RefreshTokenRepository::new(&mut conn).revoke_session(second.session_id).unwrap();
    assert!(log_in(&mut conn).is_ok());
    assert_eq!(log_in(&mut conn), Err(Error::TooManySessions { max: 2 }));
}

#[test]
fn a_limit_of_none_is_one_of_one() {
    assert_eq!(SessionLimit::end_oldest(0), SessionLimit::end_oldest(1));
    let mut conn = connection();
    let user_id = Uuid::new_v4();
    let mut log_in = || RefreshTokenRepository::new(&mut conn).create(&login(user_id, SessionLimit::refuse(0)));
    assert!(log_in().is_ok());
    assert_eq!(log_in(), Err(Error::TooManySessions { max: 1 }));
}

/// Other software that rotates without a transaction can give a session two live tokens.
#[test]
fn a_session_that_was_forked_counts_once() {
    let mut conn = connection();
    let user_id = Uuid::new_v4();
    let mut log_in = || RefreshTokenRepository::new(&mut conn).create(&login(user_id, SessionLimit::refuse(2)));
    let (first, twin) = (log_in().unwrap(), log_in().unwrap());
    let of_first = (dsl::session_id.eq(first.session_id), dsl::session_started_at.eq(first.session_started_at));
    diesel::update(dsl::refresh_tokens.find(twin.id)).set(of_first).execute(&mut *conn).unwrap();
    let mut log_in = || RefreshTokenRepository::new(&mut conn).create(&login(user_id, SessionLimit::refuse(2)));
    assert!(log_in().is_ok());
    assert_eq!(log_in(), Err(Error::TooManySessions { max: 2 }));
}

/// A login that fails for another reason ends nobody's session.
#[test]
fn invariant_4_a_login_that_fails_ends_no_session() {
    let mut conn = connection();
    let user_id = Uuid::new_v4();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let first = tokens.create(&login(user_id, SessionLimit::end_oldest(1))).unwrap();
    let again = NewRefreshToken { id: first.id, ..login(user_id, SessionLimit::end_oldest(1)) };
    assert_eq!(tokens.create(&again), Err(Error::DuplicateId));
    assert_eq!(live(&mut conn, user_id), [first]);
}

#[test]
fn the_limit_is_exact_under_concurrent_logins() {
    let database = Database::migrated();
    for limit in [SessionLimit::end_oldest(3), SessionLimit::refuse(3)] {
        let user_id = Uuid::new_v4();
        let (store, start) = (store(&database), Arc::new(Barrier::new(16)));
        let logins = [(); 16].map(|()| {
            let (store, start) = (store.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                store.create(&login(user_id, limit))
            })
        });
        let outcomes = logins.map(|login| login.join().unwrap());
        let refused = Err(Error::TooManySessions { max: 3 });
        let refusals = if limit == SessionLimit::refuse(3) { 13 } else { 0 };
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == refused).count(), refusals);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 16 - refusals);
        assert_eq!(live(&mut database.connect(), user_id).len(), 3);
    }
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
/// The second waits at the gate for the first, and counts it.
#[test]
fn a_login_counts_the_one_that_is_under_way() {
    let database = Database::migrated();
    let user_id = Uuid::new_v4();
    let log_in = move |conn: &mut PgConnection| {
        RefreshTokenRepository::new(conn).create(&login(user_id, SessionLimit::refuse(1)))
    };
    let (first, second) = race::wait_for_commit(&database, log_in, log_in);
    assert!(first.is_ok());
    assert_eq!(second, Err(Error::TooManySessions { max: 1 }));
}

/// The session to end is being rotated: the login waits, and ends what was born meanwhile.
#[test]
fn invariant_3_the_limit_ends_the_unborn_successor() {
    let database = Database::migrated();
    let user_id = Uuid::new_v4();
    let mut conn = database.connect();
    let oldest = RefreshTokenRepository::new(&mut conn).create(&login(user_id, SessionLimit::end_oldest(1))).unwrap();
    let (rotated, newest) = race::wait_for_commit(
        &database,
        |conn| RefreshTokenRepository::new(conn).rotate(&oldest.token_hash, &successor(), Binding::ANY).unwrap(),
        move |conn| RefreshTokenRepository::new(conn).create(&login(user_id, SessionLimit::end_oldest(1))),
    );
    assert!(matches!(rotated, Rotation::Rotated(_)));
    assert_eq!(live(&mut conn, user_id), [newest.unwrap()]);
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
/// A snapshot from before the gate was passed cannot count who was in it.
#[test]
fn in_a_transaction_of_the_hosts_the_snapshot_must_not_be_older() {
    let mut conn = connection();
    let user_id = Uuid::new_v4();
    let outcome = conn.build_transaction().repeatable_read().run(|conn| {
        QueryResult::Ok(RefreshTokenRepository::new(conn).create(&login(user_id, SessionLimit::refuse(1))))
    });
    assert_eq!(outcome.unwrap(), Err(Error::IsolationTooHigh));
    let outcome =
        conn.transaction(|conn| RefreshTokenRepository::new(conn).create(&login(user_id, SessionLimit::refuse(1))));
    assert!(outcome.is_ok());
}

#[test]
fn a_limit_costs_two_statements() {
    let mut conn = connection();
    let mut cost = |new: NewRefreshToken| {
        statements(&mut conn, |conn| {
            RefreshTokenRepository::new(conn).create(&new).unwrap();
        })
    };
    let plain = cost(new_token());
    assert_eq!(cost(login(Uuid::new_v4(), SessionLimit::end_oldest(5))) - plain, 2, "the gate, and the count");
}
