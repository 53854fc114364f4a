//! The library's own migrations, with a ledger of their own.
//!
//! Diesel's ledger, `__diesel_schema_migrations`, belongs to the host: a shared one would skip our table where
//! versions collide, and the host's `revert_all_migrations` would meet versions that it does not know.

use diesel::dsl::{exists, select};
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_query;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use crate::db::{atomically, step};
use crate::error::{Error, Result};
use crate::operations::verify::{Needed, find_problems, holds};

/// Private: given to Diesel's own harness it would end up in the host's ledger.
const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

diesel::table! {
    refresh_tokens_migrations (version) {
        version -> Text,
        adopted -> Bool,
    }
}

/// Brings the database to what this version needs; returns the names of the migrations it applied.
///
/// Run it at every start: where nothing is to be done, it takes a lock and looks. Any number of processes may
/// run it at once; one migrates, the others wait for it. All happens in one transaction (a savepoint, if you
/// have one open), in the first schema of the connection's `search_path`, and is recorded in the table
/// `refresh_tokens_migrations` there. The host's Diesel migrations and their ledger are not touched, and
/// cannot touch these.
///
/// A table `refresh_tokens` that is there already, with the eight columns from `id` to `created_at`, is adopted:
/// it gains the other columns, and its tokens are put into sessions by their `rotated_to`. That rewrites the
/// table and locks everybody out meanwhile; ARCHITECTURE.md says for how long.
///
/// Hosts that use another tool apply the plain SQL in the crate's folder `migrations`, and call
/// [`verify_schema`](crate::verify_schema) instead.
///
/// # Errors
///
/// [`Error::SchemaMismatch`] if a table of that name is there and cannot be adopted; [`Error::PermissionDenied`] if the
/// role may not make tables; [`Error::Migration`] if a migration fails. Nothing is changed then.
///
/// # Locking
///
/// A transaction-level advisory lock and `SHARE ROW EXCLUSIVE` on the ledger, and `ACCESS EXCLUSIVE` on
/// `refresh_tokens` while a migration changes it.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// let applied = refresh_tokens::migrate(&mut conn)?;
/// assert!(applied.is_empty(), "a second run finds nothing to do");
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
pub fn migrate(conn: &mut PgConnection) -> Result<Vec<String>> {
    step(conn, |conn, _| {
        open_ledger(conn)?;
        let applied = applied_versions(conn)?;
        let adopts = applied.is_empty() && adopts(conn)?;
        let mut names = Vec::new();
        for migration in all()? {
            let version = migration.name().version().to_string();
            if applied.contains(&version) {
                continue;
            }
            let name = migration.name().to_string();
            // First: above READ COMMITTED, which some servers give whatever is asked for, a line that somebody else
            // committed during the wait was not seen, and is met here.
            let recorded = diesel::insert_into(refresh_tokens_migrations::table)
                .values((refresh_tokens_migrations::version.eq(version), refresh_tokens_migrations::adopted.eq(adopts)))
                .on_conflict_do_nothing()
                .execute(conn)?;
            if recorded == 0 {
                return Err(Error::Conflict);
            }
            migration.run(conn).map_err(|error| Error::of_migration(&name, &error))?;
            names.push(name);
        }
        if !names.is_empty() {
            find_problems(conn, Needed::ByThisVersion)?;
        }
        Ok(names)
    })
}

/// Takes back all that [`migrate`] did, dropping the table **and every token in it**; returns the names of the
/// migrations it reverted.
///
/// # Errors
///
/// [`Error::Migration`] if the table was adopted, because it holds the tokens of other software, or if a migration
/// cannot be reverted, such as where a view depends on the table. Nothing is changed then.
///
/// # Locking
///
/// As [`migrate`].
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// use refresh_tokens::{Error, migrate, drop_tables, verify_schema};
///
/// drop_tables(&mut conn)?;
/// assert_eq!(verify_schema(&mut conn), Err(Error::SchemaMissing));
/// migrate(&mut conn)?;
/// verify_schema(&mut conn)?;
/// # Ok::<(), Error>(())
/// ```
pub fn drop_tables(conn: &mut PgConnection) -> Result<Vec<String>> {
    atomically(conn, |conn, _| {
        open_ledger(conn)?;
        if select(exists(refresh_tokens_migrations::table.filter(refresh_tokens_migrations::adopted)))
            .get_result(conn)?
        {
            let message = "refresh_tokens was there before migrate() adopted it, so it is not dropped: \
                drop what was added (trigger, function, columns from session_id on, refresh_token_gates, refresh_token_cutoffs, \
                refresh_tokens_migrations) by hand";
            return Err(Error::Migration { message: message.to_owned() });
        }
        let applied = applied_versions(conn)?;
        let mut names = Vec::new();
        for migration in all()?.iter().rev() {
            let version = migration.name().version().to_string();
            if !applied.contains(&version) {
                continue;
            }
            let name = migration.name().to_string();
            migration.revert(conn).map_err(|error| Error::of_migration(&name, &error))?;
            names.push(name);
        }
        sql_query("DROP TABLE refresh_tokens_migrations").execute(conn)?;
        Ok(names)
    })
}

/// Whether other software made the table, in the schema where ours would be made; an error if it cannot be adopted.
fn adopts(conn: &mut PgConnection) -> Result<bool> {
    let there = "EXISTS (SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE pg_class.oid = to_regclass('refresh_tokens') AND nspname = current_schema())";
    let is_there = holds(conn, there)?;
    if is_there {
        find_problems(conn, Needed::ToBeAdopted)?;
    }
    Ok(is_there)
}

/// Waits for a migration that runs elsewhere, and makes the ledger if this is the first.
fn open_ledger(conn: &mut PgConnection) -> Result<()> {
    // CREATE TABLE IF NOT EXISTS is no protection against itself: two at once collide in the catalog. Where advisory locks
    // do nothing they do, and the one that came later begins again.
    sql_query("SELECT pg_advisory_xact_lock(hashtextextended('refresh_tokens_migrations.' || current_schema(), 0))")
        .execute(conn)?;
    sql_query(
        "CREATE TABLE IF NOT EXISTS refresh_tokens_migrations (
            version    text        PRIMARY KEY,
            adopted    boolean     NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )",
    )
    .execute(conn)
    .map_err(|error| match Error::from(error) {
        Error::Database { message } => Error::of_migration("refresh_tokens_migrations", &message),
        other => other,
    })?;
    sql_query("LOCK TABLE refresh_tokens_migrations IN SHARE ROW EXCLUSIVE MODE").execute(conn)?;
    Ok(())
}

fn applied_versions(conn: &mut PgConnection) -> Result<Vec<String>> {
    Ok(refresh_tokens_migrations::table.select(refresh_tokens_migrations::version).load(conn)?)
}

fn all() -> Result<Vec<Box<dyn Migration<Pg>>>> {
    let mut migrations = MIGRATIONS.migrations().map_err(|error| Error::of_migration("embedded", &error))?;
    migrations.sort_by_key(|migration| migration.name().version().as_owned());
    Ok(migrations)
}
