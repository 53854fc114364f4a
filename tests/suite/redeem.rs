//! `redeem`: rotation and breach response in one call.

use std::time::Duration;

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, BreachResponse, Durability, Error, NewRefreshToken, OnReuse, Redemption, RefreshToken,
    RefreshTokenRepository, RefreshTokenStore, Refusal, Result, RevokedReason, Rotation, SessionOptions, Successor,
    TokenHash,
};
use refresh_tokens_support::doc::{connection, fresh_hash, new_token, successor};
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

use crate::common::{By, chain, create, expire, is_valid, rotate, row, statements};

fn redeem(conn: &mut PgConnection, presented: &TokenHash, on_reuse: OnReuse) -> Result<Redemption> {
    RefreshTokenRepository::new(conn).redeem(presented, &successor(), Binding::ANY, on_reuse)
}

/// The token that was reused, and what was done.
fn reuse(redemption: Result<Redemption>) -> (RefreshToken, BreachResponse) {
    match redemption {
        Ok(Redemption::Reused { token, response, .. }) => (token, response),
        other => panic!("{other:?}"),
    }
}

fn ended(response: BreachResponse) -> (usize, usize, usize) {
    match response {
        BreachResponse::Revoked(receipt) => (receipt.tokens, receipt.sessions, receipt.live),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_rotates_what_can_be_rotated() {
    let mut conn = connection();
    let token = create(&mut conn);
    let successor = successor();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let first = tokens.redeem(&token.token_hash, &successor, Binding::ANY, OnReuse::default()).unwrap();
    let Redemption::Rotated { token: made, durability: Durability::Committed } = first.clone() else {
        panic!("{first:?}")
    };
    assert_eq!((made.session_id, made.generation), (token.session_id, 1));
    // Invariant 6: sent again, it is no reuse.
    let again = tokens.redeem(&token.token_hash, &successor, Binding::ANY, OnReuse::default());
    assert_eq!(again, Ok(Redemption::Repeated { token: made.clone(), durability: Durability::Committed }));
    assert_eq!(first.successor(), Some(made));
}

#[test]
fn every_other_refusal_is_passed_on() {
    let mut conn = connection();
    let [expired, revoked, foreign] = [(); 3].map(|()| create(&mut conn));
    expire(&mut conn, &expired.token_hash, 1);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    tokens.revoke_session(revoked.session_id).unwrap();
    let stranger = Binding::user(Uuid::new_v4());
    for (presented, binding, expected) in [
        (&fresh_hash(), Binding::ANY, "not_found"),
        (&expired.token_hash, Binding::ANY, "expired"),
        (&revoked.token_hash, Binding::ANY, "revoked"),
        (&foreign.token_hash, stranger, "binding_mismatch"),
    ] {
        let outcome = tokens.redeem(presented, &successor(), binding, OnReuse::RevokeUser).unwrap();
        assert!(matches!(&outcome, Redemption::Refused(refusal) if refusal.as_str() == expected), "{outcome:?}");
        assert_eq!(outcome.successor(), None);
    }
}

/// Two sessions of one user; the first has three tokens, of which the second one is presented again.
fn stolen(conn: &mut PgConnection) -> (Vec<RefreshToken>, RefreshToken) {
    let hashes = chain(conn, 3);
    let session: Vec<_> = hashes.iter().map(|hash| row(conn, hash)).collect();
    let new = NewRefreshToken { user_id: session[0].user_id, ..new_token() };
    let other = RefreshTokenRepository::new(conn).create(&new).unwrap();
    (session, other)
}

#[test]
fn reuse_is_answered_by_the_policy() {
    let database = Database::migrated();
    let mut conn = database.connect();
    for (on_reuse, expected, first_is_revoked, other_lives) in [
        (OnReuse::RevokeSession, (3, 1, 1), true, true),
        (OnReuse::RevokeChain, (2, 1, 1), false, true),
        (OnReuse::RevokeUser, (4, 2, 2), true, false),
    ] {
        let (session, other) = stolen(&mut conn);
        let before = race::now(&mut conn);
        let (stale, response) = reuse(redeem(&mut conn, &session[1].token_hash, on_reuse));
        assert_eq!((stale.id, ended(response)), (session[1].id, expected), "{on_reuse:?}");
        assert!(!is_valid(&database, &session[2].token_hash));
        assert_eq!(row(&mut conn, &session[2].token_hash).revoked_reason, Some(RevokedReason::ReuseDetected));
        assert_eq!(row(&mut conn, &session[0].token_hash).revoked_at.is_some(), first_is_revoked);
        assert_eq!(is_valid(&database, &other.token_hash), other_lives, "{on_reuse:?}");
        assert!(row(&mut conn, &session[1].token_hash).reused_at.is_some_and(|at| at > before));
        // A login that was authenticated before is cut off with the user's sessions, and only with them.
        let session = SessionOptions::default().authenticated_at(before);
        let login = NewRefreshToken { user_id: other.user_id, session, ..new_token() };
        let created = RefreshTokenRepository::new(&mut conn).create(&login);
        assert_eq!(created.is_ok(), other_lives, "{created:?}");
    }
}

#[test]
fn invariant_4_report_only_changes_nothing() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let (session, _) = stolen(&mut conn);
    for _ in 0..2 {
        let (stale, response) = reuse(redeem(&mut conn, &session[0].token_hash, OnReuse::ReportOnly));
        assert_eq!((stale.reused_at, response), (None, BreachResponse::ReportedOnly));
    }
    assert!(is_valid(&database, &session[2].token_hash));
    // The policy may be another one next time.
    let (_, response) = reuse(redeem(&mut conn, &session[0].token_hash, OnReuse::RevokeSession));
    assert_eq!(ended(response), (3, 1, 1));
}

#[test]
fn the_callers_reason_goes_before_that_of_redeem() {
    let mut conn = connection();
    let (session, _) = stolen(&mut conn);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let _ = tokens
        .with_reason(RevokedReason::AccountCompromised)
        .redeem(&session[0].token_hash, &successor(), Binding::ANY, OnReuse::RevokeSession)
        .unwrap();
    assert_eq!(row(&mut conn, &session[2].token_hash).revoked_reason, Some(RevokedReason::AccountCompromised));
}

/// A dead token that comes again and again costs two look-ups, and cannot log the user out again.
#[test]
fn replays_of_a_dead_token_are_answered_once() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let (session, _) = stolen(&mut conn);
    let stale = &session[0].token_hash;
    let first = statements(&mut conn, |conn| {
        assert_eq!(ended(reuse(redeem(conn, stale, OnReuse::RevokeUser)).1), (4, 2, 2));
    });
    let login = NewRefreshToken { user_id: session[0].user_id, ..new_token() };
    let later = RefreshTokenRepository::new(&mut conn).create(&login).unwrap();
    for _ in 0..2 {
        let replay = statements(&mut conn, |conn| {
            assert_eq!(reuse(redeem(conn, stale, OnReuse::RevokeUser)).1, BreachResponse::AlreadyHandled);
        });
        assert_eq!(replay, 5, "BEGIN, lock, ROLLBACK, the token, its session; the first took {first}");
    }
    assert!(is_valid(&database, &later.token_hash), "the replay did not log the user out");
    // Another dead token of the session has a response of its own; there is nothing left to end.
    assert_eq!(ended(reuse(redeem(&mut conn, &session[1].token_hash, OnReuse::RevokeSession)).1), (0, 0, 0));
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
/// Two present it at once: the second waits for the first one's response, and gives none.
#[test]
fn of_two_replays_one_is_answered() {
    let database = Database::migrated();
    let (session, _) = stolen(&mut database.connect());
    let (stale, again) = (session[0].token_hash.clone(), session[0].token_hash.clone());
    let (first, second) = race::wait_for_commit(
        &database,
        |conn| redeem(conn, &stale, OnReuse::RevokeSession),
        move |conn| redeem(conn, &again, OnReuse::RevokeSession),
    );
    assert_eq!(ended(reuse(first).1), (3, 1, 1));
    assert_eq!(reuse(second).1, BreachResponse::AlreadyHandled);
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
/// The stale row may be deleted between detection and response: the response is given all the same, and is not taken for
/// one that was given before, although there is no row to be marked in either case.
#[test]
fn invariant_5_clean_up_between_detection_and_response_hides_nothing() {
    let database = Database::migrated();
    // It is gone before the response looks for it, or goes while the response waits to mark it.
    for response_waits_at_the_gate in [true, false] {
        for (on_reuse, expected, other_lives) in [
            (OnReuse::RevokeSession, (2, 1, 1), true),
            (OnReuse::EndSession, (1, 1, 1), true),
            (OnReuse::RevokeChain, (2, 1, 1), true),
            (OnReuse::RevokeUser, (3, 2, 2), false),
        ] {
            let (session, other) = stolen(&mut database.connect());
            let (stale, user_id) = (session[0].token_hash.clone(), session[0].user_id);
            let ((), redemption) = race::wait_for_commit(
                &database,
                |conn| {
                    if response_waits_at_the_gate {
                        RefreshTokenRepository::new(conn).revoke_all_for_user_in_org(user_id, Uuid::new_v4()).unwrap();
                    }
                    diesel::delete(dsl::refresh_tokens.find(session[0].id)).execute(conn).unwrap();
                },
                move |conn| redeem(conn, &stale, on_reuse),
            );
            assert_eq!(ended(reuse(redemption).1), expected, "{on_reuse:?}, at the gate: {response_waits_at_the_gate}");
            assert!(!is_valid(&database, &session[2].token_hash));
            assert_eq!(is_valid(&database, &other.token_hash), other_lives);
        }
    }
}

left_out!(under serializable:
    "its schedule is one of READ COMMITTED: who waits there is rolled back here, and comes later");
/// Whoever waited for a rotation keeps PostgreSQL's lock on the spent row until the end of its transaction, and its
/// response would wait with it for a gate whose holder waits for that row.
#[test]
fn a_breach_response_and_a_revocation_of_the_user_do_not_deadlock() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let token = create(&mut conn);
    let (hash, user_id) = (token.token_hash.clone(), token.user_id);
    let (redemption, revocation) = conn
        .transaction(|conn| {
            let rotating = race::pid(conn);
            rotate(By::Library, conn, &token.token_hash);
            // First in the queue for the row, so that it gets the lock first, and loses it.
            let redemption =
                race::start_blocked(&database, rotating, move |conn| redeem(conn, &hash, OnReuse::RevokeSession));
            let revocation = race::start_blocked(&database, redemption.pid, move |conn| {
                RefreshTokenRepository::new(conn).revoke_all_for_user(user_id)
            });
            QueryResult::Ok((redemption, revocation))
        })
        .unwrap();
    let (_, response) = reuse(redemption.join().unwrap());
    let receipt = revocation.join().unwrap().unwrap();
    let BreachResponse::Revoked(given) = response else { panic!("{response:?}") };
    assert_eq!((given.live + receipt.live, given.tokens + receipt.tokens), (1, 2));
}

/// In a transaction of the host's, too, a refusal gives back what it locked: here the successor of a repeated request.
#[test]
fn a_refusal_keeps_no_lock() {
    let database = Database::migrated().with(&[("lock_timeout", "50ms")]);
    let mut conn = database.connect();
    let hashes = chain(&mut conn, 3);
    let rows: Vec<_> = hashes.iter().map(|hash| row(&mut conn, hash)).collect();
    let store = RefreshTokenStore::connect(database.url(), &database.config().lock_timeout(Duration::from_millis(50)));
    let store = store.unwrap();
    let sent_again = Successor::expiring_at(rows[1].id, hashes[1].clone(), rows[1].expires_at);
    let stranger = Binding::user(Uuid::new_v4());
    RefreshTokenRepository::new(&mut conn)
        .transaction(|tx| {
            let used = tx.rotate(&hashes[0], &sent_again, Binding::ANY)?;
            assert!(matches!(used, Rotation::Refused(Refusal::Reused(_))), "{used:?}");
            let foreign = tx.rotate(&hashes[2], &successor(), stranger)?;
            assert!(matches!(foreign, Rotation::Refused(Refusal::BindingMismatch(_))), "{foreign:?}");
            assert!(tx.get_valid_for_rotation(&hashes[2], stranger)?.is_none());
            let receipt = store.revoke_all_for_user(rows[0].user_id)?;
            assert_eq!(receipt.tokens, 3, "nobody is waited for");
            Ok(())
        })
        .unwrap();
}

/// A row of nobody, as only other software writes it: its replay must not cut off everybody's logins.
#[test]
fn reuse_of_a_token_of_nobody_cuts_off_nobody() {
    let mut conn = connection();
    let before = race::now(&mut conn);
    let hashes = chain(&mut conn, 2);
    diesel::update(dsl::refresh_tokens).set(dsl::user_id.eq(Uuid::nil())).execute(&mut *conn).unwrap();
    assert_eq!(ended(reuse(redeem(&mut conn, &hashes[0], OnReuse::RevokeUser)).1), (2, 1, 1));
    let session = SessionOptions::default().authenticated_at(before);
    let login = NewRefreshToken { session, ..new_token() };
    assert!(RefreshTokenRepository::new(&mut conn).create(&login).is_ok());
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
#[test]
fn flaw_6_inside_a_transaction_the_outcome_says_what_a_rollback_undoes() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let (session, _) = stolen(&mut conn);
    let rolled_back = conn.transaction(|conn| {
        let redemption = redeem(conn, &session[0].token_hash, OnReuse::RevokeSession).unwrap();
        assert!(matches!(redemption, Redemption::Reused { durability: Durability::PendingYourCommit, .. }));
        Err::<(), _>(DieselError::RollbackTransaction)
    });
    assert!(rolled_back.is_err());
    assert!(is_valid(&database, &session[2].token_hash), "as the outcome said");
    // The next presentation has the response that was undone.
    let outcome = RefreshTokenRepository::new(&mut conn)
        .transaction(|tx| tx.redeem(&session[0].token_hash, &successor(), Binding::ANY, OnReuse::RevokeSession));
    assert_eq!(ended(reuse(outcome).1), (3, 1, 1));
    assert!(!is_valid(&database, &session[2].token_hash));

    let fresh = create(&mut conn);
    let outcome = RefreshTokenRepository::new(&mut conn)
        .transaction(|tx| tx.redeem(&fresh.token_hash, &successor(), Binding::ANY, OnReuse::RevokeSession));
    assert!(
        matches!(outcome, Ok(Redemption::Rotated { durability: Durability::PendingYourCommit, .. })),
        "{outcome:?}"
    );
}

#[test]
fn in_repeatable_read_a_response_is_refused_and_a_rotation_is_not() {
    let mut conn = connection();
    let (session, other) = stolen(&mut conn);
    let outcome = conn.build_transaction().repeatable_read().run(|conn| {
        let rotated = redeem(conn, &other.token_hash, OnReuse::RevokeSession)?;
        assert!(matches!(rotated, Redemption::Rotated { .. }));
        let refused = redeem(conn, &session[0].token_hash, OnReuse::RevokeSession);
        assert_eq!(refused, Err(Error::IsolationTooHigh));
        let reported = redeem(conn, &session[0].token_hash, OnReuse::ReportOnly)?;
        assert!(matches!(reported, Redemption::Reused { response: BreachResponse::ReportedOnly, .. }));
        let unknown = redeem(conn, &fresh_hash(), OnReuse::RevokeSession)?;
        assert_eq!(unknown, Redemption::Refused(Refusal::NotFound));
        Ok::<_, Error>(())
    });
    assert_eq!(outcome, Ok(()));
}
