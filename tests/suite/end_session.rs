//! `end_session`: a session by its live token alone, with the promise of `revoke_session`.

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, BreachResponse, Error, OnReuse, Redemption, RefreshTokenRepository, Refusal, RevocationReport,
    RevokedReason, Rotation, SessionQuery, SessionState, Successor, TokenHash,
};
use refresh_tokens_support::doc::{connection, fresh_hash, in_days, successor};
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

use crate::common::{By, chain, create, expire, is_valid, rotate, row, statements};

fn counts(receipt: RevocationReport) -> (usize, usize, usize) {
    (receipt.tokens, receipt.sessions, receipt.live)
}

fn session_of(conn: &mut PgConnection, hash: &TokenHash) -> Uuid {
    row(conn, hash).session_id
}

/// However long the history: three statements, and one row.
#[test]
fn it_costs_one_row_however_long_the_history() {
    let mut conn = connection();
    for length in [1, 2, 40] {
        let hashes = chain(&mut conn, length);
        let session_id = session_of(&mut conn, &hashes[0]);
        let cost = statements(&mut conn, |conn| {
            let receipt = RefreshTokenRepository::new(conn).end_session(session_id).unwrap();
            assert_eq!(counts(receipt), (1, 1, 1));
        });
        assert_eq!(cost, 3);
        let (live, history) = hashes.split_last().unwrap();
        let ended = row(&mut conn, live);
        assert!(ended.revoked_at.is_some());
        assert_eq!(ended.revoked_reason, Some(RevokedReason::SessionRevoked));
        assert!(history.iter().all(|hash| row(&mut conn, hash).revoked_at.is_none()), "the history is as it was");
    }
}

#[test]
fn nothing_of_the_session_is_accepted_any_more() {
    let mut conn = connection();
    let first = create(&mut conn);
    let sent = Successor::expiring_at(Uuid::new_v4(), fresh_hash(), in_days(30));
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let Ok(Rotation::Rotated(live)) = tokens.rotate(&first.token_hash, &sent, Binding::ANY) else { panic!() };
    let receipt = tokens.with_reason(RevokedReason::LoggedOut).end_session_by_hash(&first.token_hash).unwrap();
    assert_eq!(counts(receipt), (1, 1, 1));
    let outcome = tokens.rotate(&live.token_hash, &successor(), Binding::ANY).unwrap();
    assert!(matches!(outcome, Rotation::Refused(Refusal::Revoked(_))), "{outcome:?}");
    // Nor is it by who sends the request again that made the live token, or presents an old one.
    let outcome = tokens.rotate(&first.token_hash, &sent, Binding::ANY).unwrap();
    assert!(matches!(outcome, Rotation::Refused(Refusal::Revoked(_))), "{outcome:?}");
    let outcome = tokens.rotate(&first.token_hash, &successor(), Binding::ANY).unwrap();
    assert!(matches!(outcome, Rotation::Refused(Refusal::Reused(_))), "{outcome:?}");
    let page = tokens.list_sessions(&SessionQuery::of_user(first.user_id).include_ended()).unwrap();
    let state = page.sessions[0].state;
    assert!(matches!(state, SessionState::Revoked { reason: Some(RevokedReason::LoggedOut), .. }), "{state:?}");
}

#[test]
fn what_has_ended_is_not_ended_again() {
    let mut conn = connection();
    let [ended, expired] = [(); 2].map(|()| create(&mut conn));
    expire(&mut conn, &expired.token_hash, 1);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    for expected in [(1, 1, 1), (0, 0, 0)] {
        assert_eq!(counts(tokens.end_session(ended.session_id).unwrap()), expected);
    }
    assert_eq!(counts(tokens.end_session(expired.session_id).unwrap()), (1, 0, 0));
    for unknown in [tokens.end_session(Uuid::new_v4()), tokens.end_session_by_hash(&fresh_hash())] {
        assert_eq!(unknown, Ok(RevocationReport::default()));
    }
    assert!(matches!(tokens.end_session(Uuid::nil()), Err(Error::InvalidInput(_))));
}

left_out!(on other_tables: "only the trigger makes the successors of other software members of the session");
/// The successor that was being born when the session was ended dies with it; the reference's, too.
#[test]
fn invariant_3_a_rotation_in_flight_does_not_outlive_it() {
    let database = Database::migrated();
    for by in [By::Library, By::Reference] {
        let presented = create(&mut database.connect());
        let session_id = presented.session_id;
        let (newborn, receipt) = race::wait_for_commit(
            &database,
            |conn| rotate(by, conn, &presented.token_hash),
            move |conn| RefreshTokenRepository::new(conn).end_session(session_id),
        );
        assert_eq!(counts(receipt.unwrap()), (1, 1, 1), "{by:?}");
        assert!(!is_valid(&database, &newborn), "{by:?}");
    }
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
/// The other order: who comes to rotate while the session is being ended is refused.
#[test]
fn invariant_3_a_rotation_that_waits_for_it_is_refused() {
    let database = Database::migrated();
    let token = create(&mut database.connect());
    let presented = token.token_hash.clone();
    let (receipt, outcome) = race::wait_for_commit(
        &database,
        |conn| RefreshTokenRepository::new(conn).end_session(token.session_id),
        move |conn| RefreshTokenRepository::new(conn).rotate(&presented, &successor(), Binding::ANY),
    );
    assert_eq!(counts(receipt.unwrap()), (1, 1, 1));
    assert!(matches!(outcome, Ok(Rotation::Refused(Refusal::Revoked(_)))), "{outcome:?}");
}

#[test]
fn it_is_a_breach_response_as_well() {
    let mut conn = connection();
    let hashes = chain(&mut conn, 3);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let mut redeem = || tokens.redeem(&hashes[0], &successor(), Binding::ANY, OnReuse::EndSession).unwrap();
    let Redemption::Reused { response: BreachResponse::Revoked(receipt), .. } = redeem() else { panic!() };
    assert_eq!(counts(receipt), (1, 1, 1));
    assert!(matches!(redeem(), Redemption::Reused { response: BreachResponse::AlreadyHandled, .. }));
    let rows = hashes.iter().map(|hash| row(&mut conn, hash));
    assert_eq!(rows.filter(|row| row.revoked_at.is_some()).count(), 1);
}

/// A snapshot from before the call cannot see what it must end.
#[test]
fn it_is_refused_in_a_snapshot_from_before() {
    let mut conn = connection();
    let token = create(&mut conn);
    let outcome = conn.build_transaction().repeatable_read().run(|conn| {
        dsl::refresh_tokens.count().get_result::<i64>(conn)?;
        Ok::<_, DieselError>(RefreshTokenRepository::new(conn).end_session(token.session_id))
    });
    assert_eq!(outcome.unwrap(), Err(Error::IsolationTooHigh));
}

#[test]
fn by_hash_or_by_id_it_is_revoked_as_a_session_unless_the_host_says_why() {
    let mut conn = connection();
    let mut reasons = |by_host: Option<RevokedReason>| {
        let logins = [(); 3].map(|()| create(&mut conn));
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let end = |tokens: &mut RefreshTokenRepository<'_>| {
            tokens.end_session(logins[0].session_id).unwrap();
            tokens.end_session_by_hash(&logins[1].token_hash).unwrap();
            tokens.revoke_session_by_hash(&logins[2].token_hash).unwrap();
        };
        match by_host {
            Some(reason) => end(&mut tokens.with_reason(reason)),
            None => end(&mut tokens),
        }
        logins.map(|login| row(&mut conn, &login.token_hash).revoked_reason)
    };
    assert_eq!(reasons(None), [Some(RevokedReason::SessionRevoked); 3]);
    let by_host = Some(RevokedReason::PasswordChanged);
    assert_eq!(reasons(by_host), [by_host; 3]);
}
