//! The flaws of the system that this library takes over from (the legend of ARCHITECTURE.md lists them): each shown with
//! its own statements, and gone with ours in the same schedule.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{Binding, Error, NewRefreshToken, RefreshToken, RefreshTokenRepository, Refusal, Rotation};
use refresh_tokens_support::doc::{fresh_hash, new_token, successor};
use refresh_tokens_support::{Database, race, reference};
use uuid::Uuid;

use crate::common::{By, chain, create, expire, is_valid, new_hash, rotate, row};

/// While h2 → h3 is being rotated, uncommitted, `revoke` is started on h1; how many it says that it revoked, and whether
/// h3 survives it.
fn of_an_unborn(
    rotation_by: By,
    mut revoke: impl FnMut(&mut PgConnection, &RefreshToken) -> refresh_tokens::Result<usize> + Send + 'static,
) -> (usize, bool) {
    let database = Database::migrated();
    let mut conn = database.connect();
    let h1 = create(&mut conn);
    let h2 = rotate(By::Library, &mut conn, &h1.token_hash);
    let revocation = race::Rival::on(&database);
    let h3 = conn
        .transaction(|conn| {
            let h3 = rotate(rotation_by, conn, &h2);
            revocation.waits_for(conn, move |conn| revoke(conn, &h1));
            QueryResult::Ok(h3)
        })
        .unwrap();
    let revoked = revocation.join().expect("it is not refused");
    (revoked, is_valid(&database, &h3))
}

left_out!(under serializable: "it shows what the reference does in READ COMMITTED");
#[test]
fn flaw_1_chain_revocation_misses_the_unborn_successor() {
    let by_reference = |conn: &mut PgConnection, h1: &RefreshToken| Ok(reference::revoke_token_chain(conn, h1.id)?);
    assert_eq!(of_an_unborn(By::Reference, by_reference), (2, true));
    assert_eq!(of_an_unborn(By::Library, by_reference), (2, true));

    let by_library = |conn: &mut PgConnection, h1: &RefreshToken| {
        RefreshTokenRepository::new(conn).revoke_token_chain(h1.id).map(|receipt| receipt.tokens)
    };
    assert_eq!(of_an_unborn(By::Reference, by_library), (3, false));
    assert_eq!(of_an_unborn(By::Library, by_library), (3, false));
}

left_out!(under serializable: "it shows what the reference does in READ COMMITTED");
#[test]
fn flaw_2_user_revocation_misses_the_unborn_successor() {
    let by_reference =
        |conn: &mut PgConnection, h1: &RefreshToken| Ok(reference::revoke_all_for_user(conn, h1.user_id)?);
    assert_eq!(of_an_unborn(By::Reference, by_reference), (2, true));
    assert_eq!(of_an_unborn(By::Library, by_reference), (2, true));

    let by_library = |conn: &mut PgConnection, h1: &RefreshToken| {
        RefreshTokenRepository::new(conn).revoke_all_for_user(h1.user_id).map(|receipt| receipt.tokens)
    };
    assert_eq!(of_an_unborn(By::Reference, by_library), (3, false));
    assert_eq!(of_an_unborn(By::Library, by_library), (3, false));
}

left_out!(under serializable: "it shows what the reference does in READ COMMITTED");
#[test]
fn flaw_2_also_where_one_session_is_kept() {
    let by_reference = |conn: &mut PgConnection, h1: &RefreshToken| {
        Ok(reference::revoke_all_for_user_except(conn, h1.user_id, Uuid::new_v4())?)
    };
    assert_eq!(of_an_unborn(By::Library, by_reference), (2, true));

    let by_library = |conn: &mut PgConnection, h1: &RefreshToken| {
        let mut tokens = RefreshTokenRepository::new(conn);
        let user_id = h1.user_id;
        let kept = tokens.create(&NewRefreshToken { user_id, ..new_token() })?;
        let receipt = tokens.revoke_all_for_user_except(user_id, kept.id)?;
        assert_eq!(tokens.get_active_tokens_for_user(user_id)?, [kept]);
        Ok(receipt.tokens)
    };
    assert_eq!(of_an_unborn(By::Library, by_library), (3, false));
}

#[test]
fn flaw_3_naming_a_stale_token_kills_the_session_that_was_to_be_kept() {
    let database = Database::migrated();
    let mut conn = database.connect();

    let stale = create(&mut conn);
    let live = rotate(By::Library, &mut conn, &stale.token_hash);
    reference::revoke_all_for_user_except(&mut conn, stale.user_id, stale.id).unwrap();
    assert!(!is_valid(&database, &live));

    let stale = create(&mut conn);
    let live = rotate(By::Library, &mut conn, &stale.token_hash);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.revoke_all_for_user_except(stale.user_id, stale.id).map(|receipt| receipt.tokens), Ok(0));
    assert!(is_valid(&database, &live));
}

left_out!(on other_tables: "only the trigger makes the successors of other software members of the session");
#[test]
fn flaw_4_two_callers_in_autocommit_get_two_live_successors() {
    let database = Database::migrated();
    let (mut first, mut second) = (database.connect(), database.connect());

    let presented = create(&mut first);
    let (h2, h3) = (fresh_hash(), fresh_hash());
    let hash = presented.token_hash.expose();
    let lock = |conn| reference::get_valid_for_rotation(conn, hash, None).unwrap().unwrap();
    let (seen_by_first, seen_by_second) = (lock(&mut first), lock(&mut second));
    for (conn, seen, hash) in [(&mut first, seen_by_first, &h2), (&mut second, seen_by_second, &h3)] {
        let new = new_hash(hash);
        reference::insert_successor(conn, &seen, &new).unwrap();
        reference::mark_rotated(conn, seen.id, new.id).unwrap();
    }
    assert!(is_valid(&database, &h2) && is_valid(&database, &h3));
    // One of them is out of reach of the reference's breach response, and within reach of ours.
    reference::revoke_token_chain(&mut first, presented.id).unwrap();
    assert!(is_valid(&database, &h2) ^ is_valid(&database, &h3));
    RefreshTokenRepository::new(&mut first).revoke_token_chain(presented.id).unwrap();
    assert!(!is_valid(&database, &h2) && !is_valid(&database, &h3));

    let presented = create(&mut first);
    let hash = presented.token_hash.clone();
    let late = race::Rival::on(&database);
    let h2 = first
        .transaction(|conn| {
            let h2 = rotate(By::Library, conn, &presented.token_hash);
            late.waits_for(conn, move |conn| {
                RefreshTokenRepository::new(conn).rotate(&hash, &successor(), Binding::ANY)
            });
            QueryResult::Ok(h2)
        })
        .unwrap();
    let late = late.join();
    assert!(matches!(late, Ok(Rotation::Refused(Refusal::Reused(_)))), "{late:?}");
    assert!(is_valid(&database, &h2));
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
#[test]
fn flaw_6_reuse_reported_as_an_error_undoes_its_own_breach_response() {
    let database = Database::migrated();
    let mut conn = database.connect();

    let hashes = chain(&mut conn, 2);
    let outcome: Result<(), diesel::result::Error> = conn.transaction(|conn| {
        let stale = reference::check_token_reuse(conn, hashes[0].expose())?.expect("it was rotated");
        assert_eq!(reference::revoke_token_chain(conn, stale.id)?, 2);
        Err(diesel::result::Error::RollbackTransaction) // "reuse detected"
    });
    assert!(outcome.is_err());
    assert!(is_valid(&database, &hashes[1]), "nothing was revoked");

    let outcome = conn.transaction(|conn| {
        let mut tokens = RefreshTokenRepository::new(conn);
        let outcome = tokens.rotate(&hashes[0], &successor(), Binding::ANY)?;
        if let Rotation::Refused(Refusal::Reused(stale)) = &outcome {
            assert_eq!(tokens.revoke_token_chain(stale.id)?.tokens, 2);
        }
        Ok::<_, Error>(outcome)
    });
    assert!(matches!(outcome, Ok(Rotation::Refused(Refusal::Reused(_)))));
    assert!(!is_valid(&database, &hashes[1]));
}

/// A token that expires while its presenter waits for the row lock: is it accepted?
fn expired_during_the_wait_is_accepted(
    mut present: impl FnMut(&mut PgConnection, &RefreshToken) -> refresh_tokens::Result<bool> + Send + 'static,
) -> bool {
    let database = Database::migrated();
    let mut conn = database.connect();
    let expires_at = race::now(&mut conn) + chrono::Duration::milliseconds(1_500);
    let token = RefreshTokenRepository::new(&mut conn).create(&NewRefreshToken { expires_at, ..new_token() }).unwrap();
    let presenter = race::Rival::on(&database);
    let hash = token.token_hash.clone();
    conn.transaction(|conn| {
        reference::get_valid_for_rotation(conn, hash.expose(), None)?.expect("it is valid");
        presenter.waits_for(conn, move |conn| present(conn, &token));
        assert!(race::now(conn) < expires_at, "it was valid when the wait began");
        race::wait_until(conn, expires_at);
        QueryResult::Ok(())
    })
    .unwrap();
    presenter.join().unwrap()
}

#[test]
fn flaw_7_expiry_is_judged_before_the_wait_for_the_lock() {
    assert!(expired_during_the_wait_is_accepted(|conn, token| {
        let new = new_hash(&fresh_hash());
        Ok(reference::rotate(conn, token.token_hash.expose(), &new, None)?.is_some())
    }));
    assert!(!expired_during_the_wait_is_accepted(|conn, token| {
        let outcome = RefreshTokenRepository::new(conn).rotate(&token.token_hash, &successor(), Binding::ANY)?;
        assert_eq!(outcome, Rotation::Refused(Refusal::Expired(token.clone())));
        Ok(false)
    }));
    assert!(!expired_during_the_wait_is_accepted(|conn, token| {
        let mut tokens = RefreshTokenRepository::new(conn);
        tokens.transaction(|tx| Ok(tx.get_valid_for_rotation(&token.token_hash, Binding::ANY)?.is_some()))
    }));
}

#[test]
fn flaw_8_none_means_five_things() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let stranger = Uuid::new_v4();

    let reused = chain(&mut conn, 2).swap_remove(0);
    let revoked = create(&mut conn);
    assert!(RefreshTokenRepository::new(&mut conn).revoke(revoked.id).unwrap().is_revoked());
    let expired = create(&mut conn);
    expire(&mut conn, &expired.token_hash, 1);
    let foreign = create(&mut conn);

    let mut answers = Vec::new();
    for (hash, user) in [
        (fresh_hash(), None),
        (reused, None),
        (foreign.token_hash, Some(stranger)),
        (revoked.token_hash, None),
        (expired.token_hash, None),
    ] {
        let new = new_hash(&fresh_hash());
        assert_eq!(reference::rotate(&mut conn, hash.expose(), &new, user).unwrap(), None);
        let binding = user.map_or(Binding::ANY, Binding::user);
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        match tokens.rotate(&hash, &successor(), binding).unwrap() {
            Rotation::Refused(refusal) => answers.push(refusal),
            Rotation::Rotated(token) | Rotation::Repeated(token) => panic!("{token:?}"),
        }
    }
    assert!(
        matches!(
            answers.as_slice(),
            [
                Refusal::NotFound,
                Refusal::Reused(_),
                Refusal::BindingMismatch(_),
                Refusal::Revoked(_),
                Refusal::Expired(_),
            ]
        ),
        "{answers:?}"
    );
}

#[test]
fn flaw_9_clean_up_cuts_a_chain_and_its_tail_survives_the_breach_response() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let cut = |conn: &mut PgConnection, hashes: &[refresh_tokens::TokenHash]| {
        expire(conn, &hashes[1], 31);
        assert_eq!(reference::cleanup_expired(conn, 30).unwrap(), 1);
        row(conn, &hashes[0]).id
    };

    let hashes = chain(&mut conn, 4);
    let start = cut(&mut conn, &hashes);
    assert_eq!(reference::revoke_token_chain(&mut conn, start).unwrap(), 1);
    assert!(is_valid(&database, &hashes[3]));

    let hashes = chain(&mut conn, 4);
    let start = cut(&mut conn, &hashes);
    let revoked = RefreshTokenRepository::new(&mut conn).revoke_token_chain(start);
    assert_eq!(revoked.map(|receipt| receipt.tokens), Ok(3));
    assert!(!is_valid(&database, &hashes[3]));
}

left_out!(under serializable: "it shows what the reference does in READ COMMITTED");
/// Whatever the planner knows of the table: without statistics, and with them.
#[test]
fn flaw_12_a_cyclic_chain_is_never_walked_to_its_end() {
    let database = Database::migrated();
    let mut conn = database.connect();
    conn.batch_execute("SET statement_timeout = '30s'").unwrap();
    // A nested loop would stop reading the chain when it has seen each row. To forbid it is to make it dear, and what is
    // dear is compiled (jit), which can take seconds: so not for the library, which cannot do without one.
    let mut without_nested_loops = database.connect();
    let settings = "SET enable_nestloop = off; SET jit = off; SET statement_timeout = '1s'";
    without_nested_loops.batch_execute(settings).unwrap();

    for has_statistics in [false, true] {
        if has_statistics {
            conn.batch_execute("ANALYZE refresh_tokens").unwrap();
        }
        let intact = chain(&mut conn, 3);
        let first = row(&mut conn, &intact[0]);
        let revoked = reference::revoke_token_chain(&mut without_nested_loops, first.id);
        assert_eq!(revoked, Ok(3), "that time is enough for a chain that ends");

        let hashes = chain(&mut conn, 3);
        let (first, last) = (row(&mut conn, &hashes[0]), row(&mut conn, &hashes[2]));
        reference::mark_rotated(&mut conn, last.id, first.id).unwrap();
        let endless = reference::revoke_token_chain(&mut without_nested_loops, first.id);
        assert!(endless.unwrap_err().to_string().contains("statement timeout"));

        let revoked = RefreshTokenRepository::new(&mut conn).revoke_token_chain(last.id);
        assert_eq!(revoked.map(|receipt| receipt.tokens), Ok(3));
    }
}
