//! Invariant 6: a rotation that is sent again, because its answer was lost, gets the answer that it had.

use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{Binding, Error, RefreshToken, RefreshTokenRepository, Refusal, Rotation, Successor};
use refresh_tokens_support::doc::{connection, in_days, new_token, successor};
use refresh_tokens_support::{Database, race};

use crate::common::{By, create, expire, rotate};

#[test]
fn invariant_6_the_same_request_gets_the_same_answer() {
    let mut conn = connection();
    let token = create(&mut conn);
    let successor = successor();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let first = tokens.rotate(&token.token_hash, &successor, Binding::ANY).unwrap();
    let Rotation::Rotated(made) = first else { panic!("{first:?}") };
    for _ in 0..3 {
        let again = tokens.rotate(&token.token_hash, &successor, Binding::ANY).unwrap();
        assert_eq!(again, Rotation::Repeated(made.clone()));
    }
    let wrong = Binding::user(uuid::Uuid::new_v4());
    let outcome = tokens.rotate(&token.token_hash, &successor, wrong).unwrap();
    assert!(matches!(outcome, Rotation::Refused(Refusal::Reused(_))), "{outcome:?}");
    let rows: i64 = dsl::refresh_tokens.count().get_result(&mut *conn).unwrap();
    assert_eq!(rows, 2);
}

/// The presented token has expired since: that cannot take back what was answered.
#[test]
fn invariant_6_also_after_the_presented_token_expired() {
    let mut conn = connection();
    let token = create(&mut conn);
    let successor = successor();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let first = tokens.rotate(&token.token_hash, &successor, Binding::ANY).unwrap();
    expire(&mut conn, &token.token_hash, 1);
    let again = RefreshTokenRepository::new(&mut conn).rotate(&token.token_hash, &successor, Binding::ANY);
    assert_eq!(again.unwrap().successor(), first.successor());
}

#[test]
fn invariant_6_two_equal_requests_at_once_make_one_successor() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let token = create(&mut conn);
    let successor = successor();
    let second = race::Rival::on(&database);
    let first = conn
        .transaction(|conn| {
            let first = RefreshTokenRepository::new(conn).rotate(&token.token_hash, &successor, Binding::ANY)?;
            let (hash, successor) = (token.token_hash.clone(), successor.clone());
            second
                .waits_for(conn, move |conn| RefreshTokenRepository::new(conn).rotate(&hash, &successor, Binding::ANY));
            Ok::<_, Error>(first)
        })
        .unwrap();
    let second = second.join();
    let Rotation::Rotated(made) = first else { panic!("{first:?}") };
    assert_eq!(second, Ok(Rotation::Repeated(made)));
}

#[test]
fn invariant_6_ends_with_the_successors_life() {
    let mut conn = connection();
    let outcome_after = |conn: &mut PgConnection, end: &dyn Fn(&mut PgConnection, &RefreshToken, &RefreshToken)| {
        let token = create(conn);
        let successor = successor();
        let mut tokens = RefreshTokenRepository::new(conn);
        let Rotation::Rotated(made) = tokens.rotate(&token.token_hash, &successor, Binding::ANY).unwrap() else {
            panic!("it is valid");
        };
        end(conn, &token, &made);
        let outcome = RefreshTokenRepository::new(conn).rotate(&token.token_hash, &successor, Binding::ANY);
        (token.id, made.id, outcome.unwrap())
    };

    let (_, made, outcome) = outcome_after(&mut conn, &|conn, _, made| {
        assert!(RefreshTokenRepository::new(conn).revoke(made.id).unwrap().is_revoked());
    });
    assert!(matches!(outcome, Rotation::Refused(Refusal::Revoked(token)) if token.id == made));

    let (presented, _, outcome) = outcome_after(&mut conn, &|conn, token, _| {
        assert!(RefreshTokenRepository::new(conn).revoke(token.id).unwrap().is_revoked());
    });
    assert!(matches!(outcome, Rotation::Refused(Refusal::Revoked(token)) if token.id == presented));

    let (_, made, outcome) = outcome_after(&mut conn, &|conn, _, made| expire(conn, &made.token_hash, 1));
    assert!(matches!(outcome, Rotation::Refused(Refusal::Expired(token)) if token.id == made));

    let (presented, _, outcome) = outcome_after(&mut conn, &|conn, _, made| {
        rotate(By::Library, conn, &made.token_hash);
    });
    assert!(matches!(outcome, Rotation::Refused(Refusal::Reused(token)) if token.id == presented));
}

/// The successor's id alone, or its hash alone, is not the same request.
#[test]
fn invariant_6_needs_both_id_and_hash() {
    let mut conn = connection();
    let token = create(&mut conn);
    let asked = new_token();
    let made = Successor::expiring_at(asked.id, asked.token_hash.clone(), in_days(1));
    let other_hash = Successor::expiring_at(asked.id, new_token().token_hash, in_days(1));
    let other_id = Successor::expiring_at(new_token().id, asked.token_hash, in_days(1));
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let _ = tokens.rotate(&token.token_hash, &made, Binding::ANY).unwrap();
    for other in [other_hash, other_id] {
        let outcome = tokens.rotate(&token.token_hash, &other, Binding::ANY).unwrap();
        assert!(matches!(outcome, Rotation::Refused(Refusal::Reused(_))), "{outcome:?}");
    }
}

/// A later token of the session is no answer either, though its hash is right.
#[test]
fn invariant_6_needs_the_id_of_the_hash() {
    let mut conn = connection();
    let token = create(&mut conn);
    let made = successor();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let Rotation::Rotated(second) = tokens.rotate(&token.token_hash, &made, Binding::ANY).unwrap() else { panic!() };
    let third = rotate(By::Library, &mut conn, &second.token_hash);
    let mixed = Successor::expiring_at(second.id, third, in_days(1));
    let outcome = RefreshTokenRepository::new(&mut conn).rotate(&token.token_hash, &mixed, Binding::ANY);
    assert!(matches!(outcome, Ok(Rotation::Refused(Refusal::Reused(_)))), "{outcome:?}");
}

/// The successor of one token is no answer for another, though id and hash are right.
#[test]
fn invariant_6_needs_the_same_presented_token() {
    let mut conn = connection();
    let (first, second) = (create(&mut conn), create(&mut conn));
    let made = successor();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let _ = tokens.rotate(&first.token_hash, &made, Binding::ANY).unwrap();
    let _ = tokens.rotate(&second.token_hash, &successor(), Binding::ANY).unwrap();
    let outcome = tokens.rotate(&second.token_hash, &made, Binding::ANY).unwrap();
    assert!(matches!(outcome, Rotation::Refused(Refusal::Reused(token)) if token.id == second.id));
}

/// A deleted successor whose id and hash somebody else's login has now: their token is no answer of ours.
#[test]
fn invariant_6_needs_a_token_of_the_same_session() {
    let mut conn = connection();
    let token = create(&mut conn);
    let other = new_token();
    let made = Successor::expiring_at(other.id, other.token_hash.clone(), in_days(1));
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let _ = tokens.rotate(&token.token_hash, &made, Binding::ANY).unwrap();
    diesel::delete(dsl::refresh_tokens.find(other.id)).execute(&mut *conn).unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    tokens.create(&other).unwrap();
    let outcome = tokens.rotate(&token.token_hash, &made, Binding::ANY);
    assert!(matches!(outcome, Ok(Rotation::Refused(Refusal::Reused(_)))), "{outcome:?}");
}

/// The host logs out the other devices by the token that it knows, which has just been rotated.
#[test]
fn invariant_6_logging_out_the_others_keeps_the_lost_answer() {
    let mut conn = connection();
    let token = create(&mut conn);
    let made = successor();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let lost = tokens.rotate(&token.token_hash, &made, Binding::ANY).unwrap();
    tokens.revoke_all_for_user_except(token.user_id, token.id).unwrap();
    let again = tokens.rotate(&token.token_hash, &made, Binding::ANY).unwrap();
    assert_eq!(again.successor(), lost.successor());
}
