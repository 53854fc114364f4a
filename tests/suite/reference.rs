//! The system that this library takes over from, beside it: its statements run on our table as they are, and each
//! side goes on where the other left off. A team can move service by service.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error::DatabaseError};
use diesel::sql_query;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Error, InvalidInput, NewRefreshToken, NewSession, RefreshToken, RefreshTokenRepository, Refusal, Rotation,
    Successor, TokenHash, TokenRevocation,
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
    let session = NewSession::default().expires_at(in_days(10));
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

/// The rows that a verb changed: deleted, or whether it is revoked and all else that the reference knows of it.
type Changes = BTreeMap<Uuid, Option<(bool, Row)>>;

/// The same rows in two schemas: the reference runs in one, the library in the other.
struct Twins {
    reference: PgConnection,
    library: PgConnection,
    _databases: [Database; 2],
    rows: Vec<RefreshToken>,
}

impl Twins {
    fn new() -> Self {
        let databases = [Database::migrated(), Database::migrated()];
        let [mut reference, mut library] = databases.each_ref().map(Database::connect);
        fill(&mut reference);
        let copy = format!("INSERT INTO refresh_tokens SELECT * FROM {}.refresh_tokens", databases[0].schema());
        sql_query(copy).execute(&mut library).unwrap();
        let rows = all_rows(&mut library);
        assert_eq!(all_rows(&mut reference), rows);
        Self { reference, library, _databases: databases, rows }
    }

    /// Runs a verb by each, asserts that both answer and do the same, takes it back, and returns the answer.
    fn agree<T: std::fmt::Debug + PartialEq>(
        &mut self,
        by_reference: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
        by_library: impl FnOnce(&mut RefreshTokenRepository<'_>) -> Result<T, Error>,
    ) -> (T, Changes) {
        let rows = &self.rows;
        let theirs =
            self.reference.test_transaction(|conn| QueryResult::Ok((by_reference(conn)?, changes(conn, rows))));
        let ours = self.library.test_transaction(|conn| {
            let answer = by_library(&mut RefreshTokenRepository::new(conn))?;
            Ok::<_, Error>((answer, changes(conn, rows)))
        });
        assert_eq!(ours, theirs);
        ours
    }
}

fn all_rows(conn: &mut PgConnection) -> Vec<RefreshToken> {
    dsl::refresh_tokens.order(dsl::created_at).select(RefreshToken::as_select()).load(conn).unwrap()
}

fn changes(conn: &mut PgConnection, before: &[RefreshToken]) -> Changes {
    let after: BTreeMap<Uuid, RefreshToken> = all_rows(conn).into_iter().map(|token| (token.id, token)).collect();
    let change = |now: &RefreshToken| (now.revoked_at.is_some(), Row { revoked_at: None, ..eight_columns(now) });
    let changed = before.iter().filter(|token| after.get(&token.id) != Some(token));
    changed.map(|token| (token.id, after.get(&token.id).map(change))).collect()
}

/// Sessions of one user in every state, and a session of somebody else, in this order.
fn fill(conn: &mut PgConnection) {
    let live = chain(conn, 4);
    let new = chain(conn, 1);
    let revoked_in_the_middle = chain(conn, 3);
    let ended = chain(conn, 2);
    for hash in [&revoked_in_the_middle[1], &ended[0], &ended[1]] {
        assert_eq!(RefreshTokenRepository::new(conn).revoke_by_hash(hash).map(TokenRevocation::is_revoked), Ok(true));
    }
    let old = chain(conn, 3);
    let idle = chain(conn, 1);
    for (hash, days_ago) in old.iter().zip([45, 31, 8]).chain([(&idle[0], 8)]) {
        expire(conn, hash, days_ago);
    }
    let strangers = chain(conn, 2);
    // A link that the trigger leaves alone: its ends have different users, and so different sessions.
    let [parent, successor] = [&ended[1], &strangers[0]].map(|hash| row(conn, hash).id);
    reference::mark_rotated(conn, parent, successor).unwrap();
    let user_id = row(conn, &new[0]).user_id;
    let theirs = [live, new, revoked_in_the_middle, ended, old, idle].concat();
    diesel::update(dsl::refresh_tokens.filter(dsl::token_hash.eq_any(theirs)))
        .set(dsl::user_id.eq(user_id))
        .execute(conn)
        .unwrap();
}

#[test]
fn on_the_same_rows_both_find_and_rotate_the_same() {
    let mut twins = Twins::new();
    let (mut valid, mut reused, mut rotated) = (0, 0, 0);
    for token in twins.rows.clone() {
        let hash = &token.token_hash;
        let (text, user, org) = (hash.expose(), token.user_id, token.active_org_id);
        let ours = |token: Option<RefreshToken>| token.as_ref().map(eight_columns);
        let found = twins.agree(|conn| reference::get_by_hash(conn, text), |tokens| tokens.get_by_hash(hash).map(ours));
        assert_eq!(found, (Some(eight_columns(&token)), Changes::new()));
        let found = twins
            .agree(|conn| reference::check_token_reuse(conn, text), |tokens| tokens.check_token_reuse(hash).map(ours));
        reused += usize::from(found.0.is_some());
        for (user, org, binding) in [
            (Some(user), Some(org), Binding::user(user).org(org)),
            (Some(org), None, Binding::user(org)),
            (None, Some(user), Binding::ANY.org(user)),
        ] {
            let found = twins.agree(
                |conn| reference::get_valid_by_hash(conn, text, user, org),
                |tokens| tokens.get_valid_by_hash(hash, binding).map(ours),
            );
            valid += usize::from(found.0.is_some());
        }
        for (user, binding) in
            [(None, Binding::ANY), (Some(user), Binding::user(user)), (Some(org), Binding::user(org))]
        {
            let hash = fresh_hash();
            let new = new_hash(&hash);
            let successor = Successor::new(new.id, hash, new.expires_at);
            let known = |row: Row| (row.id, row.user_id, row.token_hash, row.active_org_id, row.expires_at);
            let (successor, changes) = twins.agree(
                |conn| Ok(reference::rotate(conn, text, &new, user)?.map(known)),
                |tokens| match tokens.rotate(&token.token_hash, &successor, binding)? {
                    Rotation::Rotated(successor) | Rotation::Repeated(successor) => {
                        Ok(Some(known(eight_columns(&successor))))
                    }
                    Rotation::Refused(_) => Ok(None),
                },
            );
            assert_eq!(changes.len(), usize::from(successor.is_some()));
            rotated += changes.len();
        }
    }
    assert_eq!((valid, reused, rotated), (4, 3 + 2 + 2 + 2 + 1, 4 * 2));

    for (user_id, expected) in [(twins.rows[0].user_id, 3), (twins.rows[14].user_id, 1), (Uuid::new_v4(), 0)] {
        let (active, _) = twins.agree(
            |conn| reference::get_active_tokens_for_user(conn, user_id),
            |tokens| Ok(tokens.get_active_tokens_for_user(user_id)?.iter().map(eight_columns).collect::<Vec<_>>()),
        );
        assert_eq!(active.len(), expected);
    }
}

#[test]
fn on_the_same_rows_both_revoke_the_same() {
    let mut twins = Twins::new();
    let rows = twins.rows.clone();
    let everybody: Vec<(Uuid, TokenHash)> =
        rows.iter().map(|token| (token.id, token.token_hash.clone())).chain([(Uuid::new_v4(), fresh_hash())]).collect();
    let mut counts = Vec::new();
    for (id, hash) in &everybody {
        let (count, changes) = twins.agree(
            |conn| reference::revoke_token_chain(conn, *id),
            |tokens| tokens.revoke_token_chain(*id).map(|receipt| receipt.tokens),
        );
        assert_eq!(changes.len(), count);
        counts.push(count);
        let by_id = twins
            .agree(|conn| reference::revoke(conn, *id), |tokens| tokens.revoke(*id).map(TokenRevocation::is_revoked));
        let by_hash = twins.agree(
            |conn| reference::revoke_by_hash(conn, hash.expose()),
            |tokens| tokens.revoke_by_hash(hash).map(TokenRevocation::is_revoked),
        );
        assert_eq!(by_id, by_hash);
        assert_eq!(by_id.0, rows.iter().any(|token| token.id == *id && token.revoked_at.is_none()));
    }
    assert_eq!(counts, [4, 3, 2, 1, 1, 2, 1, 1, 2, 2, 3, 2, 1, 1, 2, 1, 0]);

    let (user, stranger) = (rows[0].user_id, rows[14].user_id);
    for (user_id, expected) in [(user, 11), (stranger, 2), (Uuid::new_v4(), 0)] {
        let (count, changes) = twins.agree(
            |conn| reference::revoke_all_for_user(conn, user_id),
            |tokens| tokens.revoke_all_for_user(user_id).map(|receipt| receipt.tokens),
        );
        assert_eq!((count, changes.len()), (expected, expected));
    }
    // A token that was rotated is left out: there the reference kills the session that was to be kept.
    let is_rotated = |id: Uuid| rows.iter().any(|token| token.id == id && token.rotated_to.is_some());
    let mut counts = Vec::new();
    for (keep, _) in everybody.into_iter().filter(|(id, _)| !is_rotated(*id)) {
        let by_reference = |conn: &mut PgConnection| reference::revoke_all_for_user_except(conn, user, keep);
        counts.push(
            twins
                .agree(by_reference, |tokens| {
                    tokens.revoke_all_for_user_except(user, keep).map(|receipt| receipt.tokens)
                })
                .0,
        );
    }
    assert_eq!(counts, [10, 10, 10, 10, 10, 11, 11]);
}

#[test]
fn on_the_same_rows_both_clean_up_the_same() {
    let mut twins = Twins::new();
    for (days, expected) in [(0, 4), (7, 4), (9, 2), (30, 2), (32, 1), (46, 0)] {
        let (count, changes) =
            twins.agree(|conn| reference::cleanup_expired(conn, days), |tokens| tokens.cleanup_expired(days));
        assert_eq!((count, changes.len()), (expected, expected), "{days}");
        assert!(changes.values().all(Option::is_none));
    }
}
