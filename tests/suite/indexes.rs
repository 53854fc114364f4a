//! Indexes of a table that is in use.

left_out!(module, through pgbouncer:
    "it builds under a lock of the session: that is for a connection to PostgreSQL itself");
left_out!(module, under serializable: "it waits for every transaction of a server");
left_out!(module, on other_tables: "it is about how the tables are made");

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{Error, RefreshTokenRepository, Wait, build_indexes, verify_schema};
use refresh_tokens_support::database::lines;
use refresh_tokens_support::doc::new_token;
use refresh_tokens_support::{Database, race};

use crate::common::{By, behind_another_schema, chain, create, is_valid, rotate};

const INDEXES: [&str; 3] =
    ["refresh_tokens_expires_at_idx", "refresh_tokens_session_id_idx", "refresh_tokens_user_id_idx"];

fn drop_all(conn: &mut PgConnection) {
    for index in INDEXES {
        conn.batch_execute(&format!("DROP INDEX {index}")).unwrap();
    }
}

#[test]
fn indexes_that_are_missing_are_built_and_no_others() {
    let database = Database::migrated();
    let mut conn = database.connect();
    assert_eq!(build_indexes(&mut conn), Ok(Vec::new()));
    drop_all(&mut conn);
    let Err(Error::SchemaMismatch(problems)) = verify_schema(&mut conn) else { panic!() };
    assert_eq!(problems.iter().filter(|problem| problem.contains("call build_indexes, or CREATE INDEX")).count(), 3);
    assert_eq!(build_indexes(&mut conn).unwrap(), INDEXES);
    assert_eq!(verify_schema(&mut conn), Ok(()));
}

/// Whoever has built goes on with its connection, and others can build.
#[test]
fn the_lock_is_given_back_also_where_the_build_fails() {
    let database = Database::migrated();
    let (mut builder, mut other) = (database.connect_directly(), database.connect_directly());
    assert_eq!(build_indexes(&mut builder), Ok(Vec::new()));
    assert_eq!(build_indexes(&mut other), Ok(Vec::new()), "while the builder is connected");
    drop_all(&mut builder);
    // No index can be built of what has no order.
    builder.batch_execute("ALTER TABLE refresh_tokens ALTER user_id TYPE json USING 'null'").unwrap();
    let failed = build_indexes(&mut builder);
    assert!(matches!(failed, Err(Error::Database { .. })), "{failed:?}");
    builder.batch_execute("ALTER TABLE refresh_tokens ALTER user_id TYPE uuid USING gen_random_uuid()").unwrap();
    assert!(build_indexes(&mut other).unwrap().contains(&INDEXES[2].to_owned()), "while the builder is connected");
}

/// The table is not in the first schema of the path, where something else has the index's name.
#[test]
fn what_a_build_left_behind_is_removed_where_the_table_is() {
    let (home, elsewhere) = behind_another_schema();
    let mut conn = home.connect();
    chain(&mut conn, 2);
    conn.batch_execute("DROP INDEX refresh_tokens_user_id_idx").unwrap();
    let failed =
        conn.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY refresh_tokens_user_id_idx ON refresh_tokens (user_id)");
    assert!(failed.is_err(), "two tokens have one user");
    let other = format!("CREATE TABLE {elsewhere}.other (id int)");
    conn.batch_execute(&other).unwrap();
    conn.batch_execute(&format!("CREATE INDEX refresh_tokens_user_id_idx ON {elsewhere}.other (id)")).unwrap();
    assert_eq!(build_indexes(&mut conn).unwrap(), ["refresh_tokens_user_id_idx"]);
    let schemas = "SELECT schemaname::text AS line FROM pg_indexes WHERE indexname = 'refresh_tokens_user_id_idx'
        AND schemaname = ANY (current_schemas(false)) ORDER BY schemaname";
    assert_eq!(lines(&mut conn, schemas), [home.schema(), &elsewhere], "both are there");
    assert_eq!(verify_schema(&mut conn), Ok(()));
    conn.batch_execute(&format!("DROP SCHEMA {elsewhere} CASCADE")).unwrap();
}

/// The build waits for a transaction that was open before; a token is issued and another one rotated meanwhile.
#[test]
fn nobody_who_writes_waits_while_an_index_is_built() {
    let database = Database::migrated();
    let (mut holder, mut writer) = (database.connect(), database.connect());
    writer.batch_execute("SET lock_timeout = '5s'").unwrap();
    let token = create(&mut writer);
    drop_all(&mut writer);
    let (building, successor) = holder
        .transaction(|holder| {
            let pid = race::pid(holder);
            RefreshTokenRepository::new(holder).create(&new_token()).unwrap();
            let building = race::start_blocked(&database, pid, build_indexes);
            create(&mut writer);
            let successor = rotate(By::Library, &mut writer, &token.token_hash);
            QueryResult::Ok((building, successor))
        })
        .unwrap();
    assert_eq!(building.join().unwrap().unwrap(), INDEXES);
    assert_eq!(verify_schema(&mut writer), Ok(()));
    assert!(is_valid(&database, &successor));
}

/// A build that fails leaves an invalid index behind, which the next one removes.
#[test]
fn a_build_that_was_broken_off_begins_anew() {
    let database = Database::migrated();
    let (mut holder, mut conn) = (database.connect(), database.connect());
    drop_all(&mut conn);
    conn.batch_execute("SET lock_timeout = '50ms'").unwrap();
    holder
        .transaction(|holder| {
            create(holder);
            assert_eq!(build_indexes(&mut conn), Err(Error::Busy(Wait::Lock)));
            QueryResult::Ok(())
        })
        .unwrap();
    conn.batch_execute("RESET lock_timeout").unwrap();
    assert!(verify_schema(&mut conn).is_err());
    let built: BTreeSet<String> = build_indexes(&mut conn).unwrap().into_iter().collect();
    assert_eq!(built, INDEXES.map(str::to_owned).into());
    assert_eq!(verify_schema(&mut conn), Ok(()));
}

#[test]
fn one_process_builds_and_others_are_told() {
    let database = Database::migrated();
    let (mut holder, mut other) = (database.connect(), database.connect());
    drop_all(&mut other);
    let building = holder
        .transaction(|holder| {
            let pid = race::pid(holder);
            create(holder);
            let building = race::start_blocked(&database, pid, build_indexes);
            assert_eq!(build_indexes(&mut other), Err(Error::Busy(Wait::Lock)));
            QueryResult::Ok(building)
        })
        .unwrap();
    assert_eq!(building.join().unwrap().unwrap(), INDEXES);
    assert_eq!(build_indexes(&mut other), Ok(Vec::new()));
}

#[test]
fn where_it_cannot_be_done_an_error_says_why() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let refused = conn.transaction(|conn| Ok::<_, Error>(build_indexes(conn))).unwrap();
    assert!(refused == Err(Error::InsideTransaction), "{refused:?}");
    let empty = Database::empty();
    let mut conn = empty.connect();
    assert_eq!(build_indexes(&mut conn), Err(Error::SchemaMissing));
    assert_eq!(build_indexes(&mut empty.connect()), Err(Error::SchemaMissing), "the lock was given back");
}
