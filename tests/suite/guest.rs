//! Invariant 10, guest manners: in the host's transaction, under its isolation level, with a role that owns nothing,
//! on rows that others wrote.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Error, NewRefreshToken, OnReuse, Redemption, RefreshTokenRepository, Refusal, RevocationReport,
    RevokedReason, Rotation, RotationRequest, SessionOptions, SessionQuery, TokenRevocation,
};
use refresh_tokens_support::doc::{connection, fresh_hash, in_days, new_token, successor};
use refresh_tokens_support::{Database, race, reference};
use uuid::Uuid;

use crate::common::{By, chain, create, expire, is_valid, rotate, row};
use crate::roles;

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
#[test]
fn invariant_10_the_hosts_rollback_undoes_every_verb() {
    let mut conn = connection();
    let hashes = chain(&mut conn, 2);
    let (first, live) = (row(&mut conn, &hashes[0]), row(&mut conn, &hashes[1]));
    let expired = create(&mut conn);
    expire(&mut conn, &expired.token_hash, 2);
    let before = row(&mut conn, &hashes[1]);
    let undone: Result<(), Error> = conn.transaction(|conn| {
        let mut tokens = RefreshTokenRepository::new(conn);
        tokens.create(&new_token())?;
        assert_eq!(tokens.cleanup_expired(1)?, 1);
        let rotated = tokens.rotate(&live.token_hash, &successor(), Binding::ANY)?;
        assert!(matches!(rotated, Rotation::Rotated(_)));
        assert_eq!(tokens.revoke_token_chain(first.id)?.tokens, 3);
        assert_eq!(tokens.revoke_all_for_user(first.user_id)?.tokens, 0);
        Err(Error::Conflict)
    });
    assert_eq!(undone, Err(Error::Conflict));
    assert_eq!(row(&mut conn, &hashes[1]), before);
    let rows: i64 = dsl::refresh_tokens.count().get_result(&mut *conn).unwrap();
    assert_eq!(rows, 3);
}

#[test]
fn invariant_10_a_verb_that_fails_leaves_the_hosts_transaction_usable() {
    let mut conn = connection();
    let token = create(&mut conn);
    let written = conn.transaction(|conn| {
        let mut tokens = RefreshTokenRepository::new(conn);
        let taken = NewRefreshToken { id: token.id, ..new_token() };
        assert_eq!(tokens.create(&taken), Err(Error::DuplicateId));
        let taken = refresh_tokens::Successor::expiring_at(token.id, fresh_hash(), in_days(1));
        assert_eq!(tokens.rotate(&token.token_hash, &taken, Binding::ANY), Err(Error::DuplicateId));
        tokens.create(&new_token())
    });
    let hash = written.unwrap().token_hash;
    assert!(RefreshTokenRepository::new(&mut conn).get_by_hash(&hash).unwrap().is_some());
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
/// COMMIT of an aborted transaction is a ROLLBACK that reports success; a lost revocation must not look like one
/// that was made.
#[test]
fn invariant_3_a_swallowed_error_does_not_turn_commit_into_a_silent_rollback() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let token = create(&mut conn);
    let outcome = RefreshTokenRepository::new(&mut conn).transaction(|tx| {
        let revoked = tx.revoke_token_chain(token.id)?;
        let _ = tx.connection().batch_execute("SELECT 1 / 0");
        Ok::<_, Error>(revoked)
    });
    assert_eq!(outcome, Err(Error::Aborted));
    assert!(is_valid(&database, &token.token_hash));
}

#[test]
fn invariant_10_a_transaction_in_a_transaction_is_a_savepoint() {
    let mut conn = connection();
    let token = create(&mut conn);
    let outcome = conn.transaction(|conn| {
        let mut tokens = RefreshTokenRepository::new(conn);
        let undone: Result<(), Error> = tokens.transaction(|tx| {
            assert!(tx.revoke(token.id)?.is_revoked());
            Err(Error::Conflict)
        });
        assert_eq!(undone, Err(Error::Conflict));
        tokens.transaction(|tx| tx.transaction(|inner| inner.revoke_by_hash(&token.token_hash)))
    });
    assert_eq!(outcome.map(TokenRevocation::is_revoked), Ok(true));
    assert!(row(&mut conn, &token.token_hash).revoked_at.is_some());
}

/// The schedule of flaw 1 where the session's default is stricter: a revocation of its own asks for READ COMMITTED.
#[test]
fn invariant_3_whatever_the_default_isolation() {
    for isolation in ["repeatable read", "serializable"] {
        let database = Database::migrated().with(&[("default_transaction_isolation", isolation)]);
        let mut conn = database.connect();
        let hashes = chain(&mut conn, 2);
        let first = row(&mut conn, &hashes[0]);
        let revocation = race::Rival::on(&database);
        let third = conn
            .build_transaction()
            .read_committed()
            .run(|conn| {
                let third = rotate(By::Library, conn, &hashes[1]);
                revocation.waits_for(conn, move |conn| RefreshTokenRepository::new(conn).revoke_token_chain(first.id));
                QueryResult::Ok(third)
            })
            .unwrap();
        let revoked = revocation.join();
        assert_eq!(revoked.map(|receipt| receipt.tokens), Ok(3), "{isolation}");
        assert!(!is_valid(&database, &third));
    }
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
/// A snapshot from before the call does not see a token that was committed before the call: an error, and not `Ok(0)`.
#[test]
fn invariant_3_an_old_snapshot_of_the_hosts_is_an_error() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let revoke_all = |conn: &mut PgConnection| {
        diesel::sql_query("SELECT 1 FROM refresh_tokens").execute(conn)?; // the host's snapshot
        let token = create(&mut database.connect());
        let mut tokens = RefreshTokenRepository::new(conn);
        assert_eq!(tokens.revoke_all_for_user(token.user_id), Err(Error::IsolationTooHigh));
        assert_eq!(tokens.revoke_all_for_user_except(token.user_id, token.id), Err(Error::IsolationTooHigh));
        let others = tokens.revoke_all_for_user_except_session(token.user_id, Uuid::new_v4());
        assert_eq!(others, Err(Error::IsolationTooHigh));
        assert_eq!(tokens.revoke_token_chain(token.id), Err(Error::IsolationTooHigh));
        Ok::<_, Error>(token)
    };
    conn.build_transaction().repeatable_read().run(revoke_all).unwrap();
    conn.build_transaction().serializable().run(revoke_all).unwrap();
    let token = conn
        .build_transaction()
        .read_committed()
        .run(|conn| {
            diesel::sql_query("SELECT 1 FROM refresh_tokens").execute(conn)?;
            let token = create(&mut database.connect());
            assert_eq!(
                RefreshTokenRepository::new(conn).revoke_all_for_user(token.user_id).map(|receipt| receipt.tokens),
                Ok(1)
            );
            Ok::<_, Error>(token)
        })
        .unwrap();
    assert!(!is_valid(&database, &token.token_hash));
}

#[test]
fn invariant_2_whatever_the_default_isolation() {
    for isolation in ["repeatable read", "serializable"] {
        let database = Database::migrated().with(&[("default_transaction_isolation", isolation)]);
        let mut conn = database.connect();
        let token = create(&mut conn);
        let hash = token.token_hash.clone();
        let second = race::Rival::on(&database);
        let rotating = conn.build_transaction().read_committed().run(|conn| {
            rotate(By::Library, conn, &token.token_hash);
            second.waits_for(conn, move |conn| {
                RefreshTokenRepository::new(conn).rotate(&hash, &successor(), Binding::ANY)
            });
            QueryResult::Ok(())
        });
        rotating.unwrap();
        let blocked = second.join();
        assert!(matches!(blocked, Ok(Rotation::Refused(Refusal::Reused(_)))), "{isolation}: {blocked:?}");
    }
}

left_out!(on other_tables: "it calls `verify_schema` for the whole of it");
#[test]
fn invariant_10_a_role_that_owns_nothing_runs_every_verb() {
    let database = Database::migrated();
    let mut conn = roles::who_runs_the_reference_too(&database);
    refresh_tokens::verify_schema(&mut conn).unwrap();
    let hashes = chain(&mut conn, 2);
    let after_the_reference = rotate(By::Reference, &mut conn, &hashes[1]);
    let first = row(&mut conn, &hashes[0]);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert!(tokens.check_token_reuse(&hashes[0]).unwrap().is_some());
    assert!(tokens.get_valid_by_hash(&after_the_reference, Binding::ANY).unwrap().is_some());
    assert_eq!(tokens.get_active_tokens_for_user(first.user_id).unwrap().len(), 1);
    assert_eq!(tokens.revoke(first.id).map(TokenRevocation::is_revoked), Ok(true));
    assert_eq!(tokens.revoke_by_hash(&hashes[1]).map(TokenRevocation::is_revoked), Ok(true));
    assert_eq!(tokens.revoke_token_chain(first.id).map(|receipt| receipt.tokens), Ok(1));
    assert_eq!(tokens.revoke_all_for_user(first.user_id).map(|receipt| receipt.tokens), Ok(0));
    assert_eq!(tokens.revoke_all_for_user_except(first.user_id, first.id).map(|receipt| receipt.tokens), Ok(0));
    assert_eq!(
        tokens.revoke_all_for_user_except_session(first.user_id, Uuid::new_v4()),
        Ok(RevocationReport::default())
    );
    let session = SessionOptions::default().authenticated_at(tokens.now().unwrap());
    let login = tokens.create(&NewRefreshToken { session, ..new_token() }).unwrap();
    let elsewhere = successor().active_org_id(first.active_org_id);
    let redeemed = tokens.redeem(&login.token_hash, &elsewhere, Binding::ANY, OnReuse::RevokeSession);
    assert!(matches!(redeemed, Ok(Redemption::Rotated { .. })), "{redeemed:?}");
    let reused = tokens.redeem(&login.token_hash, &successor(), Binding::ANY, OnReuse::RevokeSession);
    assert!(matches!(reused, Ok(Redemption::Reused { .. })), "{reused:?}");
    assert_eq!(tokens.list_sessions(&SessionQuery::of_user(login.user_id).include_ended()).unwrap().sessions.len(), 1);
    assert_eq!(tokens.revoke_session(first.session_id), Ok(RevocationReport::default()));
    assert_eq!(tokens.revoke_session_by_hash(&login.token_hash), Ok(RevocationReport::default()));
    let batched = tokens.create(&new_token()).unwrap().token_hash;
    let outcomes = tokens.rotate_many(&[RotationRequest::new(batched.clone(), successor())]).unwrap();
    assert!(matches!(outcomes[..], [Ok(Rotation::Rotated(_))]), "{outcomes:?}");
    assert_eq!(tokens.end_session_by_hash(&batched).map(|receipt| receipt.live), Ok(1));
    assert_eq!(tokens.end_session(first.session_id), Ok(RevocationReport::default()));
    assert_eq!(tokens.revoke_all_for_user_in_org(first.user_id, first.active_org_id), Ok(RevocationReport::default()));
    assert_eq!(tokens.revoke_all_for_org(first.active_org_id), Ok(RevocationReport::default()));
    assert_eq!(tokens.revoke_all_for_everyone(), Ok(RevocationReport::default()));
}

/// Rows as only other software would write them, and what presenting them must lead to: never a panic, never a
/// wrong `Ok`.
#[test]
fn invariant_10_no_row_content_panics() {
    for (strange, refused_as) in [
        ("expires_at = 'infinity'", None),
        ("expires_at = '-infinity'", Some("expired")),
        ("created_at = 'infinity'", None),
        ("revoked_at = '-infinity'", Some("revoked")),
        ("expires_at = '294276-12-31', created_at = '4713-01-01 BC'", None),
        ("token_hash = ''", Some("not_found")),
        ("token_hash = repeat('x', 2000)", Some("not_found")),
        ("generation = -2147483648", None),
        ("revoked_at = now(), revoked_reason = 'a reason of the future'", Some("revoked")),
        ("rotated_to = id", Some("reused")),
        ("rotated_to = '00000000-0000-0000-0000-000000000000'", Some("reused")),
        ("session_expires_at = '-infinity'", Some("expired")),
        ("session_expires_at = 'infinity'", None),
        ("user_id = '00000000-0000-0000-0000-000000000000'", None),
    ] {
        let mut conn = connection();
        let token = create(&mut conn);
        conn.batch_execute(&format!("UPDATE refresh_tokens SET {strange}")).unwrap();
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let valid = tokens.get_valid_by_hash(&token.token_hash, Binding::ANY).unwrap();
        assert_eq!(valid.is_some(), refused_as.is_none(), "{strange}");
        tokens.get_by_hash(&token.token_hash).unwrap();
        tokens.get_active_tokens_for_user(token.user_id).unwrap();
        let reused = tokens.check_token_reuse(&token.token_hash).unwrap();
        assert_eq!(reused.is_some(), refused_as == Some("reused"), "{strange}");
        match tokens.rotate(&token.token_hash, &successor(), Binding::ANY).unwrap() {
            Rotation::Rotated(_) | Rotation::Repeated(_) => assert_eq!(refused_as, None, "{strange}"),
            Rotation::Refused(refusal) => assert_eq!(Some(refusal.as_str()), refused_as, "{strange}"),
        }
        tokens.revoke_token_chain(token.id).unwrap();
        tokens.revoke_all_for_user(token.user_id).unwrap();
        tokens.cleanup_expired(0).unwrap();
    }
}

/// The end of the numbers: a token that cannot have a successor says so, and stays valid.
#[test]
fn invariant_10_the_last_generation_cannot_be_rotated() {
    let mut conn = connection();
    let token = create(&mut conn);
    conn.batch_execute("UPDATE refresh_tokens SET generation = 2147483647").unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let outcome = tokens.rotate(&token.token_hash, &successor(), Binding::ANY);
    assert_eq!(outcome, Err(Error::Database { message: "integer out of range".to_owned() }));
    assert!(tokens.get_valid_by_hash(&token.token_hash, Binding::ANY).unwrap().is_some());
}

/// "Never expires" of other software: found, listed and rotated like any other.
#[test]
fn an_infinite_instant_is_read_as_the_last_one() {
    let mut conn = connection();
    let token = create(&mut conn);
    conn.batch_execute("UPDATE refresh_tokens SET expires_at = 'infinity', session_expires_at = '-infinity'").unwrap();
    let odd = row(&mut conn, &token.token_hash);
    assert_eq!(odd.expires_at, chrono::DateTime::<chrono::Utc>::MAX_UTC);
    assert_eq!(odd.session_expires_at, Some(chrono::DateTime::<chrono::Utc>::MIN_UTC));
    assert_eq!(odd.created_at, token.created_at);
}

left_out!(on other_tables: "only the trigger makes the successors of other software members of the session");
/// `rotated_to` that names a token of somebody else, by mistake or malice, must not put two users into one session.
#[test]
fn invariant_5_only_a_token_of_the_same_user_is_adopted() {
    let mut conn = connection();
    let (victim, other) = (create(&mut conn), create(&mut conn));
    reference::mark_rotated(&mut conn, other.id, victim.id).unwrap();
    assert_eq!(row(&mut conn, &victim.token_hash), victim);
    assert!(row(&mut conn, &other.token_hash).rotated_at.is_some());
}

#[test]
fn a_reason_that_is_not_known_is_still_read() {
    let mut conn = connection();
    let token = create(&mut conn);
    conn.batch_execute("UPDATE refresh_tokens SET revoked_at = now(), revoked_reason = 'eclipse'").unwrap();
    assert_eq!(row(&mut conn, &token.token_hash).revoked_reason, Some(RevokedReason::Unrecognized));
}

/// Both tables as `diesel print-schema` prints them for the host; `docs/devices.md` shows this join.
mod host_schema {
    diesel::table! {
        devices (session_id) {
            session_id -> Uuid,
            name -> Text,
        }
    }
    diesel::table! {
        refresh_tokens (id) {
            id -> Uuid,
            user_id -> Uuid,
            rotated_to -> Nullable<Uuid>,
            revoked_at -> Nullable<Timestamptz>,
            session_id -> Uuid,
        }
    }
    diesel::allow_tables_to_appear_in_same_query!(devices, refresh_tokens);
}

#[test]
fn the_host_joins_its_devices_by_session() {
    use host_schema::{devices, refresh_tokens};

    let mut conn = connection();
    conn.batch_execute("CREATE TABLE devices (session_id uuid PRIMARY KEY, name text NOT NULL)").unwrap();
    let token = create(&mut conn);
    let of_token = (devices::session_id.eq(token.session_id), devices::name.eq("Phone"));
    diesel::insert_into(devices::table).values(of_token).execute(&mut *conn).unwrap();
    rotate(By::Library, &mut conn, &token.token_hash);
    let names: Vec<(Uuid, String)> = refresh_tokens::table
        .inner_join(devices::table.on(devices::session_id.eq(refresh_tokens::session_id)))
        .filter(refresh_tokens::user_id.eq(token.user_id))
        .filter(refresh_tokens::rotated_to.is_null())
        .filter(refresh_tokens::revoked_at.is_null())
        .select((refresh_tokens::session_id, devices::name))
        .load(&mut *conn)
        .unwrap();
    assert_eq!(names, [(token.session_id, "Phone".to_owned())]);
}
