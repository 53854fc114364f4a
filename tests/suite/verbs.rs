//! What each verb does where nothing runs beside it.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Error, NewRefreshToken, RefreshToken, RefreshTokenRepository, RevokedReason, Rotation, SessionOptions,
    Successor, TokenRevocation, TokenState,
};
use refresh_tokens_support::doc::{connection, fresh_hash, in_days, new_token, successor};
use uuid::Uuid;

use crate::common::{By, chain, create, expire, rotate, row};

fn count(conn: &mut PgConnection) -> i64 {
    dsl::refresh_tokens.count().get_result(conn).unwrap()
}

#[test]
fn create_writes_what_it_was_given() {
    let mut conn = connection();
    let new = new_token();
    let token = RefreshTokenRepository::new(&mut conn).create(&new).unwrap();
    assert_eq!(
        (token.id, token.user_id, &token.token_hash, token.active_org_id),
        (new.id, new.user_id, &new.token_hash, new.active_org_id)
    );
    assert_eq!(token.expires_at.timestamp_micros(), new.expires_at.timestamp_micros());
    assert_eq!((token.revoked_at, token.rotated_to, token.rotated_at), (None, None, None));
    assert_eq!((token.generation, token.session_expires_at, token.revoked_reason), (0, None, None));
    assert_eq!(row(&mut conn, &new.token_hash), token);
}

#[test]
fn create_refuses_an_id_or_hash_that_exists() {
    let mut conn = connection();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let first = tokens.create(&new_token()).unwrap();
    let same_id = NewRefreshToken { id: first.id, ..new_token() };
    assert_eq!(tokens.create(&same_id), Err(Error::DuplicateId));
    let same_hash = NewRefreshToken { token_hash: first.token_hash, ..new_token() };
    assert_eq!(tokens.create(&same_hash), Err(Error::DuplicateHash));
    assert_eq!(count(&mut conn), 1);
}

#[test]
fn a_session_ends_when_it_was_said_to() {
    let mut conn = connection();
    let end = in_days(2);
    let new =
        NewRefreshToken { expires_at: in_days(1), session: SessionOptions::default().expires_at(end), ..new_token() };
    let token = RefreshTokenRepository::new(&mut conn).create(&new).unwrap();
    assert_eq!(token.expires_at.timestamp_micros(), new.expires_at.timestamp_micros());
    let next = rotate(By::Library, &mut conn, &token.token_hash);
    let next = row(&mut conn, &next);
    assert_eq!(next.expires_at.timestamp_micros(), end.timestamp_micros());
    assert_eq!(next.session_expires_at, token.session_expires_at);
}

#[test]
fn a_first_token_does_not_outlive_its_session() {
    let mut conn = connection();
    let end = in_days(2);
    let new = NewRefreshToken { session: SessionOptions::default().expires_at(end), ..new_token() };
    let token = RefreshTokenRepository::new(&mut conn).create(&new).unwrap();
    assert_eq!(token.expires_at.timestamp_micros(), end.timestamp_micros());
    assert_eq!(token.session_expires_at, Some(token.expires_at));
}

#[test]
fn look_ups_find_by_state() {
    let mut conn = connection();
    let hashes = chain(&mut conn, 2);
    let revoked = create(&mut conn).token_hash;
    assert!(RefreshTokenRepository::new(&mut conn).revoke_by_hash(&revoked).unwrap().is_revoked());
    let expired = create(&mut conn).token_hash;
    expire(&mut conn, &expired, 1);
    let unknown = fresh_hash();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    for (hash, exists, valid, reused) in [
        (&hashes[0], true, false, true),
        (&hashes[1], true, true, false),
        (&revoked, true, false, false),
        (&expired, true, false, false),
        (&unknown, false, false, false),
    ] {
        assert_eq!(tokens.get_by_hash(hash).unwrap().is_some(), exists);
        assert_eq!(tokens.get_valid_by_hash(hash, Binding::ANY).unwrap().is_some(), valid);
        assert_eq!(tokens.check_token_reuse(hash).unwrap().is_some(), reused);
    }
}

#[test]
fn reuse_is_seen_also_of_a_revoked_and_expired_token() {
    let mut conn = connection();
    let hashes = chain(&mut conn, 2);
    let stale = row(&mut conn, &hashes[0]);
    RefreshTokenRepository::new(&mut conn).revoke_token_chain(stale.id).unwrap();
    expire(&mut conn, &hashes[0], 1);
    let reused = RefreshTokenRepository::new(&mut conn).check_token_reuse(&hashes[0]);
    assert_eq!(reused.unwrap().unwrap().id, stale.id);
}

#[test]
fn a_binding_must_match_user_and_org() {
    let mut conn = connection();
    let token = create(&mut conn);
    let (user, org, other) = (token.user_id, token.active_org_id, Uuid::new_v4());
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    for (binding, matches) in [
        (Binding::ANY, true),
        (Binding::user(user), true),
        (Binding::ANY.org(org), true),
        (Binding::user(user).org(org), true),
        (Binding::user(other), false),
        (Binding::ANY.org(other), false),
        (Binding::user(user).org(other), false),
        (Binding::user(other).org(org), false),
    ] {
        let valid = tokens.get_valid_by_hash(&token.token_hash, binding).unwrap();
        assert_eq!(valid.is_some(), matches, "{binding:?}");
    }
}

#[test]
fn rotate_spends_the_token_and_writes_its_successor() {
    let mut conn = connection();
    let token = create(&mut conn);
    let (id, hash, expires_at, org) = (Uuid::new_v4(), fresh_hash(), in_days(7), Uuid::new_v4());
    let asked = Successor::expiring_at(id, hash.clone(), expires_at).active_org_id(org);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let outcome = tokens.rotate(&token.token_hash, &asked, Binding::user(token.user_id)).unwrap();
    let Rotation::Rotated(next) = outcome else { panic!("{outcome:?}") };
    assert_eq!((next.id, &next.token_hash, next.active_org_id), (id, &hash, org));
    assert_eq!((next.user_id, next.session_id, next.generation), (token.user_id, token.session_id, 1));
    assert_eq!(next.expires_at.timestamp_micros(), expires_at.timestamp_micros());
    assert_eq!(row(&mut conn, &hash), next);

    let spent = row(&mut conn, &token.token_hash);
    assert!(spent.rotated_at.is_some());
    assert_eq!(spent.state(spent.created_at), TokenState::Rotated { successor_id: id });
    let unchanged = RefreshToken::clone(&token);
    assert_eq!(spent.expires_at, unchanged.expires_at);
    assert_eq!(spent.revoked_at, None);

    // Without another org, the successor keeps its predecessor's.
    let last = rotate(By::Library, &mut conn, &hash);
    assert_eq!(row(&mut conn, &last).active_org_id, org);
}

#[test]
fn a_rotation_with_a_taken_id_or_hash_leaves_the_token_valid() {
    let mut conn = connection();
    let (token, other) = (create(&mut conn), create(&mut conn));
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    for (successor, error) in [
        (Successor::expiring_at(other.id, fresh_hash(), in_days(1)), Error::DuplicateId),
        (Successor::expiring_at(token.id, fresh_hash(), in_days(1)), Error::DuplicateId),
        (Successor::expiring_at(Uuid::new_v4(), other.token_hash, in_days(1)), Error::DuplicateHash),
    ] {
        assert_eq!(tokens.rotate(&token.token_hash, &successor, Binding::ANY), Err(error));
        let valid = tokens.get_valid_by_hash(&token.token_hash, Binding::ANY).unwrap();
        assert_eq!(valid.as_ref(), Some(&token));
    }
    assert_eq!(count(&mut conn), 2);
}

#[test]
fn revoking_a_chain_goes_forward_only() {
    let mut conn = connection();
    let hashes = chain(&mut conn, 4);
    let bystander = create(&mut conn);
    let start = row(&mut conn, &hashes[1]);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.revoke_token_chain(start.id).map(|receipt| receipt.tokens), Ok(3));
    assert_eq!(tokens.revoke_token_chain(start.id).map(|receipt| receipt.tokens), Ok(0));
    assert_eq!(tokens.revoke_token_chain(Uuid::new_v4()).map(|receipt| receipt.tokens), Ok(0));
    assert_eq!(row(&mut conn, &hashes[0]).revoked_at, None);
    for hash in &hashes[1..] {
        assert_eq!(row(&mut conn, hash).revoked_reason, Some(RevokedReason::ChainRevoked));
    }
    assert_eq!(row(&mut conn, &bystander.token_hash), bystander);
}

#[test]
fn revoke_answers_whether_it_did() {
    let mut conn = connection();
    let (first, second) = (create(&mut conn), create(&mut conn));
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.revoke(first.id).map(TokenRevocation::is_revoked), Ok(true));
    assert_eq!(tokens.revoke(first.id).map(TokenRevocation::is_revoked), Ok(false));
    assert_eq!(tokens.revoke(Uuid::new_v4()).map(TokenRevocation::is_revoked), Ok(false));
    assert_eq!(tokens.revoke_by_hash(&second.token_hash).map(TokenRevocation::is_revoked), Ok(true));
    assert_eq!(tokens.revoke_by_hash(&second.token_hash).map(TokenRevocation::is_revoked), Ok(false));
    assert_eq!(tokens.revoke_by_hash(&fresh_hash()).map(TokenRevocation::is_revoked), Ok(false));
    for token in [first, second] {
        let revoked = row(&mut conn, &token.token_hash);
        let state = revoked.state(revoked.created_at);
        assert!(matches!(state, TokenState::Revoked { reason: Some(RevokedReason::TokenRevoked), .. }), "{state:?}");
    }
}

#[test]
fn revoking_a_user_counts_rotated_and_expired_rows_too() {
    let mut conn = connection();
    let hashes = chain(&mut conn, 2);
    let user_id = row(&mut conn, &hashes[0]).user_id;
    let of_user = || NewRefreshToken { user_id, ..new_token() };
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let expired = tokens.create(&of_user()).unwrap();
    let revoked = tokens.create(&of_user()).unwrap();
    assert!(tokens.revoke(revoked.id).unwrap().is_revoked());
    expire(&mut conn, &expired.token_hash, 1);
    let bystander = create(&mut conn);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.revoke_all_for_user(user_id).map(|receipt| receipt.tokens), Ok(3));
    assert_eq!(tokens.revoke_all_for_user(user_id).map(|receipt| receipt.tokens), Ok(0));
    assert_eq!(row(&mut conn, &hashes[1]).revoked_reason, Some(RevokedReason::UserRevoked));
    assert_eq!(row(&mut conn, &revoked.token_hash).revoked_reason, Some(RevokedReason::TokenRevoked));
    assert_eq!(row(&mut conn, &bystander.token_hash), bystander);
}

#[test]
fn logging_out_the_others_keeps_one_session() {
    let mut conn = connection();
    let here = chain(&mut conn, 2);
    let (stale, live) = (row(&mut conn, &here[0]), row(&mut conn, &here[1]));
    let user_id = live.user_id;
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let there = tokens.create(&NewRefreshToken { user_id, ..new_token() }).unwrap();
    // The dead row of the kept session is revoked as in the reference.
    assert_eq!(tokens.revoke_all_for_user_except(user_id, live.id).map(|receipt| receipt.tokens), Ok(2));
    assert_eq!(tokens.get_active_tokens_for_user(user_id).unwrap(), [live]);
    assert_eq!(row(&mut conn, &there.token_hash).revoked_reason, Some(RevokedReason::OthersRevoked));
    assert!(row(&mut conn, &stale.token_hash).revoked_at.is_some());
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(
        tokens.revoke_all_for_user_except(user_id, Uuid::new_v4()).map(|receipt| receipt.tokens),
        Ok(1),
        "nothing is kept"
    );
}

#[test]
fn active_tokens_are_listed_newest_first() {
    let mut conn = connection();
    let user_id = Uuid::new_v4();
    let mut hashes = Vec::new();
    for _ in 0..4 {
        let new = NewRefreshToken { user_id, ..new_token() };
        RefreshTokenRepository::new(&mut conn).create(&new).unwrap();
        hashes.push(new.token_hash);
    }
    assert!(RefreshTokenRepository::new(&mut conn).revoke_by_hash(&hashes[0]).unwrap().is_revoked());
    expire(&mut conn, &hashes[1], 1);
    let newest = rotate(By::Library, &mut conn, &hashes[2]);
    let active = RefreshTokenRepository::new(&mut conn).get_active_tokens_for_user(user_id).unwrap();
    let listed: Vec<_> = active.into_iter().map(|token| token.token_hash).collect();
    assert_eq!(listed, [newest, hashes.swap_remove(3)]);
}

#[test]
fn clean_up_deletes_what_expired_long_enough_ago() {
    let mut conn = connection();
    let ages = [0, 1, 29, 31, 400];
    for days_ago in ages {
        let hash = create(&mut conn).token_hash;
        expire(&mut conn, &hash, days_ago);
    }
    create(&mut conn);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.cleanup_expired(30), Ok(2));
    assert_eq!(tokens.cleanup_expired(30), Ok(0));
    assert_eq!(tokens.cleanup_expired(0), Ok(3));
    assert_eq!(count(&mut conn), 1);
}

#[test]
fn clean_up_goes_on_in_bounded_batches_until_nothing_is_left() {
    let mut conn = connection();
    diesel::sql_query(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'hash ' || n, gen_random_uuid(), now() - interval '2 days'
         FROM generate_series(1, 2500) n",
    )
    .execute(&mut *conn)
    .unwrap();
    conn.batch_execute(
        "CREATE TABLE batches (rows bigint);
         CREATE FUNCTION count_batch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO batches SELECT count(*) FROM deleted;
             RETURN NULL;
         END $$;
         CREATE TRIGGER count_batch AFTER DELETE ON refresh_tokens REFERENCING OLD TABLE AS deleted
             FOR EACH STATEMENT EXECUTE FUNCTION count_batch()",
    )
    .unwrap();
    assert_eq!(RefreshTokenRepository::new(&mut conn).cleanup_expired(1), Ok(2_500));
    assert_eq!(count(&mut conn), 0);
    let batches: Vec<i64> =
        diesel::dsl::sql::<diesel::sql_types::BigInt>("SELECT rows FROM batches ORDER BY rows DESC")
            .load(&mut *conn)
            .unwrap();
    assert_eq!(batches, [1_000, 1_000, 500]);
}

#[test]
fn clean_up_waits_for_nobody() {
    let database = refresh_tokens_support::Database::migrated();
    let (mut holder, mut cleaner) = (database.connect(), database.connect());
    cleaner.batch_execute("SET lock_timeout = '5s'").unwrap();
    for _ in 0..2 {
        let hash = create(&mut holder).token_hash;
        expire(&mut holder, &hash, 2);
    }
    let held = holder
        .transaction(|conn| {
            let held: Uuid = dsl::refresh_tokens.select(dsl::id).for_update().first(conn)?;
            assert_eq!(RefreshTokenRepository::new(&mut cleaner).cleanup_expired(1), Ok(1));
            QueryResult::Ok(held)
        })
        .unwrap();
    assert_eq!(dsl::refresh_tokens.select(dsl::id).load::<Uuid>(&mut cleaner).unwrap(), [held]);
    assert_eq!(RefreshTokenRepository::new(&mut cleaner).cleanup_expired(1), Ok(1));
}

#[test]
fn a_locked_token_can_be_let_go() {
    let mut conn = connection();
    let token = create(&mut conn);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    tokens
        .transaction(|tx| {
            let locked = tx.get_valid_for_rotation(&token.token_hash, Binding::ANY)?;
            assert_eq!(locked.expect("it is valid").token(), &token);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert!(matches!(tokens.rotate(&token.token_hash, &successor(), Binding::ANY), Ok(Rotation::Rotated(_))));
}

#[test]
fn a_locked_token_that_its_own_transaction_spent_is_not_rotated() {
    type End = fn(&mut RefreshTokenRepository<'_>, &RefreshToken) -> Result<(), Error>;
    let ends: [End; 2] = [
        |tokens, token| tokens.revoke(token.id).map(drop),
        |tokens, token| tokens.rotate(&token.token_hash, &successor(), Binding::ANY).map(drop),
    ];
    for end in ends {
        let mut conn = connection();
        let token = create(&mut conn);
        let outcome = RefreshTokenRepository::new(&mut conn).transaction(|tx| {
            let mut locked = tx.get_valid_for_rotation(&token.token_hash, Binding::ANY)?.expect("it is valid");
            end(&mut RefreshTokenRepository::new(locked.connection()), &token)?;
            locked.rotate_to(&successor())
        });
        assert_eq!(outcome, Err(Error::LockedTokenSpent));
        assert_eq!(row(&mut conn, &token.token_hash), token, "all was rolled back");
        assert_eq!(count(&mut conn), 1);
    }
}

/// Of what happened to a token, that it was rotated comes first: presenting it is reuse, whatever came after.
#[test]
fn a_token_that_was_rotated_and_revoked_is_a_rotated_one() {
    let mut conn = connection();
    let hashes = chain(&mut conn, 2);
    let (first, last) = (row(&mut conn, &hashes[0]), row(&mut conn, &hashes[1]));
    RefreshTokenRepository::new(&mut conn).revoke_session(first.session_id).unwrap();
    let spent = row(&mut conn, &hashes[0]);
    assert!(spent.revoked_at.is_some());
    assert_eq!(spent.state(spent.created_at), TokenState::Rotated { successor_id: last.id });
}
