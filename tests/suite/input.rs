//! Bad input: a typed error, and nothing written.

use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Error, InvalidInput, MAX_EXPIRY, NewRefreshToken, RefreshToken, RefreshTokenRepository, SessionOptions,
    SessionQuery, Successor, TokenHash, TokenRevocation,
};
use refresh_tokens_support::doc::{connection, fresh_hash, in_days, new_token, successor};
use refresh_tokens_support::race;
use uuid::Uuid;

use crate::common::create;

fn all_rows(conn: &mut PgConnection) -> Vec<RefreshToken> {
    dsl::refresh_tokens.order(dsl::id).select(RefreshToken::as_select()).load(conn).unwrap()
}

fn nil(field: &'static str) -> Error {
    InvalidInput::NilUuid { field }.into()
}

fn not_in_future(field: &'static str) -> Error {
    InvalidInput::ExpiryNotInFuture { field }.into()
}

fn too_far(field: &'static str) -> Error {
    InvalidInput::ExpiryTooFar { field }.into()
}

#[test]
fn a_hash_is_judged_when_it_is_made() {
    assert_eq!(TokenHash::new(""), Err(InvalidInput::EmptyTokenHash));
    assert_eq!(TokenHash::new("a\0b"), Err(InvalidInput::TokenHashContainsNul));
    let length = TokenHash::MAX_LEN + 1;
    let max = TokenHash::MAX_LEN;
    let too_long = Err(InvalidInput::TokenHashTooLong { length, max });
    assert_eq!(TokenHash::new("x".repeat(length)), too_long);

    // The longest one and one of four-byte characters fit the index.
    let mut conn = connection();
    for text in ["x".repeat(max), "🔑".repeat(max / 4), " '\\\"\n".to_owned()] {
        let token_hash = TokenHash::new(text).unwrap();
        let new = NewRefreshToken { token_hash: token_hash.clone(), ..new_token() };
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let created = tokens.create(&new).unwrap();
        assert_eq!(tokens.get_by_hash(&token_hash).unwrap(), Some(created));
    }
}

#[test]
fn create_refuses_nil_ids_and_impossible_expiries() {
    let mut conn = connection();
    let nil_id = Uuid::nil();
    let expires = |expires_at| NewRefreshToken { expires_at, ..new_token() };
    let session = |end| NewRefreshToken { session: SessionOptions::default().expires_at(end), ..new_token() };
    let a_second_ago = race::now(&mut conn) - Duration::seconds(1);
    let too_late = MAX_EXPIRY + Duration::nanoseconds(1);
    for (new, error) in [
        (NewRefreshToken { id: nil_id, ..new_token() }, nil("id")),
        (NewRefreshToken { user_id: nil_id, ..new_token() }, nil("user_id")),
        (NewRefreshToken { active_org_id: nil_id, ..new_token() }, nil("active_org_id")),
        (expires(a_second_ago), not_in_future("expires_at")),
        (expires(DateTime::<Utc>::MIN_UTC), not_in_future("expires_at")),
        (expires(DateTime::UNIX_EPOCH), not_in_future("expires_at")),
        (expires(too_late), too_far("expires_at")),
        (expires(DateTime::<Utc>::MAX_UTC), too_far("expires_at")),
        (session(a_second_ago), not_in_future("session.expires_at")),
        (session(DateTime::<Utc>::MIN_UTC), not_in_future("session.expires_at")),
        (session(DateTime::<Utc>::MAX_UTC), too_far("session.expires_at")),
    ] {
        assert_eq!(RefreshTokenRepository::new(&mut conn).create(&new), Err(error));
    }
    assert_eq!(all_rows(&mut conn), []);

    let longest = expires(MAX_EXPIRY);
    let created = RefreshTokenRepository::new(&mut conn).create(&longest).unwrap();
    assert_eq!(created.expires_at, MAX_EXPIRY);
}

#[test]
fn rotate_refuses_nil_ids_and_impossible_expiries() {
    let mut conn = connection();
    let token = create(&mut conn);
    let before = all_rows(&mut conn);
    let expires = |at| Successor::expiring_at(Uuid::new_v4(), fresh_hash(), at);
    let a_second_ago = race::now(&mut conn) - Duration::seconds(1);
    let field = "successor.expires_at";
    for (successor, binding, error) in [
        (Successor::expiring_at(Uuid::nil(), fresh_hash(), in_days(1)), Binding::ANY, nil("successor.id")),
        (successor().active_org_id(Uuid::nil()), Binding::ANY, nil("successor.active_org_id")),
        (successor(), Binding::user(Uuid::nil()), nil("binding.user_id")),
        (successor(), Binding::ANY.org(Uuid::nil()), nil("binding.org_id")),
        (expires(a_second_ago), Binding::ANY, not_in_future(field)),
        (expires(DateTime::<Utc>::MIN_UTC), Binding::ANY, not_in_future(field)),
        (expires(DateTime::<Utc>::MAX_UTC), Binding::ANY, too_far(field)),
    ] {
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let outcome = tokens.rotate(&token.token_hash, &successor, binding);
        assert_eq!(outcome, Err(error.clone()));
        let locked = tokens.transaction(|tx| match tx.get_valid_for_rotation(&token.token_hash, binding)? {
            Some(locked) => locked.rotate_to(&successor).map(Some),
            None => Ok(None),
        });
        assert_eq!(locked, Err(error));
    }
    assert_eq!(all_rows(&mut conn), before);
}

#[test]
fn the_other_verbs_refuse_nil_ids() {
    let mut conn = connection();
    create(&mut conn);
    let before = all_rows(&mut conn);
    let (nil_id, some) = (Uuid::nil(), Uuid::new_v4());
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.revoke(nil_id), Err(nil("token_id")));
    assert_eq!(tokens.revoke_token_chain(nil_id), Err(nil("token_id")));
    assert_eq!(tokens.revoke_all_for_user(nil_id), Err(nil("user_id")));
    assert_eq!(tokens.revoke_all_for_user_except(nil_id, some), Err(nil("user_id")));
    assert_eq!(tokens.revoke_all_for_user_except(some, nil_id), Err(nil("keep_token_id")));
    assert_eq!(tokens.revoke_all_for_user_except_session(nil_id, some), Err(nil("user_id")));
    assert_eq!(tokens.revoke_all_for_user_except_session(some, nil_id), Err(nil("session_id")));
    assert_eq!(tokens.revoke_session(nil_id), Err(nil("session_id")));
    assert_eq!(tokens.revoke_all_for_user_in_org(nil_id, some), Err(nil("user_id")));
    assert_eq!(tokens.revoke_all_for_user_in_org(some, nil_id), Err(nil("org_id")));
    assert_eq!(tokens.revoke_all_for_org(nil_id), Err(nil("org_id")));
    assert_eq!(tokens.list_sessions(&SessionQuery::of_user(nil_id)), Err(nil("user_id")));
    assert_eq!(tokens.get_active_tokens_for_user(nil_id), Err(nil("user_id")));
    let valid = tokens.get_valid_by_hash(&fresh_hash(), Binding::user(nil_id));
    assert_eq!(valid, Err(nil("binding.user_id")));
    assert_eq!(all_rows(&mut conn), before);
    // The greatest UUID is a UUID like any other.
    assert_eq!(RefreshTokenRepository::new(&mut conn).revoke(Uuid::max()).map(TokenRevocation::is_revoked), Ok(false));
}

#[test]
fn clean_up_refuses_days_that_would_delete_live_rows() {
    let mut conn = connection();
    create(&mut conn);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    for days in [-1, -365, i32::MIN, 36_501, i32::MAX] {
        let error = InvalidInput::DaysOutOfRange { days, max: 36_500 };
        assert_eq!(tokens.cleanup_expired(days), Err(error.into()));
    }
    assert_eq!(tokens.cleanup_expired(0), Ok(0));
    assert_eq!(tokens.cleanup_expired(36_500), Ok(0));
    assert_eq!(all_rows(&mut conn).len(), 1);
}

#[test]
fn the_longest_lifetime_is_taken_and_no_longer_one() {
    let mut conn = connection();
    for (days, refused) in [(36_500, false), (36_501, true)] {
        let token = create(&mut conn);
        let successor = Successor::with_lifetime(Uuid::new_v4(), fresh_hash(), Duration::days(days));
        let outcome = RefreshTokenRepository::new(&mut conn).rotate(&token.token_hash, &successor, Binding::ANY);
        let field = "successor.lifetime";
        let expected = refused.then_some(Error::InvalidInput(InvalidInput::LifetimeOutOfRange { field }));
        assert_eq!(outcome.err(), expected, "{days} days");
    }
}
