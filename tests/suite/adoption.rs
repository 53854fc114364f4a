//! A table that is there already: adopted with its tokens, or left as it is.

left_out!(module, on other_tables: "it is about how the tables are made");

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{Error, RefreshTokenRepository, TokenHash, drop_tables, migrate, verify_schema};
use refresh_tokens_support::doc::{fresh_hash, in_days};
use refresh_tokens_support::{Database, race, reference};
use uuid::Uuid;

use crate::common::{By, chain, expire, new_hash, rotate, row};
use crate::migrations::{NAMES, tables};

/// The table as the system before us would have made it.
pub(crate) const REFERENCE_TABLE: &str = "CREATE TABLE refresh_tokens (
    id uuid PRIMARY KEY, user_id uuid NOT NULL, token_hash text NOT NULL UNIQUE, active_org_id uuid NOT NULL,
    expires_at timestamptz NOT NULL, revoked_at timestamptz, rotated_to uuid, created_at timestamptz DEFAULT now())";

#[test]
fn a_table_of_the_reference_is_adopted_with_its_tokens() {
    let database = Database::empty();
    let mut conn = database.connect();
    conn.batch_execute(REFERENCE_TABLE).unwrap();
    // Two sessions of three tokens, and a cycle that nothing leads into.
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let user_id = Uuid::new_v4();
        let first = fresh_hash();
        let new = new_hash(&first);
        let created = reference::NewRow {
            id: new.id,
            user_id,
            token_hash: new.token_hash,
            active_org_id: user_id,
            expires_at: in_days(30),
        };
        reference::create(&mut conn, &created).unwrap();
        let second = rotate(By::Reference, &mut conn, &first);
        let third = rotate(By::Reference, &mut conn, &second);
        sessions.push([first, second, third]);
    }
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to)
         SELECT id, id, id::text, id, now() + interval '1 day', lead FROM (VALUES
             ('00000000-0000-4000-8000-000000000001'::uuid, '00000000-0000-4000-8000-000000000002'::uuid),
             ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001')) v (id, lead)",
    )
    .unwrap();

    assert_eq!(migrate(&mut conn).unwrap(), NAMES);
    assert_eq!(verify_schema(&mut conn), Ok(()));
    let mut session_ids = Vec::new();
    for session in &sessions {
        let rows: Vec<_> = session.iter().map(|hash| row(&mut conn, hash)).collect();
        assert!(rows.iter().all(|row| row.session_id == rows[0].session_id), "{rows:?}");
        assert_eq!(rows.iter().map(|row| row.generation).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(rows.iter().all(|row| row.session_started_at == rows[0].created_at), "{rows:?}");
        session_ids.push(rows[0].session_id);
    }
    assert_ne!(session_ids[0], session_ids[1]);

    // The reference goes on, and so do we.
    let by_reference = rotate(By::Reference, &mut conn, &sessions[0][2]);
    let by_library = rotate(By::Library, &mut conn, &by_reference);
    let last = row(&mut conn, &by_library);
    assert_eq!((last.session_id, last.generation), (session_ids[0], 4));
}

#[test]
fn another_table_of_that_name_is_left_as_it_is() {
    for (table, said) in [
        ("CREATE TABLE refresh_tokens (id bigint PRIMARY KEY, token text)", "column id has type bigint and needs uuid"),
        (
            "CREATE TABLE refresh_tokens (id uuid, user_id uuid NOT NULL, token_hash text NOT NULL UNIQUE,
                 active_org_id uuid NOT NULL, expires_at timestamptz NOT NULL, revoked_at timestamptz,
                 rotated_to uuid, created_at timestamptz DEFAULT now(), CONSTRAINT pk PRIMARY KEY (id))",
            "constraint refresh_tokens_pkey",
        ),
        (
            "CREATE TABLE refresh_tokens (id uuid PRIMARY KEY, user_id uuid NOT NULL,
                 token_hash text NOT NULL UNIQUE, active_org_id uuid NOT NULL, expires_at timestamptz NOT NULL,
                 revoked_at timestamptz, rotated_to uuid REFERENCES refresh_tokens ON DELETE SET NULL,
                 created_at timestamptz DEFAULT now())",
            "foreign key refresh_tokens_rotated_to_fkey",
        ),
    ] {
        let database = Database::empty();
        let mut conn = database.connect();
        conn.batch_execute(table).unwrap();
        let Err(Error::SchemaMismatch(problems)) = migrate(&mut conn) else { panic!("{table}") };
        assert!(problems.iter().any(|problem| problem.contains(said)), "{problems:?}");
        assert_eq!(tables(&mut conn), ["refresh_tokens"], "no ledger is left behind");
    }
}

/// A clock that was set back, or one that stood still in a transaction, does not decide who came after whom.
#[test]
fn invariant_5_adoption_goes_by_the_links_and_not_by_the_clock() {
    for created_at in ["now() - n * interval '1 hour'", "now()"] {
        let database = Database::empty();
        let mut conn = database.connect();
        conn.batch_execute(REFERENCE_TABLE).unwrap();
        conn.batch_execute(&format!(
            "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, created_at)
             SELECT md5('id' || n)::uuid, md5('user')::uuid, 'hash' || n, md5('org')::uuid, now() + interval '1 day',
                 CASE WHEN n < 4 THEN md5('id' || n + 1)::uuid END, {created_at}
             FROM generate_series(0, 4) n"
        ))
        .unwrap();
        migrate(&mut conn).unwrap();
        let hash = |n: i32| TokenHash::new(format!("hash{n}")).unwrap();
        let generations: Vec<i32> = (0..5).map(|n| row(&mut conn, &hash(n)).generation).collect();
        assert_eq!(generations, [0, 1, 2, 3, 4], "{created_at}");
        // So that a cut chain is still revoked to its end, and forward only.
        expire(&mut conn, &hash(2), 2);
        assert_eq!(RefreshTokenRepository::new(&mut conn).cleanup_expired(1), Ok(1));
        let second = row(&mut conn, &hash(1)).id;
        assert_eq!(
            RefreshTokenRepository::new(&mut conn).revoke_token_chain(second).map(|receipt| receipt.tokens),
            Ok(3)
        );
        assert_eq!(row(&mut conn, &hash(0)).revoked_at, None);
    }
}

/// Two logins lead into one cycle: every walk ends, and each row is in one session.
#[test]
fn adoption_ends_where_rows_are_entangled() {
    let database = Database::empty();
    let mut conn = database.connect();
    conn.batch_execute(REFERENCE_TABLE).unwrap();
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to)
         SELECT md5('id' || n)::uuid, md5('user')::uuid, 'hash' || n, md5('org')::uuid, now() + interval '1 day',
             md5('id' || successor)::uuid
         FROM (VALUES (0, 2), (1, 3), (2, 3), (3, 4), (4, 2)) links (n, successor)",
    )
    .unwrap();
    migrate(&mut conn).unwrap();
    let hash = |n: i32| TokenHash::new(format!("hash{n}")).unwrap();
    let generations: Vec<i32> = (0..5).map(|n| row(&mut conn, &hash(n)).generation).collect();
    assert_eq!(generations, [0, 0, 0, 0, 1]);
    let first = row(&mut conn, &hash(0)).id;
    assert_eq!(RefreshTokenRepository::new(&mut conn).revoke_token_chain(first).map(|receipt| receipt.tokens), Ok(4));
}

/// A rotation by the reference that is under way while the second file is applied by another tool.
#[test]
fn invariant_5_no_rotation_falls_between_adoption_and_trigger() {
    let database = Database::empty();
    let mut conn = database.connect();
    let up = |name: &str| {
        let path = format!("{}/migrations/{name}/up.sql", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("the migration is there")
    };
    conn.batch_execute(&up(NAMES[0])).unwrap();
    conn.batch_execute(&up(NAMES[2])).unwrap();
    let hashes = chain(&mut conn, 1);
    let migration = race::Rival::on(&database);
    let second = conn
        .transaction(|conn| {
            let second = rotate(By::Reference, conn, &hashes[0]);
            let sql = up(NAMES[1]);
            migration.waits_for(conn, move |conn| conn.batch_execute(&sql));
            QueryResult::Ok(second)
        })
        .unwrap();
    migration.join().unwrap();
    let (first, second) = (row(&mut conn, &hashes[0]), row(&mut conn, &second));
    assert_eq!((second.session_id, second.generation), (first.session_id, 1));
}

#[test]
fn an_adopted_table_is_not_dropped() {
    let database = Database::empty();
    let mut conn = database.connect();
    conn.batch_execute(REFERENCE_TABLE).unwrap();
    migrate(&mut conn).unwrap();
    let Err(Error::Migration { message }) = drop_tables(&mut conn) else { panic!() };
    assert!(message.contains("adopted"), "{message}");
    assert_eq!(verify_schema(&mut conn), Ok(()));
}

/// What `migrate` leaves is what `verify_schema` asks for, or nothing was changed.
#[test]
fn a_table_with_half_of_our_columns_is_refused() {
    for (extra, said) in [
        ("ALTER TABLE refresh_tokens ADD session_id text", "column \"session_id\""),
        ("ALTER TABLE refresh_tokens ADD generation bigint", "column \"generation\""),
        ("CREATE INDEX refresh_tokens_user_id_idx ON refresh_tokens (created_at)", "no valid index begins with column"),
    ] {
        let database = Database::empty();
        let mut conn = database.connect();
        conn.batch_execute(REFERENCE_TABLE).unwrap();
        conn.batch_execute(extra).unwrap();
        let error = migrate(&mut conn).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(tables(&mut conn), ["refresh_tokens"]);
    }
}

/// What its owner has found out about it counts for more than what we would set.
#[test]
fn an_adopted_table_keeps_its_autovacuum_settings() {
    for (owner_set, kept) in [
        (
            "",
            "{fillfactor=80,autovacuum_vacuum_scale_factor=0.02,autovacuum_vacuum_insert_scale_factor=0.02,autovacuum_analyze_scale_factor=0.02}",
        ),
        ("autovacuum_vacuum_threshold = 9000", "{autovacuum_vacuum_threshold=9000,fillfactor=80}"),
    ] {
        let database = Database::empty();
        let mut conn = database.connect();
        conn.batch_execute(REFERENCE_TABLE).unwrap();
        if !owner_set.is_empty() {
            conn.batch_execute(&format!("ALTER TABLE refresh_tokens SET ({owner_set})")).unwrap();
        }
        migrate(&mut conn).unwrap();
        let options = diesel::dsl::sql::<diesel::sql_types::Text>(
            "SELECT reloptions::text FROM pg_class WHERE oid = 'refresh_tokens'::regclass",
        );
        assert_eq!(options.get_result::<String>(&mut conn).unwrap(), kept);
    }
}

/// Instants that other software writes: a session begins at one that can be compared with those of logins.
#[test]
fn an_adopted_session_began_no_later_than_now_and_at_an_instant_that_there_is() {
    let database = Database::empty();
    let mut conn = database.connect();
    conn.batch_execute(REFERENCE_TABLE).unwrap();
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, created_at)
         SELECT gen_random_uuid(), gen_random_uuid(), made, gen_random_uuid(), now() + interval '1 day', made::timestamptz
         FROM unnest(ARRAY['infinity', '-infinity', '2999-01-01 UTC', '2020-01-01 UTC']) made",
    )
    .unwrap();
    migrate(&mut conn).unwrap();
    let now = race::now(&mut conn);
    let mut began = |made: &str| row(&mut conn, &TokenHash::new(made).unwrap()).session_started_at;
    assert!(began("infinity") <= now && began("2999-01-01 UTC") <= now);
    assert_eq!(began("-infinity").timestamp(), 0);
    assert_eq!(began("2020-01-01 UTC").timestamp(), 1_577_836_800);
}

/// A link to somebody else's token, by mistake or malice, puts no two users into one session.
#[test]
fn invariant_5_adoption_leaves_another_users_token_in_a_session_of_its_own() {
    let database = Database::empty();
    let mut conn = database.connect();
    conn.batch_execute(REFERENCE_TABLE).unwrap();
    conn.batch_execute(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to)
         SELECT md5('id' || n)::uuid, md5('user' || n)::uuid, 'hash' || n, md5('org')::uuid, now() + interval '1 day',
             CASE WHEN n = 0 THEN md5('id1')::uuid END
         FROM generate_series(0, 1) n",
    )
    .unwrap();
    migrate(&mut conn).unwrap();
    let [linking, victim] = ["hash0", "hash1"].map(|hash| row(&mut conn, &TokenHash::new(hash).unwrap()));
    assert_ne!(victim.session_id, linking.session_id);
    assert_eq!(victim.generation, 0);
}
