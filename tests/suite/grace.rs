//! Who presents a token again, and what they get: the same successor within the grace period, a breach response after it.

use chrono::TimeDelta;
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, BreachResponse, IssuedToken, Login, OnReuse, Pepper, Peppers, Redemption, Refresh, RefreshTokenRepository,
    Refusal, ReuseKind, RevokedReason, SessionPolicy, SessionService, Successor,
};
use refresh_tokens_support::doc::{self, connection, store, successor};
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

use crate::common::{chain, create, expire, row};

/// A service, and a session that has just begun.
fn begin(database: &Database, policy: SessionPolicy) -> (SessionService, IssuedToken) {
    let pepper = Pepper::new(1, &[7; 32]).unwrap();
    let service = SessionService::new(store(database), Peppers::new(pepper), policy).unwrap();
    let issued = service.start_session(&Login::new(Uuid::new_v4(), Uuid::new_v4())).unwrap();
    (service, issued)
}

fn refresh(service: &SessionService, presented: &IssuedToken) -> Refresh {
    service.refresh(presented.secret.expose(), Binding::ANY).unwrap()
}

fn rotated(outcome: Refresh) -> IssuedToken {
    match outcome {
        Refresh::Rotated(issued) => issued,
        other => panic!("{other:?}"),
    }
}

fn kind(outcome: &Refresh) -> (ReuseKind, BreachResponse) {
    match outcome {
        Refresh::Reused { kind, response, .. } => (*kind, *response),
        other => panic!("{other:?}"),
    }
}

fn live_tokens(database: &Database) -> i64 {
    let live = dsl::refresh_tokens.filter(dsl::rotated_to.is_null()).filter(dsl::revoked_at.is_null());
    live.count().get_result(&mut database.connect()).unwrap()
}

/// Lets so many seconds pass since a token was rotated.
fn pass(database: &Database, issued: &IssuedToken, seconds: i64) {
    let earlier =
        row(&mut database.connect(), &issued.token.token_hash).rotated_at.unwrap() - TimeDelta::seconds(seconds);
    diesel::update(dsl::refresh_tokens.find(issued.token.id))
        .set(dsl::rotated_at.eq(earlier))
        .execute(&mut database.connect())
        .unwrap();
}

#[test]
fn invariants_1_and_6_a_repeat_within_the_grace_period_gets_the_same_successor() {
    let database = Database::migrated();
    let (service, first) = begin(&database, SessionPolicy::default());
    let second = rotated(refresh(&service, &first));
    for seconds in [0, 30, 20] {
        pass(&database, &first, seconds);
        let Refresh::Repeated(again) = refresh(&service, &first) else { panic!("after {seconds}") };
        assert_eq!(again.secret.expose(), second.secret.expose());
        assert_eq!(again.token, second.token);
    }
    assert_eq!(live_tokens(&database), 1);
    // What the client got goes on.
    assert_eq!(rotated(refresh(&service, &second)).token.generation, 2);
}

#[test]
fn the_grace_period_ends_by_the_databases_clock() {
    let database = Database::migrated();
    let (service, first) = begin(&database, SessionPolicy::default());
    let second = rotated(refresh(&service, &first));
    pass(&database, &first, 60);
    let (kind_of, response) = kind(&refresh(&service, &first));
    assert_eq!(kind_of, ReuseKind::SuccessorUnused);
    assert!(matches!(response, BreachResponse::Revoked(receipt) if receipt.live == 1), "{response:?}");
    // The response has ended the session, also for who has the successor.
    assert!(matches!(refresh(&service, &second), Refresh::Refused(Refusal::Revoked(_))));
}

#[test]
fn the_grace_period_closes_at_the_successors_first_use() {
    let database = Database::migrated();
    let (service, first) = begin(&database, SessionPolicy::default());
    let second = rotated(refresh(&service, &first));
    let third = rotated(refresh(&service, &second));
    // Only the immediate predecessor of the live token has it: not its own predecessor, however quick.
    assert_eq!(kind(&refresh(&service, &first)).0, ReuseKind::SuccessorUsed);
    assert!(matches!(refresh(&service, &third), Refresh::Refused(Refusal::Revoked(_))));
    assert_eq!(live_tokens(&database), 0);
}

#[test]
fn without_a_grace_period_every_second_presentation_is_reuse() {
    let database = Database::migrated();
    let (service, first) = begin(&database, SessionPolicy::default().grace(TimeDelta::zero()));
    let _lost = rotated(refresh(&service, &first));
    // Also where the database's clock was set back since the rotation.
    pass(&database, &first, -3_600);
    assert_eq!(kind(&refresh(&service, &first)).0, ReuseKind::SuccessorUnused);
    assert_eq!(live_tokens(&database), 0);
}

/// As other software may have left it.
#[test]
fn a_rotation_of_which_nobody_knows_when_has_no_grace() {
    let database = Database::migrated();
    let (service, first) = begin(&database, SessionPolicy::default());
    let _second = rotated(refresh(&service, &first));
    let unknown = dsl::rotated_at.eq(None::<chrono::DateTime<chrono::Utc>>);
    diesel::update(dsl::refresh_tokens).set(unknown).execute(&mut database.connect()).unwrap();
    assert_eq!(kind(&refresh(&service, &first)).0, ReuseKind::SuccessorUnused);
}

#[test]
fn a_revoked_token_has_no_grace() {
    let database = Database::migrated();
    for what in ["the token", "its successor", "the session"] {
        let (service, first) = begin(&database, SessionPolicy::default());
        let second = rotated(refresh(&service, &first));
        match what {
            "the token" => assert!(service.store().revoke(first.token.id).unwrap().is_revoked()),
            "its successor" => assert!(service.store().revoke(second.token.id).unwrap().is_revoked()),
            _ => assert_eq!(service.log_out(first.secret.expose()).unwrap().sessions, 1),
        }
        let outcome = refresh(&service, &first);
        assert!(matches!(outcome, Refresh::Refused(Refusal::Revoked(_))), "{what}: {outcome:?}");
        // After the grace period it is reuse, of a session that has ended unless only the spent row was revoked.
        pass(&database, &first, 61);
        let expected = if what == "the token" { ReuseKind::SuccessorUnused } else { ReuseKind::SessionEnded };
        assert_eq!(kind(&refresh(&service, &first)).0, expected, "{what}");
    }
}

#[test]
fn an_expired_successor_is_not_handed_out() {
    let database = Database::migrated();
    let (service, first) = begin(&database, SessionPolicy::default());
    let second = rotated(refresh(&service, &first));
    expire(&mut database.connect(), &second.token.token_hash, 1);
    assert!(matches!(refresh(&service, &first), Refresh::Refused(Refusal::Expired(_))));
}

#[test]
fn somebody_elses_repeat_is_reuse() {
    let database = Database::migrated();
    let (service, first) = begin(&database, SessionPolicy::default());
    let _second = rotated(refresh(&service, &first));
    let stranger = service.refresh(first.secret.expose(), Binding::user(Uuid::new_v4())).unwrap();
    assert_eq!(kind(&stranger).0, ReuseKind::SuccessorUnused);
}

/// Two tabs: the second waits for the first one's COMMIT, and gets what it made.
#[test]
fn invariants_1_and_2_two_tabs_at_one_moment_converge() {
    let database = Database::migrated();
    let (service, first) = begin(&database, SessionPolicy::default());
    let (presented, other) = (first.secret.clone(), service.clone());
    let on = |service: &SessionService, conn: &mut PgConnection, presented: &str| {
        service.refresh_on(&mut RefreshTokenRepository::new(conn), presented, Binding::ANY)
    };
    let (one, two) = race::wait_for_commit(
        &database,
        |conn| on(&service, conn, first.secret.expose()),
        move |conn| on(&other, conn, presented.expose()),
    );
    let (one, Ok(Refresh::Repeated(two))) = (rotated(one.unwrap()), two) else { panic!("not the same") };
    assert_eq!(one.secret.expose(), two.secret.expose());
    assert_eq!(live_tokens(&database), 1);
}

/// The repeat waits for whoever uses the successor at this moment, and then finds the grace period closed.
#[test]
fn invariant_1_a_repeat_beside_the_successors_first_use_is_reuse() {
    let database = Database::migrated();
    let (service, first) = begin(&database, SessionPolicy::default());
    let second = rotated(refresh(&service, &first));
    let other = service.clone();
    let presented = first.secret.clone();
    let (used, late) = race::wait_for_commit(
        &database,
        |conn| RefreshTokenRepository::new(conn).rotate(&second.token.token_hash, &successor(), Binding::ANY).unwrap(),
        move |conn| other.refresh_on(&mut RefreshTokenRepository::new(conn), presented.expose(), Binding::ANY),
    );
    assert!(used.successor().is_some());
    assert_eq!(kind(&late.unwrap()).0, ReuseKind::SuccessorUsed);
}

/// Between two nodes, one of which has another newest pepper already.
#[test]
fn a_repeat_finds_the_successor_whichever_pepper_it_was_made_with() {
    let database = Database::migrated();
    let (old, new) = (Pepper::new(1, &[7; 32]).unwrap(), Pepper::new(2, &[8; 32]).unwrap());
    let service = |peppers| SessionService::new(store(&database), peppers, SessionPolicy::default()).unwrap();
    let behind = service(Peppers::new(old.clone()).accepting(new.clone()).unwrap());
    let ahead = service(Peppers::new(new).accepting(old).unwrap());
    let first = behind.start_session(&Login::new(Uuid::new_v4(), Uuid::new_v4())).unwrap();
    let second = rotated(refresh(&ahead, &first));
    assert_eq!((first.secret.key_id(), second.secret.key_id()), (1, 2));
    let Refresh::Repeated(again) = refresh(&behind, &first) else { panic!() };
    assert_eq!(again.secret.expose(), second.secret.expose());
    let third = rotated(refresh(&behind, &second));
    let Refresh::Repeated(again) = refresh(&ahead, &second) else { panic!() };
    assert_eq!(again.secret.expose(), third.secret.expose());
}

/// A host that hashes by itself can derive nothing, but is told the same.
#[test]
fn redeem_tells_the_kinds_of_reuse_apart() {
    let mut conn = connection();
    let kind_of = |presented, conn: &mut PgConnection| {
        let mut tokens = RefreshTokenRepository::new(conn);
        match tokens.redeem(presented, &successor(), Binding::ANY, OnReuse::ReportOnly).unwrap() {
            Redemption::Reused { kind, .. } => kind,
            other => panic!("{other:?}"),
        }
    };
    let hashes = chain(&mut conn, 3);
    assert_eq!(kind_of(&hashes[1], &mut conn), ReuseKind::SuccessorUnused);
    assert_eq!(kind_of(&hashes[0], &mut conn), ReuseKind::SuccessorUsed);
    let newest = row(&mut conn, &hashes[2]);
    let ends: [fn(&mut PgConnection, &refresh_tokens::RefreshToken); 3] = [
        |conn, newest| expire(conn, &newest.token_hash, 1),
        |conn, newest| {
            let mut tokens = RefreshTokenRepository::new(conn);
            assert!(tokens.with_reason(RevokedReason::LoggedOut).revoke(newest.id).unwrap().is_revoked());
        },
        |conn, newest| {
            diesel::delete(dsl::refresh_tokens.find(newest.id)).execute(conn).unwrap();
        },
    ];
    for end in ends {
        end(&mut conn, &newest);
        assert_eq!(kind_of(&hashes[1], &mut conn), ReuseKind::SessionEnded);
        assert_eq!(kind_of(&hashes[0], &mut conn), ReuseKind::SessionEnded);
    }
}

/// Invariant 6 for such a host: the same request is told from a first one.
#[test]
fn invariant_6_redeem_tells_a_repeat_from_a_first_exchange() {
    let mut conn = connection();
    let token = create(&mut conn);
    let request = Successor::with_lifetime(Uuid::new_v4(), doc::fresh_hash(), TimeDelta::days(1));
    let mut redeem = || {
        RefreshTokenRepository::new(&mut conn)
            .redeem(&token.token_hash, &request, Binding::ANY, OnReuse::RevokeSession)
            .unwrap()
    };
    assert_eq!([redeem().as_str(), redeem().as_str()], ["rotated", "repeated"]);
}
