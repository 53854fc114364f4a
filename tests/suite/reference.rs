//! The system that this library takes over from, beside it: its statements run on our table as they are, and each
//! side goes on where the other left off. A team can move service by service.

left_out!(module, on other_tables:
    "it rotates as other software does, whose successors only the trigger makes members of the session");

mod twins;

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error::DatabaseError};
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Error, InvalidInput, NewRefreshToken, RefreshToken, RefreshTokenRepository, Refusal, Rotation,
    SessionOptions, Successor, TokenHash, TokenRevocation,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{connection, fresh_hash, in_days, new_token, successor};
use refresh_tokens_support::reference::{self, NewHash, NewRow, Row};
use uuid::Uuid;

use crate::common::{By, chain, create, expire, new_hash, rotate, row};

/// A row of ours as that system reads it.
pub(crate) fn eight_columns(token: &RefreshToken) -> Row {
    Row {
        id: token.id,
        user_id: token.user_id,
        token_hash: token.token_hash.expose().to_owned(),
        active_org_id: token.active_org_id,
        expires_at: token.expires_at,
        revoked_at: token.revoked_at,
        rotated_to: token.rotated_to,
        created_at: token.created_at,
    }
}

/// Rotates in a transaction, which the reference's callers owe it.
fn rotated(by: By, conn: &mut PgConnection, presented: &RefreshToken) -> RefreshToken {
    let hash = conn.transaction(|conn| QueryResult::Ok(rotate(by, conn, &presented.token_hash))).unwrap();
    row(conn, &hash)
}

/// What that system's `create` is given.
fn new_row(new: &NewRefreshToken) -> NewRow {
    NewRow {
        id: new.id,
        user_id: new.user_id,
        token_hash: new.token_hash.expose().to_owned(),
        active_org_id: new.active_org_id,
        expires_at: new.expires_at,
    }
}

fn reference_creates(conn: &mut PgConnection) -> RefreshToken {
    let new = new_token();
    let written = reference::create(conn, &new_row(&new)).unwrap();
    let token = row(conn, &new.token_hash);
    assert_eq!(written, eight_columns(&token));
    token
}

fn assert_succeeds(successor: &RefreshToken, parent: &RefreshToken) {
    assert_eq!(successor.session_id, parent.session_id);
    assert_eq!(successor.generation, parent.generation + 1);
    assert_eq!((successor.user_id, successor.active_org_id), (parent.user_id, parent.active_org_id));
}

#[test]
fn the_library_begins_a_session_and_the_reference_ends_it() {
    let mut conn = connection();
    let login = create(&mut conn);
    let (user, org, hash) = (login.user_id, login.active_org_id, login.token_hash.expose());

    let seen = Some(eight_columns(&login));
    assert_eq!(reference::get_by_hash(&mut conn, hash), Ok(seen.clone()));
    assert_eq!(reference::get_valid_by_hash(&mut conn, hash, Some(user), Some(org)), Ok(seen.clone()));
    assert_eq!(reference::get_valid_by_hash(&mut conn, hash, Some(user), Some(user)), Ok(None));
    assert_eq!(reference::get_active_tokens_for_user(&mut conn, user).unwrap(), Vec::from_iter(seen));

    let second = rotated(By::Reference, &mut conn, &login);
    assert_succeeds(&second, &login);
    let login = row(&mut conn, &login.token_hash);
    assert_eq!(login.rotated_to, Some(second.id));
    assert!(login.rotated_at.is_some(), "the trigger sets what the reference does not know");
    let third = rotated(By::Library, &mut conn, &second);
    assert_succeeds(&third, &second);
    let second = row(&mut conn, &second.token_hash);

    for stale in [&login, &second] {
        let hash = stale.token_hash.expose();
        assert_eq!(reference::check_token_reuse(&mut conn, hash), Ok(Some(eight_columns(stale))));
        assert_eq!(reference::rotate(&mut conn, hash, &new_hash(&fresh_hash()), None), Ok(None));
    }
    assert_eq!(reference::check_token_reuse(&mut conn, third.token_hash.expose()), Ok(None));
    assert_eq!(reference::revoke_token_chain(&mut conn, login.id), Ok(3));

    let third = row(&mut conn, &third.token_hash);
    assert!(third.revoked_at.is_some());
    assert_eq!(third.revoked_reason, None);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.get_valid_by_hash(&third.token_hash, Binding::ANY), Ok(None));
    assert_eq!(tokens.get_active_tokens_for_user(user), Ok(vec![]));
    assert_eq!(tokens.revoke_token_chain(login.id).map(|receipt| receipt.tokens), Ok(0));
    let refused = tokens.rotate(&third.token_hash, &successor(), Binding::ANY).unwrap();
    assert_eq!(refused, Rotation::Refused(Refusal::Revoked(third)));
}

#[test]
fn the_reference_begins_a_session_and_the_library_ends_it() {
    let mut conn = connection();
    let login = reference_creates(&mut conn);
    let user = login.user_id;
    assert_eq!((login.generation, login.session_expires_at), (0, None));
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let binding = Binding::user(user).org(login.active_org_id);
    assert_eq!(tokens.get_by_hash(&login.token_hash).unwrap().as_ref(), Some(&login));
    assert_eq!(tokens.get_valid_by_hash(&login.token_hash, binding).unwrap().as_ref(), Some(&login));
    assert_eq!(tokens.get_valid_by_hash(&login.token_hash, Binding::user(login.id)), Ok(None));
    assert_eq!(tokens.get_active_tokens_for_user(user).unwrap(), std::slice::from_ref(&login));

    let second = rotated(By::Library, &mut conn, &login);
    assert_succeeds(&second, &login);
    let third = rotated(By::Reference, &mut conn, &second);
    assert_succeeds(&third, &second);
    let login = row(&mut conn, &login.token_hash);
    let second = row(&mut conn, &second.token_hash);

    let mut tokens = RefreshTokenRepository::new(&mut conn);
    for stale in [&login, &second] {
        assert_eq!(tokens.check_token_reuse(&stale.token_hash).unwrap().as_ref(), Some(stale));
        let refused = tokens.rotate(&stale.token_hash, &successor(), Binding::ANY).unwrap();
        assert_eq!(refused, Rotation::Refused(Refusal::Reused(stale.clone())));
    }
    assert_eq!(tokens.check_token_reuse(&third.token_hash), Ok(None));
    assert_eq!(tokens.revoke_token_chain(login.id).map(|receipt| receipt.tokens), Ok(3));

    let hash = third.token_hash.expose();
    let third = row(&mut conn, &third.token_hash);
    assert!(third.revoked_at.is_some());
    assert_eq!(reference::get_by_hash(&mut conn, hash), Ok(Some(eight_columns(&third))));
    assert_eq!(reference::get_valid_by_hash(&mut conn, hash, None, None), Ok(None));
    assert_eq!(reference::rotate(&mut conn, hash, &new_hash(&fresh_hash()), None), Ok(None));
    assert_eq!(reference::get_active_tokens_for_user(&mut conn, user), Ok(vec![]));
    assert_eq!(reference::revoke_token_chain(&mut conn, login.id), Ok(0));
}

/// The reference writes a successor as if it were a login. It is the UPDATE after it that says whose it is.
#[test]
fn a_successor_joins_its_predecessors_session_when_it_is_named() {
    let mut conn = connection();
    let session = SessionOptions::default().expires_at(in_days(10));
    let login = RefreshTokenRepository::new(&mut conn).create(&NewRefreshToken { session, ..new_token() }).unwrap();
    let session_end = login.session_expires_at.expect("it was given");

    let mut parent = login.clone();
    for (days, org) in [(30, None), (3, Some(Uuid::new_v4()))] {
        let hash = fresh_hash();
        let new = NewHash { expires_at: in_days(days), active_org_id: org, ..new_hash(&hash) };
        let alone = conn
            .transaction(|conn| {
                let locked = reference::get_valid_for_rotation(conn, parent.token_hash.expose(), None)?;
                reference::insert_successor(conn, &locked.expect("it is valid"), &new)?;
                let alone = row(conn, &hash);
                reference::mark_rotated(conn, parent.id, new.id)?;
                QueryResult::Ok(alone)
            })
            .unwrap();
        assert_ne!(alone.session_id, login.session_id);
        assert_eq!((alone.generation, alone.session_expires_at), (0, None));
        let successor = row(&mut conn, &hash);
        assert_eq!(successor.session_id, login.session_id);
        assert_eq!(successor.session_expires_at, Some(session_end));
        assert_eq!(successor.generation, parent.generation + 1);
        assert_eq!(successor.active_org_id, org.unwrap_or(login.active_org_id));
        assert_eq!(successor.expires_at, alone.expires_at.min(session_end), "no token outlives its session");
        let mut parent_now = row(&mut conn, &parent.token_hash);
        assert_eq!(parent_now.rotated_to.take(), Some(successor.id));
        assert!(parent_now.rotated_at.take() >= Some(alone.created_at));
        assert_eq!(parent_now, parent);
        parent = successor;
    }
}

/// The table has no rule about the future; the library has one for its own tokens.
#[test]
fn the_reference_may_write_a_token_that_is_born_expired() {
    let mut conn = connection();
    let new = NewRefreshToken { expires_at: in_days(-40), ..new_token() };
    let refused = RefreshTokenRepository::new(&mut conn).create(&new);
    assert_eq!(refused, Err(Error::InvalidInput(InvalidInput::ExpiryNotInFuture { field: "expires_at" })));

    reference::create(&mut conn, &new_row(&new)).unwrap();
    let token = row(&mut conn, &new.token_hash);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.get_valid_by_hash(&new.token_hash, Binding::ANY), Ok(None));
    assert_eq!(tokens.get_active_tokens_for_user(new.user_id), Ok(vec![]));
    let refused = tokens.rotate(&new.token_hash, &successor(), Binding::ANY).unwrap();
    assert_eq!(refused, Rotation::Refused(Refusal::Expired(token)));
    assert_eq!(tokens.revoke_all_for_user(new.user_id).map(|receipt| receipt.tokens), Ok(1));
    assert_eq!(tokens.cleanup_expired(39), Ok(1));
}

#[test]
fn ids_and_hashes_are_unique_across_both() {
    let mut conn = connection();
    let login = create(&mut conn);
    for taken in [create(&mut conn), reference_creates(&mut conn)] {
        let same_id = NewRefreshToken { id: taken.id, ..new_token() };
        let same_hash = NewRefreshToken { token_hash: taken.token_hash.clone(), ..new_token() };
        let mut failures = Vec::new();
        for (new, error) in [(same_id, Error::DuplicateId), (same_hash, Error::DuplicateHash)] {
            assert_eq!(RefreshTokenRepository::new(&mut conn).create(&new), Err(error));
            failures.push(reference::create(&mut conn, &new_row(&new)).map(Some));
        }
        let new = new_hash(&taken.token_hash);
        failures.push(conn.transaction(|conn| reference::rotate(conn, login.token_hash.expose(), &new, None)));
        for failure in failures {
            assert!(matches!(failure, Err(DatabaseError(DatabaseErrorKind::UniqueViolation, _))), "{failure:?}");
        }
        assert_eq!(row(&mut conn, &taken.token_hash), taken);
        assert_eq!(row(&mut conn, &login.token_hash), login);
    }
}

/// The statement that marks a token is sent again after a lost answer: the time of its rotation stays.
#[test]
fn a_rotation_that_is_marked_twice_was_made_when_it_was_marked_first() {
    let mut conn = connection();
    let (token, next) = (create(&mut conn), create(&mut conn));
    diesel::update(dsl::refresh_tokens.find(next.id)).set(dsl::user_id.eq(token.user_id)).execute(&mut *conn).unwrap();
    reference::mark_rotated(&mut conn, token.id, next.id).unwrap();
    let first = row(&mut conn, &token.token_hash);
    reference::mark_rotated(&mut conn, token.id, next.id).unwrap();
    assert!(first.rotated_at.is_some());
    assert_eq!(row(&mut conn, &token.token_hash), first);
}
