//! What a revocation holds while it waits, and what it takes for revoked that somebody else has revoked meanwhile.

use std::cell::RefCell;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    NewRefreshToken, RefreshTokenRepository, RevocationReport, RevokedReason, SessionLimit, SessionOptions,
};
use refresh_tokens_support::doc::new_token;
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

use crate::common::{By, create, is_valid, rotate, row};

/// Locks a row until the end of the transaction.
fn hold(conn: &mut PgConnection, id: Uuid) {
    dsl::refresh_tokens.find(id).for_update().select(dsl::id).first::<Uuid>(conn).unwrap();
}

/// Locks are taken oldest first, whatever the ids say: so it can wait for nobody who waits for it in that order.
#[test]
fn a_revocation_that_waits_for_an_older_token_holds_no_younger_one() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let user_id = Uuid::new_v4();
    let [older, younger] = [Uuid::max(), Uuid::from_u128(1)].map(|id| {
        let new = NewRefreshToken { id, user_id, ..new_token() };
        RefreshTokenRepository::new(&mut conn).create(&new).unwrap()
    });
    let waiting = conn
        .transaction(|conn| {
            let holder = race::pid(conn);
            hold(conn, older.id);
            let waiting = race::start_blocked(&database, holder, move |conn| {
                RefreshTokenRepository::new(conn).revoke_all_for_user(user_id)
            });
            let free = dsl::refresh_tokens.find(younger.id).select(dsl::id).for_update().skip_locked();
            let nobodys: Option<Uuid> = free.first(&mut database.connect()).optional()?;
            assert_eq!(nobodys, Some(younger.id), "the younger one is held");
            QueryResult::Ok(waiting)
        })
        .unwrap();
    assert_eq!(waiting.join().unwrap().map(|receipt| receipt.live), Ok(2));
}

/// A walk over the table that meets a locked row goes on to its end, commits, and waits for that row alone.
#[test]
fn a_revocation_of_everybody_waits_for_a_token_with_all_others_revoked() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let [held, free] = [(); 2].map(|()| create(&mut conn));
    let waiting = conn
        .transaction(|conn| {
            let holder = race::pid(conn);
            hold(conn, held.id);
            let waiting = race::start_blocked(&database, holder, |conn| {
                RefreshTokenRepository::new(conn).revoke_all_for_everyone()
            });
            assert!(!is_valid(&database, &free.token_hash), "its revocation is committed");
            assert!(is_valid(&database, &held.token_hash));
            QueryResult::Ok(waiting)
        })
        .unwrap();
    assert_eq!(waiting.join().unwrap().map(|receipt| receipt.live), Ok(2));
}

/// Between what a step of the walk has seen and what it locks, somebody revokes the token, for a reason of theirs. A policy
/// of the host's on the rows holds the step up there.
#[test]
fn a_walk_leaves_a_token_that_was_revoked_between_its_look_and_its_lock() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let token = create(&mut conn);
    conn.batch_execute(&format!(
        "CREATE SEQUENCE looks;
         CREATE TABLE turnstile (id int);
         INSERT INTO turnstile VALUES (1);
         CREATE FUNCTION look() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema} AS $$ BEGIN
             IF nextval('looks') = 2 THEN PERFORM FROM turnstile FOR UPDATE; END IF;
             RETURN true;
         END $$;
         ALTER TABLE refresh_tokens ENABLE ROW LEVEL SECURITY;
         CREATE POLICY looks ON refresh_tokens USING (look());
         GRANT USAGE ON SCHEMA {schema} TO pg_monitor;
         GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO pg_monitor",
        schema = database.schema()
    ))
    .unwrap();
    let walk = RefCell::new(None);
    conn.transaction(|conn| {
        let holder = race::pid(conn);
        conn.batch_execute("SELECT FROM turnstile FOR UPDATE")?;
        walk.replace(Some(race::start_blocked(&database, holder, |conn| {
            conn.batch_execute("SET ROLE pg_monitor")?;
            RefreshTokenRepository::new(conn).revoke_all_for_everyone()
        })));
        let revoked = RefreshTokenRepository::new(&mut database.connect()).revoke(token.id);
        assert!(revoked.unwrap().is_revoked());
        QueryResult::Ok(())
    })
    .unwrap();
    let receipt = walk.take().expect("it was started").join().unwrap();
    assert_eq!(receipt, Ok(RevocationReport::default()));
    assert_eq!(row(&mut conn, &token.token_hash).revoked_reason, Some(RevokedReason::TokenRevoked));
}

/// A login that has to end several sessions locks them in the same order: by their rows' age, not by that of the sessions.
#[test]
fn a_login_that_makes_room_and_waits_for_an_older_token_holds_no_younger_one() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let user_id = Uuid::new_v4();
    let login = || NewRefreshToken { user_id, ..new_token() };
    let [first, second] = [login(), login()].map(|new| RefreshTokenRepository::new(&mut conn).create(&new).unwrap());
    // The older session has the younger row.
    let younger = rotate(By::Library, &mut conn, &first.token_hash);
    let younger = row(&mut conn, &younger);
    let session = SessionOptions::default().limit(SessionLimit::end_oldest(1));
    let new = NewRefreshToken { session, ..login() };
    let waiting = conn
        .transaction(|conn| {
            let holder = race::pid(conn);
            hold(conn, second.id);
            let waiting =
                race::start_blocked(&database, holder, move |conn| RefreshTokenRepository::new(conn).create(&new));
            let free = dsl::refresh_tokens.find(younger.id).select(dsl::id).for_update().skip_locked();
            let nobodys: Option<Uuid> = free.first(&mut database.connect()).optional()?;
            assert_eq!(nobodys, Some(younger.id), "the younger one is held");
            QueryResult::Ok(waiting)
        })
        .unwrap();
    let newest = waiting.join().unwrap().unwrap();
    let live = RefreshTokenRepository::new(&mut conn).get_active_tokens_for_user(user_id).unwrap();
    assert_eq!(live, [newest]);
}
