//! `rotate_many`: each request has the outcome that `rotate` would give it, whatever the others are.

mod same_as_one_by_one;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{
    Binding, Error, InvalidInput, NewRefreshToken, RefreshToken, RefreshTokenRepository, RefreshTokenStore, Refusal,
    Result, Rotation, RotationRequest, SessionOptions, Successor, TokenHash,
};
use refresh_tokens_support::doc::{connection, fresh_hash, in_days, new_token, successor};
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

use crate::common::{By, chain, create, expire, is_valid, rotate, row, statements};

fn request(presented: &TokenHash) -> RotationRequest {
    RotationRequest::new(presented.clone(), successor())
}

fn rotate_many(conn: &mut PgConnection, requests: &[RotationRequest]) -> Vec<Result<Rotation>> {
    RefreshTokenRepository::new(conn).rotate_many(requests).unwrap()
}

fn made(outcome: &Result<Rotation>) -> &RefreshToken {
    match outcome {
        Ok(Rotation::Rotated(token) | Rotation::Repeated(token)) => token,
        other => panic!("{other:?}"),
    }
}

fn refusal(outcome: &Result<Rotation>) -> &'static str {
    match outcome {
        Ok(Rotation::Refused(refusal)) => refusal.as_str(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_asked_of_the_server_for_nothing() {
    let mut conn = connection();
    assert_eq!(statements(&mut conn, |conn| assert_eq!(rotate_many(conn, &[]), [])), 0);
}

/// What the whole thing is for: BEGIN, one statement, COMMIT, for one and for many.
#[test]
fn live_tokens_cost_three_statements_together() {
    let mut conn = connection();
    let alone = create(&mut conn).token_hash;
    let one = statements(&mut conn, |conn| {
        rotate(By::Library, conn, &alone);
    });
    let tokens = [(); 20].map(|()| create(&mut conn));
    let requests = tokens.each_ref().map(|token| request(&token.token_hash));
    let many = statements(&mut conn, |conn| {
        for (outcome, (request, token)) in rotate_many(conn, &requests).iter().zip(requests.iter().zip(&tokens)) {
            let made = made(outcome);
            assert_eq!((made.session_id, made.generation), (token.session_id, 1));
            assert!(format!("{request:?}").contains(&made.id.to_string()), "it is the one that was asked for");
        }
    });
    assert_eq!((one, many), (3, 3));
}

/// Those whom nothing can make valid again share one look-up; nobody waits for the others' refusals.
#[test]
fn dead_tokens_cost_one_statement_more() {
    let mut conn = connection();
    let [live, expired] = [(); 2].map(|()| create(&mut conn).token_hash);
    let stale = chain(&mut conn, 2).remove(0);
    expire(&mut conn, &expired, 1);
    let presented: Vec<_> = [&live, &stale, &stale, &expired, &fresh_hash()].map(request).into();
    let count = statements(&mut conn, |conn| {
        let outcomes = rotate_many(conn, &presented);
        assert_eq!(outcomes[1..].iter().map(refusal).collect::<Vec<_>>(), ["reused", "reused", "expired", "not_found"]);
        made(&outcomes[0]);
    });
    assert_eq!(count, 4);
}

#[test]
fn no_bad_request_spoils_the_others() {
    let mut conn = connection();
    let live: Vec<_> = (0..8).map(|_| create(&mut conn)).collect();
    let [taken_id, taken_hash, past, nil] = [(); 4].map(|()| create(&mut conn).token_hash);
    let bystander = create(&mut conn);
    let stale = chain(&mut conn, 2).remove(0);
    let with = |presented: &TokenHash, id, hash: &TokenHash, expires_at| {
        RotationRequest::new(presented.clone(), Successor::expiring_at(id, hash.clone(), expires_at))
    };
    let stranger = Binding::user(Uuid::new_v4());
    let bad = [
        with(&taken_id, bystander.id, &fresh_hash(), in_days(30)),
        with(&taken_hash, Uuid::new_v4(), &bystander.token_hash, in_days(30)),
        with(&past, Uuid::new_v4(), &fresh_hash(), in_days(-1)),
        with(&nil, Uuid::nil(), &fresh_hash(), in_days(30)),
        request(&stale),
        request(&fresh_hash()),
        request(&bystander.token_hash).binding(stranger),
        request(&bystander.token_hash).binding(Binding::user(Uuid::nil())),
    ];
    let requests: Vec<_> = live.iter().map(|token| request(&token.token_hash)).zip(bad).collect();
    let requests: Vec<_> = requests.into_iter().flat_map(|(good, bad)| [good, bad]).collect();
    let outcomes = rotate_many(&mut conn, &requests);
    for (outcome, token) in outcomes.iter().step_by(2).zip(&live) {
        assert_eq!(made(outcome).session_id, token.session_id);
    }
    let bad: Vec<_> = outcomes.into_iter().skip(1).step_by(2).collect();
    assert_eq!(bad[0], Err(Error::DuplicateId));
    assert_eq!(bad[1], Err(Error::DuplicateHash));
    let field = "successor.expires_at";
    assert_eq!(bad[2], Err(Error::InvalidInput(InvalidInput::ExpiryNotInFuture { field })));
    assert!(matches!(bad[3], Err(Error::InvalidInput(InvalidInput::NilUuid { .. }))), "{:?}", bad[3]);
    assert_eq!([&bad[4], &bad[5], &bad[6]].map(refusal), ["reused", "not_found", "binding_mismatch"]);
    assert!(matches!(bad[7], Err(Error::InvalidInput(InvalidInput::NilUuid { .. }))), "{:?}", bad[7]);
    for hash in [&taken_id, &taken_hash, &past, &nil, &bystander.token_hash] {
        assert!(row(&mut conn, hash).rotated_to.is_none(), "it can still be rotated");
    }
}

/// A constraint or a trigger of the host's fails the statement for all.
#[test]
fn what_the_hosts_own_constraint_refuses_spoils_nothing_else() {
    let mut conn = connection();
    let [blocked, free] = [(); 2].map(|()| create(&mut conn));
    conn.batch_execute(&format!(
        "ALTER TABLE refresh_tokens ADD CONSTRAINT suspended CHECK (user_id <> '{}' OR generation = 0)",
        blocked.user_id
    ))
    .unwrap();
    let outcomes = rotate_many(&mut conn, &[request(&blocked.token_hash), request(&free.token_hash)]);
    assert!(matches!(outcomes[0], Err(Error::Database { .. })), "{outcomes:?}");
    assert_eq!(made(&outcomes[1]).session_id, free.session_id);
    assert!(row(&mut conn, &blocked.token_hash).rotated_to.is_none());
}

/// Invariant 1: of two who present it, one gets a successor. Invariant 6: but not where it is the same request.
#[test]
fn invariants_1_and_6_hold_within_a_batch() {
    let mut conn = connection();
    let [contended, repeated] = [(); 2].map(|()| create(&mut conn).token_hash);
    let same = request(&repeated);
    let requests = [request(&contended), same.clone(), request(&contended), same.clone(), request(&contended)];
    let outcomes = rotate_many(&mut conn, &requests);
    made(&outcomes[0]);
    assert_eq!([&outcomes[2], &outcomes[4]].map(refusal), ["reused"; 2]);
    assert_eq!(made(&outcomes[1]), made(&outcomes[3]));
    // Its answer was lost, so all of it is sent again.
    let again = rotate_many(&mut conn, &requests[..2]);
    assert_eq!([made(&again[0]), made(&again[1])], [made(&outcomes[0]), made(&outcomes[1])]);
}

#[test]
fn a_request_may_present_the_successor_of_one_before_it() {
    let mut conn = connection();
    let first = create(&mut conn).token_hash;
    let [second, third] = [fresh_hash(), fresh_hash()];
    let to = |presented: &TokenHash, hash: &TokenHash| {
        RotationRequest::new(presented.clone(), Successor::expiring_at(Uuid::new_v4(), hash.clone(), in_days(30)))
    };
    let requests = [request(&third), to(&first, &second), to(&second, &third)];
    let cost = statements(&mut conn, |conn| {
        let outcomes = rotate_many(conn, &requests);
        // At its turn, nobody had heard of it.
        assert_eq!(refusal(&outcomes[0]), "not_found");
        assert_eq!([&outcomes[1], &outcomes[2]].map(|outcome| made(outcome).generation), [1, 2]);
    });
    assert_eq!(cost, 5, "in one transaction");
}

/// It fails the statement for all, once; then it is known whose fault that is.
#[test]
fn an_id_that_is_taken_costs_the_others_one_attempt() {
    let mut conn = connection();
    let tokens = [(); 20].map(|()| create(&mut conn));
    let mut requests = tokens.each_ref().map(|token| request(&token.token_hash));
    let taken = Successor::expiring_at(tokens[0].id, fresh_hash(), in_days(30));
    requests[7] = RotationRequest::new(tokens[7].token_hash.clone(), taken);
    let cost = statements(&mut conn, |conn| {
        let outcomes = rotate_many(conn, &requests);
        assert_eq!(outcomes[7], Err(Error::DuplicateId));
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(Rotation::Rotated(_)))).count(), 19);
    });
    assert_eq!(cost, 10, "an attempt, a look-up, the others, and the one");
}

/// A token that somebody has locked is waited for when the others have been committed.
#[test]
fn a_locked_token_does_not_hold_up_the_others() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let [held, free] = [(); 2].map(|()| create(&mut conn).token_hash);
    let requests = [request(&held), request(&free)];
    let lock_it = |conn: &mut PgConnection| {
        let locked: Result<()> = RefreshTokenRepository::new(conn).transaction(|tx| {
            assert!(tx.get_valid_for_rotation(&held, Binding::ANY)?.is_some());
            Ok(())
        });
        locked.unwrap();
    };
    let mut holder = database.connect();
    let waiting = holder
        .transaction(|conn| {
            let pid = race::pid(conn);
            lock_it(conn);
            let waiting = race::start_blocked(&database, pid, move |conn| {
                RefreshTokenRepository::new(conn).rotate_many(&requests)
            });
            assert!(!is_valid(&database, &free), "its rotation is committed");
            assert!(is_valid(&database, &held));
            QueryResult::Ok(waiting)
        })
        .unwrap();
    let outcomes = waiting.join().unwrap().unwrap();
    made(&outcomes[0]);
    made(&outcomes[1]);
}

/// In a transaction of the host's, which keeps its locks, it waits in one order whatever that of the requests: while it
/// waits for the oldest, it holds none of the younger.
#[test]
fn a_host_that_waits_holds_nothing_younger() {
    use refresh_tokens::schema::refresh_tokens::dsl;
    let database = Database::migrated();
    let mut conn = database.connect();
    let [older, younger] = [(); 2].map(|()| create(&mut conn).token_hash);
    let requests = [request(&younger), request(&older)];
    let (free, waiting) = conn
        .transaction(|conn| {
            let pid = race::pid(conn);
            let free = rotate(By::Library, conn, &older);
            let waiting = race::start_blocked(&database, pid, move |conn| {
                RefreshTokenRepository::new(conn).transaction(|tx| tx.rotate_many(&requests))
            });
            let locked = dsl::refresh_tokens.filter(dsl::token_hash.eq(&younger)).select(dsl::id);
            let nobodys: Option<Uuid> =
                locked.for_update().skip_locked().first(&mut database.connect()).optional().unwrap();
            assert!(nobodys.is_some(), "it holds the younger one");
            QueryResult::Ok((free, waiting))
        })
        .unwrap();
    let outcomes = waiting.join().unwrap().unwrap();
    assert!(is_valid(&database, &free));
    assert_eq!(refusal(&outcomes[1]), "reused");
    made(&outcomes[0]);
}

#[test]
fn invariant_10_a_batch_in_the_hosts_transaction_is_a_part_of_it() {
    let mut conn = connection();
    let tokens = [(); 2].map(|()| create(&mut conn));
    let requests = tokens.each_ref().map(|token| request(&token.token_hash));
    let undone: Result<()> = RefreshTokenRepository::new(&mut conn).transaction(|tx| {
        assert!(tx.rotate_many(&requests)?.iter().all(|outcome| matches!(outcome, Ok(Rotation::Rotated(_)))));
        Err(Error::Aborted)
    });
    assert_eq!(undone, Err(Error::Aborted));
    for token in &tokens {
        assert_eq!(row(&mut conn, &token.token_hash), *token);
    }
}

/// A switch of organisation passes the user's gate and is judged by the cutoffs, like that of a single rotation.
#[test]
fn a_switch_to_an_organisation_that_was_cut_off_is_refused() {
    let mut conn = connection();
    let [barred, free] = [(); 2].map(|()| create(&mut conn));
    let org_id = Uuid::new_v4();
    RefreshTokenRepository::new(&mut conn).revoke_all_for_user_in_org(barred.user_id, org_id).unwrap();
    let to_org =
        |token: &RefreshToken| RotationRequest::new(token.token_hash.clone(), successor().active_org_id(org_id));
    let outcomes = rotate_many(&mut conn, &[to_org(&barred), to_org(&free)]);
    assert!(matches!(outcomes[0], Ok(Rotation::Refused(Refusal::OrgRevoked(_)))), "{outcomes:?}");
    assert_eq!(made(&outcomes[1]).active_org_id, org_id);
}

#[test]
fn the_store_has_it_too() {
    let database = Database::migrated();
    let token = create(&mut database.connect());
    let store = RefreshTokenStore::connect(database.url(), &database.config().max_connections(1)).unwrap();
    made(&store.rotate_many(&[request(&token.token_hash)]).unwrap()[0]);
}

/// The absolute end of a session holds for what a batch makes as well.
#[test]
fn a_successor_of_a_batch_does_not_outlive_its_session() {
    let mut conn = connection();
    let new = NewRefreshToken { session: SessionOptions::default().expires_at(in_days(2)), ..new_token() };
    let token =
        RefreshTokenRepository::new(&mut conn).create(&NewRefreshToken { expires_at: in_days(1), ..new }).unwrap();
    let outcomes = rotate_many(&mut conn, &[request(&token.token_hash)]);
    assert_eq!(Some(made(&outcomes[0]).expires_at), token.session_expires_at);
}

/// A request that is made alone, here because it switches the organisation, and that the server rolls back once.
#[test]
fn the_store_makes_the_one_request_again_that_met_a_conflict() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let [token, other] = [(); 2].map(|()| create(&mut conn));
    let org_id = Uuid::new_v4();
    conn.batch_execute(&format!(
        "CREATE SEQUENCE switches;
         CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.active_org_id = '{org_id}' AND nextval('switches') = 1 THEN
                 RAISE serialization_failure USING MESSAGE = 'could not serialize access due to concurrent update';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER conflict BEFORE INSERT ON refresh_tokens FOR EACH ROW EXECUTE FUNCTION conflict()"
    ))
    .unwrap();
    let switch = RotationRequest::new(token.token_hash, successor().active_org_id(org_id));
    let store = RefreshTokenStore::connect(database.url(), &database.config().max_connections(1)).unwrap();
    let outcomes = store.rotate_many(&[switch, request(&other.token_hash)]).unwrap();
    assert_eq!(made(&outcomes[0]).active_org_id, org_id);
    assert_eq!(made(&outcomes[1]).session_id, other.session_id);
}
