//! What the service passes on: why a session ended, when its user was authenticated, what was answered in a transaction.

use diesel::prelude::*;
use diesel::sql_query;
use refresh_tokens::{
    Binding, Error, IssuedToken, Login, Refresh, RefreshOutcome, RevocationReport, RevokedReason, SessionService,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::service;
use uuid::Uuid;

use crate::common::row;

fn log_in(service: &SessionService, user_id: Uuid) -> IssuedToken {
    service.start_session(&Login::new(user_id, Uuid::new_v4())).unwrap()
}

/// Each of them ends the first session of a user, from the second one.
#[test]
fn a_session_that_its_user_ends_was_logged_out() {
    type Way = fn(&SessionService, &IssuedToken, &IssuedToken) -> Option<RevocationReport>;
    let ways: [(&str, Way); 4] = [
        ("end_session", |service, ends, _| service.log_out(ends.secret.expose()).ok()),
        ("end_session_of", |service, ends, _| service.end_session_of(ends.token.user_id, ends.token.session_id).ok()),
        ("end_other_sessions", |service, _, stays| {
            service.end_other_sessions(stays.token.user_id, stays.token.session_id).unwrap()
        }),
        ("end_all_sessions", |service, ends, _| service.end_all_sessions(ends.token.user_id).ok()),
    ];
    let database = Database::migrated();
    let service = service(&database);
    for (name, way) in ways {
        let user_id = Uuid::new_v4();
        let [ends, stays] = [(); 2].map(|()| log_in(&service, user_id));
        assert!(way(&service, &ends, &stays).is_some_and(|receipt| receipt.sessions > 0), "{name}");
        let ended = row(&mut database.connect(), &ends.token.token_hash);
        assert_eq!(ended.revoked_reason, Some(RevokedReason::LoggedOut), "{name}");
    }
}

#[test]
fn invariant_3_a_login_from_before_a_revocation_begins_no_session() {
    let database = Database::migrated();
    let service = service(&database);
    let user_id = Uuid::new_v4();
    let before = Login::new(user_id, Uuid::new_v4()).authenticated_at(service.now().unwrap());
    service.start_session(&before).unwrap();
    service.end_all_sessions(user_id).unwrap();
    assert_eq!(service.start_session(&before).map(drop), Err(Error::RevokedSinceLogin));
    let after = before.clone().authenticated_at(service.now().unwrap());
    service.start_session(&after).unwrap();
}

#[test]
fn what_is_answered_in_a_transaction_is_counted_by_every_clone() {
    let database = Database::migrated();
    let service = service(&database);
    let clone = service.clone();
    let issued = log_in(&service, Uuid::new_v4());
    let outcomes = service.store().transaction(|tx| {
        ["let me in", issued.secret.expose()]
            .map(|presented| clone.refresh_on(tx, presented, Binding::ANY))
            .into_iter()
            .collect::<Result<Vec<Refresh>, Error>>()
    });
    assert_eq!(outcomes.unwrap().iter().map(Refresh::as_str).collect::<Vec<_>>(), ["malformed", "rotated"]);
    let counted: Vec<_> = service.counts().iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [(RefreshOutcome::Rotated, 1), (RefreshOutcome::Malformed, 1)]);
    assert_eq!(service.counts(), clone.counts());
}

/// A token cannot be rotated after its session's end, however long it would live by itself.
#[test]
fn a_pepper_is_out_of_use_when_the_sessions_of_its_tokens_are_over() {
    let database = Database::migrated();
    let service = service(&database);
    let token = log_in(&service, Uuid::new_v4()).token;
    let usage =
        || service.pepper_usage().unwrap().into_iter().map(|usage| (usage.tokens, usage.live, usage.live_until));
    assert_eq!(usage().collect::<Vec<_>>(), [(1, 1, Some(token.expires_at))]);
    let mut conn = database.connect();
    sql_query("UPDATE refresh_tokens SET session_expires_at = expires_at - interval '1 day'")
        .execute(&mut conn)
        .unwrap();
    let sooner = row(&mut conn, &token.token_hash).session_expires_at;
    assert_eq!(usage().collect::<Vec<_>>(), [(1, 1, sooner)]);
    sql_query("UPDATE refresh_tokens SET session_expires_at = now()").execute(&mut conn).unwrap();
    assert_eq!(usage().collect::<Vec<_>>(), [(1, 0, None)]);
}
