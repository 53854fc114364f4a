//! The service: sessions by their secrets.

mod lost;

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Error, InvalidInput, InvalidSecret, IssuedToken, Login, OnReuse, Pepper, Peppers, Refresh, RefreshOutcome,
    Refusal, RevokedReason, SessionLimit, SessionPolicy, SessionQuery, SessionService, TokenSecret,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{service, store};
use uuid::Uuid;

use crate::common::{expire, row, statements};

fn pepper(id: u16) -> Pepper {
    Pepper::new(id, &[u8::try_from(id).unwrap(); 32]).unwrap()
}

fn with(database: &Database, peppers: Peppers, policy: SessionPolicy) -> SessionService {
    SessionService::new(store(database), peppers, policy).unwrap()
}

fn log_in(service: &SessionService, user_id: Uuid) -> IssuedToken {
    service.start_session(&Login::new(user_id, Uuid::new_v4())).unwrap()
}

fn refreshed(service: &SessionService, presented: &IssuedToken) -> IssuedToken {
    let outcome = service.refresh(presented.secret.expose(), Binding::ANY).unwrap();
    outcome.issued().expect("it is live")
}

#[test]
fn a_session_lives_as_long_as_the_policy_says_by_the_databases_clock() {
    let database = Database::migrated();
    let policy = SessionPolicy::default().idle_lifetime(TimeDelta::days(7)).absolute_lifetime(TimeDelta::days(10));
    let service = with(&database, Peppers::new(pepper(1)), policy);
    let before = service.now().unwrap();
    let first = log_in(&service, Uuid::new_v4()).token;
    let after = service.now().unwrap();
    let within = |instant, lifetime| (before + lifetime..=after + lifetime).contains(&instant);
    assert!(within(first.expires_at, TimeDelta::days(7)), "{first:?}");
    assert!(within(first.session_expires_at.unwrap(), TimeDelta::days(10)), "{first:?}");
    let defaults = with(&database, Peppers::new(pepper(1)), SessionPolicy::default());
    let token = log_in(&defaults, Uuid::new_v4()).token;
    assert_eq!((token.session_expires_at.unwrap() - token.expires_at).num_days(), 335, "365 and 30 days");
}

#[test]
fn a_successor_never_outlives_its_session() {
    let database = Database::migrated();
    let policy = SessionPolicy::default().absolute_lifetime(TimeDelta::days(40));
    let service = with(&database, Peppers::new(pepper(1)), policy);
    let first = log_in(&service, Uuid::new_v4());
    // Twenty days later.
    diesel::sql_query(
        "UPDATE refresh_tokens SET session_expires_at = session_expires_at - interval '20 days',
         expires_at = expires_at - interval '20 days'",
    )
    .execute(&mut database.connect())
    .unwrap();
    let second = refreshed(&service, &first).token;
    assert_eq!(Some(second.expires_at), second.session_expires_at);
    expire(&mut database.connect(), &second.token_hash, 0);
}

#[test]
fn a_damaged_secret_does_not_reach_the_database() {
    let database = Database::migrated();
    let service = service(&database);
    let issued = log_in(&service, Uuid::new_v4());
    let text = issued.secret.expose();
    let mistyped = text.replace("rtk1_00001_", "rtk1_00010_");
    let none = statements(&mut database.connect(), |conn| {
        let mut tokens = refresh_tokens::RefreshTokenRepository::new(conn);
        for damaged in ["", "let me in", &text[..62], &format!("{text} "), &mistyped] {
            let outcome = service.refresh_on(&mut tokens, damaged, Binding::ANY).unwrap();
            assert!(matches!(outcome, Refresh::Unrecognized(_)), "{outcome:?}");
        }
    });
    assert_eq!(none, 0);
    assert!(service.look_up(&mistyped, Binding::ANY).unwrap().is_none());
    assert_eq!(service.log_out(&mistyped).unwrap().tokens, 0);
    assert!(service.look_up(text, Binding::ANY).unwrap().is_some());
}

#[test]
fn an_unknown_secret_and_an_unknown_key_are_told_apart() {
    let database = Database::migrated();
    let one = with(&database, Peppers::new(pepper(1)), SessionPolicy::default());
    let foreign = Peppers::new(pepper(2)).generate().unwrap();
    let outcome = one.refresh(foreign.expose(), Binding::ANY).unwrap();
    assert!(matches!(outcome, Refresh::Unrecognized(InvalidSecret::UnknownKey { key_id: 2 })), "{outcome:?}");
    let forged = Peppers::new(pepper(1)).generate().unwrap();
    let outcome = one.refresh(forged.expose(), Binding::ANY).unwrap();
    assert!(matches!(outcome, Refresh::Refused(Refusal::NotFound)), "{outcome:?}");
}

#[test]
fn peppers_rotate_without_a_log_out_and_the_old_one_is_seen_to_fall_out_of_use() {
    let database = Database::migrated();
    let old = with(&database, Peppers::new(pepper(1)), SessionPolicy::default());
    let sessions = [(); 3].map(|()| log_in(&old, Uuid::new_v4()));
    let peppers = Peppers::new(pepper(2)).accepting(pepper(1)).unwrap();
    let both = with(&database, peppers, SessionPolicy::default());
    let usage = || {
        let usage = both.pepper_usage().unwrap();
        usage.iter().map(|usage| (usage.key_id, usage.tokens, usage.live)).collect::<Vec<_>>()
    };
    assert_eq!(usage(), [(2, 0, 0), (1, 3, 3)]);
    let moved: Vec<_> = sessions.iter().take(2).map(|session| refreshed(&both, session)).collect();
    assert_eq!(usage(), [(2, 2, 2), (1, 3, 1)]);
    assert_eq!(both.pepper_usage().unwrap()[1].live_until, Some(sessions[2].token.expires_at));
    both.log_out(sessions[2].secret.expose()).unwrap();
    assert_eq!(usage(), [(2, 2, 2), (1, 3, 0)]);
    // Taken out, what was made with it is refused, and what is made with the new one goes on.
    let new = with(&database, Peppers::new(pepper(2)), SessionPolicy::default());
    let late = new.refresh(sessions[0].secret.expose(), Binding::ANY).unwrap();
    assert!(matches!(late, Refresh::Unrecognized(InvalidSecret::UnknownKey { key_id: 1 })), "{late:?}");
    assert_eq!(refreshed(&new, &moved[0]).token.generation, 2);
}

/// Also where letters sort in another way, and beside hashes of other software.
#[test]
fn the_use_of_a_pepper_is_counted_exactly() {
    let database = Database::migrated();
    let ids = [0, 9, 10, 99, 100, 65_535];
    for id in ids {
        let pepper = Pepper::new(id, &[7; 32]).unwrap();
        log_in(&with(&database, Peppers::new(pepper), SessionPolicy::default()), Uuid::new_v4());
    }
    for foreign in ["00009", "00009k", "000090", "00010", "00009kz", "0010", "65536"] {
        let new = refresh_tokens::NewRefreshToken {
            token_hash: refresh_tokens::TokenHash::new(foreign).unwrap(),
            ..refresh_tokens_support::doc::new_token()
        };
        store(&database).create(&new).unwrap();
    }
    let mut peppers = Peppers::new(Pepper::new(7, &[7; 32]).unwrap());
    for id in ids {
        peppers = peppers.accepting(Pepper::new(id, &[7; 32]).unwrap()).unwrap();
    }
    let usage = with(&database, peppers, SessionPolicy::default()).pepper_usage().unwrap();
    let tokens: Vec<_> = usage.iter().map(|usage| (usage.key_id, usage.tokens)).collect();
    // Two of the foreign ones begin as the hashes of pepper 9 do, which nothing but a pepper's own can.
    assert_eq!(tokens, [(7, 0), (0, 1), (9, 3), (10, 1), (99, 1), (100, 1), (65_535, 1)]);
}

#[test]
fn a_user_ends_their_own_sessions_and_nobody_elses() {
    let database = Database::migrated();
    let service = service(&database);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    let [here, phone, tablet] = [(); 3].map(|()| log_in(&service, alice));
    let theirs = log_in(&service, bob);
    let live = |user_id| service.list_sessions(&SessionQuery::of_user(user_id)).unwrap().sessions.len();
    assert_eq!(service.end_session_of(bob, phone.token.session_id).unwrap().tokens, 0);
    assert_eq!(service.end_other_sessions(bob, phone.token.session_id), Ok(None));
    assert_eq!((live(alice), live(bob)), (3, 1));
    assert_eq!(service.end_session_of(alice, phone.token.session_id).unwrap().sessions, 1);
    assert_eq!(live(alice), 2);
    // By any token of the session, also one that was spent since.
    let later = refreshed(&service, &here);
    let ended = service.end_other_sessions(alice, here.token.session_id).unwrap().unwrap();
    assert_eq!((ended.sessions, live(alice)), (1, 1));
    // Also where the answer that made the newest token was lost: it is given again.
    assert_eq!(service.refresh(here.secret.expose(), Binding::ANY).unwrap().as_str(), "repeated");
    assert!(service.look_up(tablet.secret.expose(), Binding::ANY).unwrap().is_none());
    assert!(service.look_up(later.secret.expose(), Binding::user(alice)).unwrap().is_some());
    assert_eq!(service.end_all_sessions(alice).unwrap().sessions, 1);
    assert_eq!((live(alice), live(bob)), (0, 1));
    assert!(service.look_up(theirs.secret.expose(), Binding::user(bob)).unwrap().is_some());
}

#[test]
fn a_switch_of_organisation_checks_the_current_one() {
    let database = Database::migrated();
    let service = service(&database);
    let (user_id, here, there) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let first = service.start_session(&Login::new(user_id, here)).unwrap();
    let wrong = service.switch_org(first.secret.expose(), there, Binding::user(user_id).org(there)).unwrap();
    assert!(matches!(wrong, Refresh::Refused(Refusal::BindingMismatch(_))), "{wrong:?}");
    let moved = service.switch_org(first.secret.expose(), there, Binding::user(user_id).org(here)).unwrap();
    let Refresh::Rotated(moved) = moved else { panic!("{moved:?}") };
    assert_eq!(moved.token.active_org_id, there);
    // The lost answer of the switch, asked for again without it: the session has moved.
    let Refresh::Repeated(again) = service.refresh(first.secret.expose(), Binding::ANY).unwrap() else { panic!() };
    assert_eq!(again.token.active_org_id, there);
}

#[test]
fn the_policy_limits_sessions_and_chooses_the_response() {
    let database = Database::migrated();
    let policy = SessionPolicy::default()
        .session_limit(SessionLimit::refuse(2))
        .grace(TimeDelta::zero())
        .on_reuse(OnReuse::RevokeUser);
    let service = with(&database, Peppers::new(pepper(1)), policy);
    let user_id = Uuid::new_v4();
    let [first, other] = [(); 2].map(|()| log_in(&service, user_id));
    let third = service.start_session(&Login::new(user_id, Uuid::new_v4()));
    assert_eq!(third.unwrap_err(), Error::TooManySessions { max: 2 });
    refreshed(&service, &first);
    let reused = service.refresh(first.secret.expose(), Binding::ANY).unwrap();
    assert!(matches!(reused, Refresh::Reused { .. }));
    assert!(service.look_up(other.secret.expose(), Binding::ANY).unwrap().is_none());
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    let database = Database::migrated();
    let refused = |policy| SessionService::new(store(&database), Peppers::new(pepper(1)), policy).unwrap_err();
    let out_of_range = |field| InvalidInput::LifetimeOutOfRange { field };
    for wrong in [TimeDelta::zero(), TimeDelta::seconds(-1), TimeDelta::days(36_501), TimeDelta::MAX, TimeDelta::MIN] {
        let policy = SessionPolicy::default;
        assert_eq!(refused(policy().idle_lifetime(wrong)), out_of_range("idle_lifetime"));
        assert_eq!(refused(policy().absolute_lifetime(wrong)), out_of_range("absolute_lifetime"));
        if !wrong.is_zero() {
            assert_eq!(refused(policy().grace(wrong)), out_of_range("grace"));
        }
    }
}

#[test]
fn each_outcome_is_counted_under_its_own_name() {
    let database = Database::migrated();
    let service = service(&database);
    let [first, gone, moved] = [(); 3].map(|()| log_in(&service, Uuid::new_v4()));
    let unknown = Peppers::new(pepper(9)).generate().unwrap();
    let forged: TokenSecret = Peppers::new(Pepper::new(1, &[7; 32]).unwrap()).generate().unwrap();
    let ask = |text: &str| service.refresh(text, Binding::ANY).unwrap().as_str();
    let second = refreshed(&service, &first);
    assert_eq!(ask(first.secret.expose()), "repeated");
    refreshed(&service, &second);
    assert_eq!(ask(first.secret.expose()), "reused_successor_used");
    diesel::update(dsl::refresh_tokens)
        .set(dsl::rotated_at.eq(Some(service.now().unwrap() - TimeDelta::seconds(61))))
        .filter(dsl::rotated_to.is_not_null())
        .execute(&mut database.connect())
        .unwrap();
    assert_eq!(ask(second.secret.expose()), "reused_session_ended");
    service.log_out(gone.secret.expose()).unwrap();
    assert_eq!(ask(gone.secret.expose()), "revoked");
    let foreign = service.refresh(moved.secret.expose(), Binding::user(Uuid::new_v4())).unwrap();
    assert_eq!(foreign.as_str(), "binding_mismatch");
    expire(&mut database.connect(), &moved.token.token_hash, 1);
    let words = [moved.secret.expose(), forged.expose(), unknown.expose(), "?"].map(ask);
    assert_eq!(words, ["expired", "not_found", "unknown_key", "malformed"]);
    let counts = service.clone().counts();
    assert_eq!(counts.of(RefreshOutcome::Rotated), 2);
    let once: Vec<_> = counts.iter().filter(|(_, count)| *count == 1).map(|(outcome, _)| outcome).collect();
    let never: Vec<_> = counts.iter().filter(|(_, count)| *count == 0).map(|(outcome, _)| outcome).collect();
    assert_eq!(
        (once.len(), never),
        (RefreshOutcome::ALL.len() - 3, vec![RefreshOutcome::ReusedSuccessorUnused, RefreshOutcome::OrgRevoked])
    );
}

/// The connection is lost under way: the service asks once more by itself, and the client never knows.
#[test]
fn invariant_6_a_connection_that_is_lost_is_asked_for_again() {
    let database = Database::migrated();
    let service = service(&database);
    let issued = log_in(&service, Uuid::new_v4());
    // The first two successors to be inserted take their connections with them.
    let die = "CREATE SEQUENCE deaths;
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('deaths') <= 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER die BEFORE INSERT ON refresh_tokens FOR EACH ROW EXECUTE FUNCTION die()";
    database.connect().batch_execute(die).unwrap();
    let twice = service.refresh(issued.secret.expose(), Binding::ANY);
    assert_eq!(twice.unwrap_err(), Error::ConnectionLost);
    database.connect().batch_execute("SELECT setval('deaths', 1)").unwrap();
    assert_eq!(service.refresh(issued.secret.expose(), Binding::ANY).unwrap().as_str(), "rotated");
}

/// What the host gives in and counts on: when the user was authenticated, why a session ended, and what came of an exchange
/// on a connection of its own.
#[test]
fn the_instant_of_a_login_the_reason_of_a_log_out_and_the_hosts_own_exchanges_are_kept() {
    let database = Database::migrated();
    let service = service(&database);
    let user_id = Uuid::new_v4();
    let earlier = service.now().unwrap() - TimeDelta::hours(1);
    let [one, other, third] = [(); 3]
        .map(|()| service.start_session(&Login::new(user_id, Uuid::new_v4()).authenticated_at(earlier)).unwrap());
    assert_eq!(one.token.session_started_at, earlier);
    let mut conn = database.connect();
    let outcome = service.refresh_on(
        &mut refresh_tokens::RefreshTokenRepository::new(&mut conn),
        one.secret.expose(),
        Binding::ANY,
    );
    assert_eq!((outcome.unwrap().as_str(), service.counts().of(RefreshOutcome::Rotated)), ("rotated", 1));

    service.log_out(other.secret.expose()).unwrap();
    service.end_session_of(user_id, third.token.session_id).unwrap();
    service.end_all_sessions(user_id).unwrap();
    for ended in [&one, &other, &third] {
        let reason = row(&mut conn, &ended.token.token_hash).revoked_reason;
        assert_eq!(reason, Some(RevokedReason::LoggedOut));
    }
}
