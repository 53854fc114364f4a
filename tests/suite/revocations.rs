//! Revocations beside each other, beside logins, and of sessions that a race has forked.

use std::cell::RefCell;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{Error, NewRefreshToken, RefreshToken, RefreshTokenRepository, RevocationReport, TokenHash, Wait};
use refresh_tokens_support::doc::{connection, fresh_hash, new_token};
use refresh_tokens_support::{Database, race, reference};
use uuid::Uuid;

use crate::common::{create, is_valid, new_hash, row};

fn log_in(conn: &mut PgConnection, user_id: Uuid, session_id: &str) -> RefreshToken {
    let new = NewRefreshToken { user_id, ..new_token() };
    let token = RefreshTokenRepository::new(conn).create(&new).unwrap();
    conn.batch_execute(&format!("UPDATE refresh_tokens SET session_id = '{session_id}' WHERE id = '{}'", token.id))
        .unwrap();
    token
}

left_out!(under serializable:
    "its schedule is one of READ COMMITTED: who waits there is rolled back here, and comes later");
/// One revocation has locked the first session and waits for the last; a login is committed whose session id sorts
/// before both; another revocation starts. Were the login locked before the first session, each would wait for the
/// other.
#[test]
fn two_revocations_of_a_user_and_a_login_do_not_deadlock() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let user_id = Uuid::new_v4();
    let first = log_in(&mut conn, user_id, "88888888-0000-4000-8000-000000000000");
    let last = log_in(&mut conn, user_id, "ffffffff-0000-4000-8000-000000000000");
    let threads = RefCell::new(Vec::new());
    let login = conn
        .transaction(|conn| {
            let holder = race::pid(conn);
            reference::get_valid_for_rotation(conn, last.token_hash.expose(), None)?;
            threads.borrow_mut().push(race::start_blocked(&database, holder, move |conn| {
                RefreshTokenRepository::new(conn).revoke_all_for_user(user_id)
            }));
            let login = log_in(&mut database.connect(), user_id, "11111111-0000-4000-8000-000000000000");
            let first_revocation = threads.borrow()[0].pid;
            threads.borrow_mut().push(race::start_blocked(&database, first_revocation, move |conn| {
                RefreshTokenRepository::new(conn).revoke_all_for_user(user_id)
            }));
            QueryResult::Ok(login)
        })
        .unwrap();
    let outcomes: Vec<_> =
        threads.take().into_iter().map(|thread| thread.join().unwrap().map(|receipt| receipt.tokens)).collect();
    assert_eq!(outcomes, [Ok(3), Ok(0)]);
    for token in [first, last, login] {
        assert!(!is_valid(&database, &token.token_hash));
    }
}

/// The race of flaw 4: two live successors of one token, both members of its session.
fn fork(conn: &mut PgConnection) -> (RefreshToken, TokenHash, TokenHash) {
    let parent = create(conn);
    let seen = reference::get_valid_for_rotation(conn, parent.token_hash.expose(), None).unwrap().unwrap();
    let (one, other) = (fresh_hash(), fresh_hash());
    for hash in [&one, &other] {
        let new = new_hash(hash);
        reference::insert_successor(conn, &seen, &new).unwrap();
        reference::mark_rotated(conn, seen.id, new.id).unwrap();
    }
    (parent, one, other)
}

#[test]
fn keeping_a_live_token_does_not_keep_its_twin() {
    let database = Database::migrated();
    let mut conn = database.connect();
    for by_library in [false, true] {
        let (parent, twin, kept) = fork(&mut conn);
        let keep = row(&mut conn, &kept).id;
        let revoked = if by_library {
            RefreshTokenRepository::new(&mut conn).revoke_all_for_user_except(parent.user_id, keep).unwrap().tokens
        } else {
            reference::revoke_all_for_user_except(&mut conn, parent.user_id, keep).unwrap()
        };
        assert_eq!(revoked, 2);
        assert!(is_valid(&database, &kept) && !is_valid(&database, &twin));
    }
}

/// Each pass sees a login that was not there before: it gives up, and nothing was changed.
#[test]
fn invariant_9_a_revocation_that_never_ends_gives_up() {
    let mut conn = connection();
    let token = create(&mut conn);
    conn.batch_execute(
        "CREATE FUNCTION log_in_again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
             VALUES (gen_random_uuid(), OLD.user_id, gen_random_uuid()::text, OLD.active_org_id, OLD.expires_at);
             RETURN NULL;
         END $$;
         CREATE TRIGGER log_in_again AFTER UPDATE ON refresh_tokens FOR EACH ROW EXECUTE FUNCTION log_in_again()",
    )
    .unwrap();
    let outcome = RefreshTokenRepository::new(&mut conn).revoke_all_for_user(token.user_id);
    assert_eq!(outcome, Err(Error::Busy(Wait::NewTokens)));
    let active = RefreshTokenRepository::new(&mut conn).get_active_tokens_for_user(token.user_id);
    assert_eq!(active.unwrap(), [token]);
}

#[test]
fn a_receipt_says_what_it_counts_in_the_plural_but_for_one() {
    let mut conn = connection();
    assert_eq!(RevocationReport::default().to_string(), "0 tokens revoked, 0 of them live; 0 sessions ended");
    let token = create(&mut conn);
    let receipt = RefreshTokenRepository::new(&mut conn).revoke_session(token.session_id).unwrap();
    assert_eq!(receipt.to_string(), "1 token revoked, 1 of them live; 1 session ended");
}
