//! All sessions of a user but one, by that one's id: it is kept whole, whatever happens to it meanwhile.

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Error, NewRefreshToken, RefreshToken, RefreshTokenRepository, RevocationReport, RevokedReason, Rotation,
    SessionOptions,
};
use refresh_tokens_support::doc::{connection, new_token, successor};
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

use crate::common::{By, create, is_valid, rotate, row};

fn log_in(conn: &mut PgConnection, user_id: Uuid) -> RefreshToken {
    RefreshTokenRepository::new(conn).create(&NewRefreshToken { user_id, ..new_token() }).unwrap()
}

fn rows_of(conn: &mut PgConnection, session_id: Uuid) -> Vec<RefreshToken> {
    let rows = dsl::refresh_tokens.filter(dsl::session_id.eq(session_id)).order(dsl::generation);
    rows.select(RefreshToken::as_select()).load(conn).unwrap()
}

fn keep(conn: &mut PgConnection, user_id: Uuid, session_id: Uuid) -> RevocationReport {
    RefreshTokenRepository::new(conn).revoke_all_for_user_except_session(user_id, session_id).unwrap()
}

#[test]
fn the_session_is_kept_as_it_is_and_the_others_end() {
    let mut conn = connection();
    let here = create(&mut conn);
    let there = log_in(&mut conn, here.user_id);
    let somebody_else = create(&mut conn);
    rotate(By::Library, &mut conn, &there.token_hash);
    let request = successor();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let lost = tokens.rotate(&here.token_hash, &request, Binding::ANY).unwrap();
    let before = rows_of(&mut conn, here.session_id);

    let receipt = keep(&mut conn, here.user_id, here.session_id);
    assert_eq!((receipt.tokens, receipt.sessions, receipt.live), (2, 1, 1));
    // Its spent token, too: only so is the answer given again.
    assert_eq!(rows_of(&mut conn, here.session_id), before);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let again = tokens.rotate(&here.token_hash, &request, Binding::ANY).unwrap();
    assert!(matches!(again, Rotation::Repeated(_)), "{again:?}");
    assert_eq!(again.successor(), lost.successor());
    for ended in rows_of(&mut conn, there.session_id) {
        assert_eq!(ended.revoked_reason, Some(RevokedReason::OthersRevoked));
    }
    assert_eq!(rows_of(&mut conn, somebody_else.session_id), [somebody_else]);
    assert_eq!(keep(&mut conn, here.user_id, here.session_id), RevocationReport::default());
}

/// It has no lock in common with a rotation of the session that is kept, so neither waits.
#[test]
fn the_session_is_kept_while_it_is_rotated() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let here = create(&mut conn);
    let there = log_in(&mut conn, here.user_id);
    let mut other = database.connect();
    other.batch_execute("SET lock_timeout = '5s'").unwrap();
    let next = conn
        .transaction(|conn| {
            let next = rotate(By::Library, conn, &here.token_hash);
            assert_eq!(keep(&mut other, here.user_id, here.session_id).tokens, 1);
            QueryResult::Ok(next)
        })
        .unwrap();
    assert!(is_valid(&database, &next) && !is_valid(&database, &there.token_hash));
    assert_eq!(row(&mut conn, &here.token_hash).revoked_at, None);
}

#[test]
fn invariant_3_another_session_that_is_rotated_meanwhile_ends_with_its_successor() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let here = create(&mut conn);
    let there = log_in(&mut conn, here.user_id);
    let (user_id, session_id) = (here.user_id, here.session_id);
    let (unborn, receipt) = race::wait_for_commit(
        &database,
        |conn| rotate(By::Library, conn, &there.token_hash),
        move |conn| RefreshTokenRepository::new(conn).revoke_all_for_user_except_session(user_id, session_id),
    );
    let receipt = receipt.unwrap();
    assert_eq!((receipt.tokens, receipt.sessions), (2, 1));
    assert!(!is_valid(&database, &unborn) && is_valid(&database, &here.token_hash));
}

#[test]
fn a_session_that_is_not_the_users_keeps_nothing() {
    let mut conn = connection();
    for is_known in [false, true] {
        let (alices, bobs) = (create(&mut conn), create(&mut conn));
        let session_id = if is_known { bobs.session_id } else { Uuid::new_v4() };
        assert_eq!(keep(&mut conn, alices.user_id, session_id).sessions, 1);
        assert!(row(&mut conn, &alices.token_hash).revoked_at.is_some());
        assert_eq!(row(&mut conn, &bobs.token_hash), bobs);
    }
}

#[test]
fn logins_that_were_authenticated_before_are_cut_off_and_the_kept_session_goes_on() {
    let mut conn = connection();
    let here = create(&mut conn);
    let before = race::now(&mut conn);
    keep(&mut conn, here.user_id, here.session_id);
    let mut log_in_at = |instant| {
        let session = SessionOptions::default().authenticated_at(instant);
        let new = NewRefreshToken { user_id: here.user_id, session, ..new_token() };
        RefreshTokenRepository::new(&mut conn).create(&new).map(drop)
    };
    assert_eq!(log_in_at(before - TimeDelta::days(1)), Err(Error::RevokedSinceLogin));
    assert_eq!(log_in_at(before), Err(Error::RevokedSinceLogin));
    rotate(By::Library, &mut conn, &here.token_hash);
}
