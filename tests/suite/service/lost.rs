//! An exchange or a login whose outcome is unknown: the service asks once more by itself, and what it then says holds.

use refresh_tokens::{RefreshTokenStore, StoreConfig};
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::wire::AMBIGUOUS;
use refresh_tokens_support::{Fault, Server, Wire};

use super::*;

/// Has the first row that is inserted take its connection with it, and the later ones do what is said here.
fn die_once_and_then(database: &Database, later: &str) {
    let trigger = format!(
        "CREATE SEQUENCE births;
         CREATE FUNCTION be_born() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('births') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
             {later}
             RETURN NEW;
         END $$;
         CREATE TRIGGER be_born BEFORE INSERT ON refresh_tokens FOR EACH ROW EXECUTE FUNCTION be_born()"
    );
    database.connect().batch_execute(&trigger).unwrap();
}

#[test]
fn invariant_6_a_login_whose_connection_is_lost_is_made_again() {
    let database = Database::migrated();
    let service = service(&database);
    die_once_and_then(&database, "");
    let issued = log_in(&service, Uuid::new_v4());
    assert_eq!(service.look_up(issued.secret.expose(), Binding::ANY).unwrap(), Some(issued.token));
}

/// The first attempt may have been committed, so what befell the second one says nothing of the outcome.
#[test]
fn invariant_6_an_exchange_that_was_lost_and_then_fails_is_unknown() {
    let database = Database::migrated();
    let service = service(&database);
    let issued = log_in(&service, Uuid::new_v4());
    die_once_and_then(&database, "RAISE EXCEPTION 'not today';");
    let outcome = service.refresh(issued.secret.expose(), Binding::ANY);
    assert_eq!(outcome.unwrap_err(), Error::ConnectionLost);
}

/// COMMIT is carried out, and its answer says that nobody knows; by the time of the second attempt, the session was revoked:
/// here by a trigger of the host's. Its secret is not handed out as if it were good.
#[test]
fn invariant_6_a_login_that_was_revoked_before_its_answer_came_is_no_session() {
    let server = Server::temporary(Durability::None).unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let database = Database::migrated_on(&server.url());
    let wire = Wire::to(&server);
    let config = StoreConfig::default().max_connections(1);
    let store = RefreshTokenStore::connect(&wire.url(database.url()), &config).unwrap();
    let service = SessionService::new(store, Peppers::new(pepper(1)), SessionPolicy::default()).unwrap();
    let revoke = "CREATE FUNCTION revoke() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             NEW.revoked_at := clock_timestamp();
             RETURN NEW;
         END $$;
         CREATE TRIGGER revoke BEFORE INSERT ON refresh_tokens FOR EACH ROW EXECUTE FUNCTION revoke()";
    database.connect().batch_execute(revoke).unwrap();
    let mut commits = 0;
    for statement in 0.. {
        wire.arm(Fault::Refuse { statement, code: AMBIGUOUS, message: "result is ambiguous" });
        let outcome = service.start_session(&Login::new(Uuid::new_v4(), Uuid::new_v4()));
        match wire.disarm() {
            Some(befell) if befell.ends_with("Q COMMIT") => {
                assert_eq!(outcome.map(drop), Err(Error::RevokedSinceLogin), "{befell}");
                commits += 1;
            }
            Some(_) => {}
            None => break,
        }
    }
    assert!(commits > 0, "no COMMIT was refused");
}
