//! The invariants that concern rotation and revocation, each under the schedule that tries it most; the legend of
//! ARCHITECTURE.md lists them.

use std::sync::{Arc, Barrier};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Error, InvalidInput, NewRefreshToken, RefreshToken, RefreshTokenRepository, Refusal, Rotation, Successor,
    TokenState,
};
use refresh_tokens_support::doc::{connection, in_days, new_token, successor};
use refresh_tokens_support::{Database, race, reference};

use crate::common::{By, chain, create, expire, is_valid, rotate, row};

/// Sessions that have more than one row which is neither rotated nor revoked.
fn sessions_with_two_live_tokens(conn: &mut PgConnection) -> usize {
    dsl::refresh_tokens
        .filter(dsl::rotated_to.is_null())
        .filter(dsl::revoked_at.is_null())
        .group_by(dsl::session_id)
        .having(diesel::dsl::count_star().gt(1))
        .select(dsl::session_id)
        .load::<uuid::Uuid>(conn)
        .unwrap()
        .len()
}

fn all_rows(conn: &mut PgConnection) -> Vec<RefreshToken> {
    dsl::refresh_tokens.order(dsl::id).select(RefreshToken::as_select()).load(conn).unwrap()
}

#[test]
fn invariants_1_and_2_of_many_presenters_one_gets_a_successor() {
    let database = Database::migrated();
    let token = create(&mut database.connect());
    let start = Arc::new(Barrier::new(8));
    let presenters: Vec<_> = (0..8)
        .map(|_| {
            let (mut conn, start, hash) = (database.connect(), Arc::clone(&start), token.token_hash.clone());
            std::thread::spawn(move || {
                start.wait();
                race::retrying(|| RefreshTokenRepository::new(&mut conn).rotate(&hash, &successor(), Binding::ANY))
            })
        })
        .collect();
    let outcomes: Vec<Rotation> = presenters.into_iter().map(|presenter| presenter.join().unwrap().unwrap()).collect();
    let rotated = outcomes.iter().filter(|outcome| matches!(outcome, Rotation::Rotated(_)));
    let reused = outcomes.iter().filter(|outcome| matches!(outcome, Rotation::Refused(Refusal::Reused(_))));
    assert_eq!((rotated.count(), reused.count()), (1, 7));
    let mut conn = database.connect();
    assert_eq!(sessions_with_two_live_tokens(&mut conn), 0);
    assert_eq!(all_rows(&mut conn).len(), 2, "the losers left nothing behind");
}

/// `rotate` is stopped between its lock and its write by a host's transaction that holds the lock: the second
/// presenter must wait for the first one's COMMIT, not only for its first statement.
#[test]
fn invariant_2_the_lock_is_held_until_commit() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let token = create(&mut conn);
    let hash = token.token_hash.clone();
    let second = race::Rival::on(&database);
    RefreshTokenRepository::new(&mut conn)
        .transaction(|tx| {
            let pid = race::pid(tx.connection());
            let locked = tx.get_valid_for_rotation(&token.token_hash, Binding::ANY)?;
            let locked = locked.expect("it is valid");
            second.waits_for_process(pid, move |conn| {
                RefreshTokenRepository::new(conn).rotate(&hash, &successor(), Binding::ANY)
            });
            locked.rotate_to(&successor())
        })
        .unwrap();
    let second = second.join();
    assert!(matches!(second, Ok(Rotation::Refused(Refusal::Reused(_)))), "{second:?}");
}

left_out!(under serializable:
    "its schedule is one of READ COMMITTED: who waits there is rolled back here, and comes later");
/// A pass whose every row was revoked by somebody else while it waited has revoked nothing, and yet one of them had
/// a successor that its snapshot did not see: it must look again.
#[test]
fn invariant_3_a_pass_that_revokes_nothing_is_not_the_end() {
    for by_chain in [true, false] {
        let database = Database::migrated();
        let mut conn = database.connect();
        let hashes = chain(&mut conn, 2);
        let (first, second) = (row(&mut conn, &hashes[0]), row(&mut conn, &hashes[1]));
        let revocation = race::Rival::on(&database);
        let successor = conn
            .transaction(|conn| {
                assert!(reference::revoke(conn, first.id)?);
                let (start, user_id) = (first.id, first.user_id);
                // It has seen both rows unrevoked, and waits for the first.
                revocation.waits_for(conn, move |conn| {
                    let mut tokens = RefreshTokenRepository::new(conn);
                    if by_chain { tokens.revoke_token_chain(start) } else { tokens.revoke_all_for_user(user_id) }
                });
                let mut beside = database.connect();
                let successor = rotate(By::Library, &mut beside, &hashes[1]);
                assert!(reference::revoke(&mut beside, second.id)?);
                QueryResult::Ok(successor)
            })
            .unwrap();
        let revoked = revocation.join();
        assert_eq!(revoked.map(|receipt| receipt.tokens), Ok(1), "only the successor was left to revoke");
        assert!(!is_valid(&database, &successor));
    }
}

/// The named token itself is rotated and deleted while its chain's revocation waits for it.
#[test]
fn invariant_3_and_5_the_start_of_the_chain_vanishes_during_the_wait() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let first = create(&mut conn);
    let start = first.id;
    let revocation = race::Rival::on(&database);
    let successor = conn
        .transaction(|conn| {
            let successor = rotate(By::Library, conn, &first.token_hash);
            diesel::delete(dsl::refresh_tokens.find(start)).execute(conn)?;
            revocation.waits_for(conn, move |conn| RefreshTokenRepository::new(conn).revoke_token_chain(start));
            QueryResult::Ok(successor)
        })
        .unwrap();
    let revoked = revocation.join();
    assert_eq!(revoked.map(|receipt| receipt.tokens), Ok(1));
    assert!(!is_valid(&database, &successor));
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
#[test]
fn invariant_3_a_rotation_that_waits_for_a_revocation_is_refused() {
    for by_user in [true, false] {
        let database = Database::migrated();
        let mut conn = database.connect();
        let token = create(&mut conn);
        let hash = token.token_hash.clone();
        let rotation = race::Rival::on(&database);
        conn.transaction(|conn| {
            let mut tokens = RefreshTokenRepository::new(conn);
            let revoked =
                if by_user { tokens.revoke_all_for_user(token.user_id) } else { tokens.revoke_token_chain(token.id) };
            assert_eq!(revoked.map(|receipt| receipt.tokens), Ok(1));
            rotation.waits_for(conn, move |conn| {
                RefreshTokenRepository::new(conn).rotate(&hash, &successor(), Binding::ANY)
            });
            QueryResult::Ok(())
        })
        .unwrap();
        let outcome = rotation.join();
        assert!(matches!(outcome, Ok(Rotation::Refused(Refusal::Revoked(_)))), "{outcome:?}");
    }
}

/// The breach response reaches tokens that were rotated several times while it waited.
#[test]
fn invariant_3_a_chain_that_grows_while_it_is_revoked() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let first = create(&mut conn);
    let second = rotate(By::Library, &mut conn, &first.token_hash);
    let revocation = race::Rival::on(&database);
    let last = conn
        .transaction(|conn| {
            reference::get_valid_for_rotation(conn, second.expose(), None)?;
            let start = first.id;
            revocation.waits_for(conn, move |conn| RefreshTokenRepository::new(conn).revoke_token_chain(start));
            let third = rotate(By::Library, conn, &second);
            let fourth = rotate(By::Reference, conn, &third);
            QueryResult::Ok(rotate(By::Library, conn, &fourth))
        })
        .unwrap();
    assert_eq!(revocation.join().map(|receipt| receipt.tokens), Ok(5));
    assert!(!is_valid(&database, &last));
}

#[test]
fn invariant_4_a_refusal_changes_nothing() {
    let mut conn = connection();
    let reused = chain(&mut conn, 2).swap_remove(0);
    let revoked = create(&mut conn);
    assert!(RefreshTokenRepository::new(&mut conn).revoke(revoked.id).unwrap().is_revoked());
    let expired = create(&mut conn);
    expire(&mut conn, &expired.token_hash, 1);
    let foreign = create(&mut conn);
    let before = all_rows(&mut conn);

    let nobody = Binding::user(uuid::Uuid::new_v4());
    let unknown = new_token().token_hash;
    let presented = [
        (&unknown, Binding::ANY),
        (&reused, Binding::ANY),
        (&foreign.token_hash, nobody),
        (&foreign.token_hash, Binding::ANY.org(uuid::Uuid::new_v4())),
        (&revoked.token_hash, Binding::ANY),
        (&expired.token_hash, Binding::ANY),
    ];
    for (hash, binding) in presented {
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let outcome = tokens.rotate(hash, &successor(), binding).unwrap();
        assert!(matches!(outcome, Rotation::Refused(_)), "{outcome:?}");
        let locked = tokens.transaction(|tx| Ok::<_, Error>(tx.get_valid_for_rotation(hash, binding)?.is_some()));
        assert_eq!(locked, Ok(false));
    }
    assert_eq!(all_rows(&mut conn), before);
}

#[test]
fn invariant_5_clean_up_revives_nothing() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let hashes = chain(&mut conn, 5);
    let revoked = create(&mut conn);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert!(tokens.revoke(revoked.id).unwrap().is_revoked());
    // The middle and the start go first, whatever their order in the chain.
    for gone in [2, 0] {
        expire(&mut conn, &hashes[gone], 2);
        assert_eq!(RefreshTokenRepository::new(&mut conn).cleanup_expired(1), Ok(1));
    }
    for spent in [&hashes[1], &hashes[3], &revoked.token_hash] {
        assert!(!is_valid(&database, spent));
        let outcome = RefreshTokenRepository::new(&mut conn).rotate(spent, &successor(), Binding::ANY);
        assert!(matches!(outcome, Ok(Rotation::Refused(_))), "{outcome:?}");
    }
    let stale = row(&mut conn, &hashes[1]);
    assert_eq!(
        RefreshTokenRepository::new(&mut conn).revoke_token_chain(stale.id).map(|receipt| receipt.tokens),
        Ok(3)
    );
    assert!(!is_valid(&database, &hashes[4]));
}

/// A server whose clock is 31 days ahead of this machine's: it decides.
#[test]
fn invariant_8_the_databases_clock_decides() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let token = create(&mut conn);
    conn.batch_execute(&format!(
        "CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql
             AS $$ SELECT pg_catalog.clock_timestamp() + interval '31 days' $$;
         SET search_path = {}, pg_catalog",
        database.schema()
    ))
    .unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.get_valid_by_hash(&token.token_hash, Binding::ANY), Ok(None));
    assert_eq!(tokens.get_active_tokens_for_user(token.user_id), Ok(Vec::new()));
    let field = "successor.expires_at";
    let born_expired = Err(InvalidInput::ExpiryNotInFuture { field }.into());
    assert_eq!(tokens.rotate(&token.token_hash, &successor(), Binding::ANY), born_expired);
    let later = Successor::expiring_at(new_token().id, new_token().token_hash, in_days(60));
    let outcome = tokens.rotate(&token.token_hash, &later, Binding::ANY);
    assert_eq!(outcome, Ok(Rotation::Refused(Refusal::Expired(token.clone()))));
    let locked = tokens.transaction(|tx| Ok(tx.get_valid_for_rotation(&token.token_hash, Binding::ANY)?.is_some()));
    assert_eq!(locked, Ok(false));
    let field = "expires_at";
    assert_eq!(tokens.create(&new_token()), Err(InvalidInput::ExpiryNotInFuture { field }.into()));
}

/// Not the clock of the transaction, which stands still.
#[test]
fn invariant_8_also_late_in_a_long_transaction() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let expires_at = race::now(&mut conn) + chrono::Duration::seconds(1);
    let new = NewRefreshToken { expires_at, ..new_token() };
    let token = RefreshTokenRepository::new(&mut conn).create(&new).unwrap();
    let outcome = conn.transaction(|conn| {
        race::wait_until(conn, expires_at);
        let mut tokens = RefreshTokenRepository::new(conn);
        assert_eq!(tokens.get_valid_by_hash(&token.token_hash, Binding::ANY)?, None);
        assert_eq!(tokens.get_active_tokens_for_user(token.user_id)?, []);
        let late = NewRefreshToken { expires_at, ..new_token() };
        let field = "expires_at";
        assert_eq!(tokens.create(&late), Err(InvalidInput::ExpiryNotInFuture { field }.into()));
        tokens.rotate(&token.token_hash, &successor(), Binding::ANY)
    });
    assert_eq!(outcome, Ok(Rotation::Refused(Refusal::Expired(token))));
}

/// Judged once, when the lock was had: the host's own work in between does not cost the client its session.
#[test]
fn invariant_8_a_locked_token_may_expire_before_it_is_rotated() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let expires_at = race::now(&mut conn) + chrono::Duration::milliseconds(500);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let token = tokens.create(&NewRefreshToken { expires_at, ..new_token() }).unwrap();
    let rotated = tokens.transaction(|tx| {
        let mut locked = tx.get_valid_for_rotation(&token.token_hash, Binding::ANY)?.expect("it is valid");
        race::wait_until(locked.connection(), expires_at);
        locked.rotate_to(&successor())
    });
    assert_eq!(rotated.unwrap().generation, 1);
}

/// A session that other software ended early, by its absolute end alone.
#[test]
fn invariant_8_the_end_of_the_session_is_judged_too() {
    let mut conn = connection();
    let token = create(&mut conn);
    diesel::update(dsl::refresh_tokens.find(token.id))
        .set(dsl::session_expires_at.eq(token.created_at))
        .execute(&mut *conn)
        .unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let outcome = tokens.rotate(&token.token_hash, &successor(), Binding::ANY);
    assert!(matches!(outcome, Ok(Rotation::Refused(Refusal::Expired(_)))), "{outcome:?}");
    let locked = tokens.transaction(|tx| Ok(tx.get_valid_for_rotation(&token.token_hash, Binding::ANY)?.is_some()));
    assert_eq!(locked, Ok(false));
    assert_eq!(tokens.get_valid_by_hash(&token.token_hash, Binding::ANY), Ok(None));
    assert_eq!(tokens.get_active_tokens_for_user(token.user_id), Ok(Vec::new()));
    let read = row(&mut conn, &token.token_hash);
    assert_eq!(read.state(read.created_at), TokenState::Expired);
}
