//! The library's migrations: alone, at once, beside the host's, on a table that is there already.

left_out!(module, on other_tables: "it is about how the tables are made");

use std::sync::{Arc, Barrier};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use refresh_tokens::{Binding, Error, RefreshTokenRepository, drop_tables, migrate, verify_schema};
use refresh_tokens_support::doc::{fresh_hash, new_token, successor};
use refresh_tokens_support::{Database, database};
use uuid::Uuid;

use crate::adoption::REFERENCE_TABLE;
use crate::common::{chain, new_hash, row};

pub(crate) const NAMES: [&str; 5] = [
    "2026-11-23-000001_refresh_tokens",
    "2026-11-23-000002_adopted_rotations",
    "2026-11-23-000003_login_cutoffs",
    "2026-11-25-000004_archive",
    "2026-11-25-000005_autovacuum",
];

/// What they make, and the ledger.
const TABLES: [&str; 5] = [
    "refresh_token_cutoffs",
    "refresh_token_gates",
    "refresh_tokens",
    "refresh_tokens_archive",
    "refresh_tokens_migrations",
];

pub(crate) fn tables(conn: &mut PgConnection) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        tablename: String,
    }
    let rows: Vec<Row> =
        sql_query("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1")
            .load(conn)
            .expect("the catalog can be read");
    rows.into_iter().map(|row| row.tablename).collect()
}

fn problems(conn: &mut PgConnection) -> Vec<String> {
    match verify_schema(conn) {
        Err(Error::SchemaMismatch(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn up_down_and_up_again() {
    let database = Database::empty();
    let mut conn = database.connect();
    assert_eq!(verify_schema(&mut conn), Err(Error::SchemaMissing));
    for _ in 0..2 {
        assert_eq!(migrate(&mut conn).unwrap(), NAMES);
        assert_eq!(migrate(&mut conn).unwrap(), [""; 0]);
        assert_eq!(verify_schema(&mut conn), Ok(()));
        assert_eq!(tables(&mut conn), TABLES);
        let reverted = drop_tables(&mut conn).unwrap();
        assert_eq!(reverted, NAMES.map(str::to_owned).into_iter().rev().collect::<Vec<_>>());
        assert_eq!(tables(&mut conn), [""; 0]);
    }
}

#[test]
fn many_processes_migrate_at_once() {
    for default_isolation in ["read committed", "repeatable read", "serializable"] {
        let database = Database::empty().with(&[("default_transaction_isolation", default_isolation)]);
        let start = Arc::new(Barrier::new(8));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (mut conn, start) = (database.connect(), Arc::clone(&start));
                std::thread::spawn(move || {
                    start.wait();
                    migrate(&mut conn)
                })
            })
            .collect();
        let applied: Vec<String> = threads.into_iter().flat_map(|thread| thread.join().unwrap().unwrap()).collect();
        assert_eq!(applied, NAMES, "each once: {default_isolation}");
        assert_eq!(verify_schema(&mut database.connect()), Ok(()));
    }
}

#[test]
fn it_works_inside_the_hosts_transaction() {
    let database = Database::empty();
    let mut conn = database.connect();
    let undone: Result<(), Error> = conn.transaction(|conn| {
        migrate(conn)?;
        verify_schema(conn)?;
        Err(Error::Conflict)
    });
    assert_eq!(undone, Err(Error::Conflict));
    assert_eq!(tables(&mut conn), [""; 0]);
    conn.transaction(migrate).unwrap();
    assert_eq!(verify_schema(&mut conn), Ok(()));
}

/// The host's migration has the version of our first one: in a shared ledger one of them would be skipped.
fn host_migrations(folder: &std::path::Path) -> FileBasedMigrations {
    let migration = folder.join("2026-11-23-000001_accounts");
    std::fs::create_dir_all(&migration).expect("the folder can be made");
    for (file, sql) in [("up.sql", "CREATE TABLE accounts (id int)"), ("down.sql", "DROP TABLE accounts")] {
        std::fs::write(migration.join(file), sql).expect("the file can be written");
    }
    FileBasedMigrations::from_path(folder).expect("the folder holds migrations")
}

#[test]
fn the_hosts_migrations_and_ours_leave_each_other_alone() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(Uuid::new_v4().simple().to_string());
    let host = || host_migrations(&folder);
    let database = Database::empty();
    let mut conn = database.connect();
    let all: Vec<&str> = ["__diesel_schema_migrations", "accounts"].into_iter().chain(TABLES).collect();

    assert_eq!(conn.run_pending_migrations(host()).unwrap().len(), 1);
    assert_eq!(migrate(&mut conn).unwrap(), NAMES);
    assert_eq!(tables(&mut conn), all);
    // Theirs, with ours in place: redo and revert all.
    conn.revert_last_migration(host()).unwrap();
    conn.run_next_migration(host()).unwrap();
    conn.revert_all_migrations(host()).unwrap();
    assert_eq!(tables(&mut conn), [&all[..1], &all[2..]].concat());
    assert_eq!(verify_schema(&mut conn), Ok(()));
    // Ours, with theirs in place.
    conn.run_pending_migrations(host()).unwrap();
    drop_tables(&mut conn).unwrap();
    assert_eq!(tables(&mut conn), all[..2]);
    assert!(!conn.has_pending_migration(host()).unwrap());
    assert_eq!(migrate(&mut conn).unwrap(), NAMES);
    assert_eq!(tables(&mut conn), all);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_schema_of_any_name_will_do() {
    let home = Database::empty();
    let name = format!("{} \"Odd\" name", home.schema());
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let mut conn = home.connect();
    conn.batch_execute(&format!("CREATE SCHEMA {quoted}; SET search_path = {quoted}")).unwrap();
    assert_eq!(migrate(&mut conn).unwrap(), NAMES);
    assert_eq!(verify_schema(&mut conn), Ok(()));
    let hashes = chain(&mut conn, 2);

    // The trigger finds its table by itself, whatever the search_path of the one who updates.
    let last = row(&mut conn, &hashes[1]);
    let next = new_hash(&fresh_hash());
    conn.batch_execute("SET search_path = pg_catalog").unwrap();
    conn.batch_execute(&format!(
        "INSERT INTO {quoted}.refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
         VALUES ('{}', '{}', '{}', '{}', now() + interval '1 day');
         UPDATE {quoted}.refresh_tokens SET rotated_to = '{}' WHERE id = '{}'",
        next.id, last.user_id, next.token_hash, last.active_org_id, next.id, last.id
    ))
    .unwrap();
    conn.batch_execute(&format!("SET search_path = {quoted}")).unwrap();
    let first = row(&mut conn, &hashes[0]);
    assert_eq!(
        RefreshTokenRepository::new(&mut conn).revoke_token_chain(first.id).map(|receipt| receipt.tokens),
        Ok(3)
    );
    conn.batch_execute(&format!("DROP SCHEMA {quoted} CASCADE")).unwrap();
}

#[test]
fn the_plain_sql_is_all_another_tool_needs() {
    let database = Database::empty();
    let mut conn = database.connect();
    let file = |name: &str, file: &str| {
        let path = format!("{}/migrations/{name}/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("the migration is there")
    };
    for name in NAMES {
        conn.batch_execute(&file(name, "up.sql")).unwrap();
    }
    assert_eq!(verify_schema(&mut conn), Ok(()));
    for name in NAMES.iter().rev() {
        conn.batch_execute(&file(name, "down.sql")).unwrap();
    }
    assert_eq!(tables(&mut conn), [""; 0]);
}

#[test]
fn verify_names_what_differs_and_how_to_mend_it() {
    for (break_it, said) in [
        ("DROP INDEX refresh_tokens_user_id_idx", "CREATE INDEX CONCURRENTLY refresh_tokens_user_id_idx"),
        ("DROP INDEX refresh_tokens_session_id_idx", "ON refresh_tokens (session_id, generation)"),
        (
            "DROP INDEX refresh_tokens_session_id_idx; CREATE INDEX by_session ON refresh_tokens (session_id)",
            "no valid index begins with column session_id, generation",
        ),
        ("DROP INDEX refresh_tokens_expires_at_idx", "refresh_tokens_expires_at_idx"),
        (
            "DROP INDEX refresh_tokens_user_id_idx;
             CREATE INDEX refresh_tokens_user_id_idx ON refresh_tokens (user_id) WHERE revoked_at IS NULL",
            "no valid index begins with column user_id",
        ),
        (
            "DROP INDEX refresh_tokens_user_id_idx; CREATE INDEX by_org ON refresh_tokens (active_org_id, user_id)",
            "no valid index begins with column user_id",
        ),
        ("ALTER TABLE refresh_tokens DROP CONSTRAINT refresh_tokens_token_hash_key", "UNIQUE (token_hash)"),
        ("ALTER TABLE refresh_tokens RENAME CONSTRAINT refresh_tokens_pkey TO pk", "RENAME CONSTRAINT"),
        ("ALTER TABLE refresh_tokens DROP CONSTRAINT refresh_tokens_revoked_reason_check", "CHECK"),
        ("ALTER TABLE refresh_tokens DROP COLUMN reused_at", "column reused_at is missing"),
        // It is needed for adoption and by this version, and said once.
        ("ALTER TABLE refresh_tokens DROP COLUMN created_at", "column created_at is missing"),
        ("DROP TABLE refresh_token_gates", "table refresh_token_gates is missing"),
        ("ALTER TABLE refresh_token_cutoffs DROP COLUMN org_id", "table refresh_token_cutoffs is missing, or another"),
        ("DROP TABLE refresh_token_cutoffs", "table refresh_token_cutoffs is missing"),
        ("ALTER TABLE refresh_tokens ALTER session_id DROP DEFAULT", "column session_id needs a default"),
        ("ALTER TABLE refresh_tokens ALTER session_id DROP NOT NULL", "column session_id must be NOT NULL"),
        ("ALTER TABLE refresh_tokens ALTER revoked_reason SET NOT NULL", "column revoked_reason must allow NULL"),
        (
            "ALTER TABLE refresh_tokens ALTER token_hash TYPE varchar(64)",
            "column token_hash has type character varying(64) and needs text",
        ),
        ("ALTER TABLE refresh_tokens ADD device text NOT NULL", "column device is NOT NULL without a default"),
        (
            "ALTER TABLE refresh_tokens ADD CONSTRAINT back FOREIGN KEY (rotated_to)
                 REFERENCES refresh_tokens ON DELETE SET NULL",
            "foreign key back",
        ),
        ("ALTER TABLE refresh_tokens DISABLE TRIGGER refresh_tokens_adopt_successor", "trigger"),
        ("ALTER TABLE refresh_tokens ENABLE REPLICA TRIGGER refresh_tokens_adopt_successor", "trigger"),
        ("DROP TRIGGER refresh_tokens_adopt_successor ON refresh_tokens", "trigger"),
    ] {
        let database = Database::migrated();
        let mut conn = database.connect();
        conn.batch_execute(break_it).unwrap();
        let Err(Error::SchemaMismatch(problems)) = verify_schema(&mut conn) else { panic!("it passes: {break_it}") };
        assert_eq!(problems.len(), 1, "{break_it}: {problems:?}");
        assert!(problems[0].contains(said), "{break_it}: {problems:?}");
    }
}

/// What a failed `CREATE INDEX CONCURRENTLY` leaves behind is no index.
#[test]
fn verify_does_not_count_an_invalid_index() {
    let database = Database::migrated();
    let mut conn = database.connect();
    chain(&mut conn, 2);
    conn.batch_execute("DROP INDEX refresh_tokens_user_id_idx").unwrap();
    let failed =
        conn.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY refresh_tokens_user_id_idx ON refresh_tokens (user_id)");
    assert!(failed.is_err(), "two tokens have one user");
    assert!(problems(&mut conn)[0].contains("no valid index begins with column user_id"));
}

#[test]
fn more_than_is_needed_is_fine() {
    let database = Database::migrated();
    let mut conn = database.connect();
    conn.batch_execute(
        "ALTER TABLE refresh_tokens ADD device text, ADD seen timestamptz NOT NULL DEFAULT now();
         ALTER TABLE refresh_tokens ADD gone text NOT NULL;
         ALTER TABLE refresh_tokens DROP gone;
         CREATE TABLE devices (name text PRIMARY KEY);
         ALTER TABLE refresh_tokens ADD FOREIGN KEY (device) REFERENCES devices;
         ALTER TABLE refresh_token_gates ADD note text;
         CREATE INDEX more ON refresh_tokens (active_org_id);
         DROP INDEX refresh_tokens_user_id_idx;
         CREATE INDEX wider ON refresh_tokens (user_id, created_at) INCLUDE (id);
         ALTER TABLE refresh_tokens ENABLE ALWAYS TRIGGER refresh_tokens_adopt_successor",
    )
    .unwrap();
    assert_eq!(verify_schema(&mut conn), Ok(()));
    chain(&mut conn, 2);
}

#[test]
fn without_migrations_every_verb_says_what_to_run() {
    let database = Database::empty();
    let mut conn = database.connect();
    // Neither without a table nor on one that the reference made.
    for table in ["SELECT 1", REFERENCE_TABLE] {
        conn.batch_execute(table).unwrap();
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let (hash, id) = (fresh_hash(), Uuid::new_v4());
        let errors = [
            tokens.create(&new_token()).unwrap_err(),
            tokens.get_by_hash(&hash).unwrap_err(),
            tokens.get_valid_by_hash(&hash, Binding::ANY).unwrap_err(),
            tokens.check_token_reuse(&hash).unwrap_err(),
            tokens.rotate(&hash, &successor(), Binding::ANY).unwrap_err(),
            tokens.revoke_token_chain(id).unwrap_err(),
            tokens.revoke(id).unwrap_err(),
            tokens.revoke_by_hash(&hash).unwrap_err(),
            tokens.revoke_all_for_user(id).unwrap_err(),
            tokens.revoke_all_for_user_except(id, id).unwrap_err(),
            tokens.get_active_tokens_for_user(id).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error, Error::SchemaMissing, "{table}");
            assert!(error.to_string().contains("refresh_tokens::migrate"));
        }
    }
}

#[test]
fn a_role_without_the_right_to_create_gets_an_error_that_says_so() {
    let database = Database::empty();
    let mut conn = database.connect();
    conn.batch_execute(&format!("GRANT USAGE ON SCHEMA {} TO pg_monitor; SET ROLE pg_monitor", database.schema()))
        .unwrap();
    let Err(Error::PermissionDenied { message }) = migrate(&mut conn) else { panic!() };
    assert!(message.contains("permission denied for schema"), "{message}");
}

#[test]
fn schema_rs_is_what_the_migrations_make() {
    let database = Database::migrated();
    let printed = database::print_schema(&mut database.connect());
    let path = format!("{}/src/schema.rs", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read_to_string(path).unwrap();
    assert_eq!(file, printed, "src/schema.rs has drifted from migrations/: run scripts/schema");
}
