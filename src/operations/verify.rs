//! Whether the tables are as this version needs them.

use diesel::dsl::{select, sql};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Bool, Integer, Text};

use crate::error::{Error, Result};

/// Checks that the table, its columns, constraints, indexes and trigger are as this version needs them.
///
/// Whether what is written also survives a crash or a fail-over is another question, which
/// [`verify_durability`](crate::verify_durability) answers.
///
/// For the start of an application that does not migrate by itself. It reads the catalog only, so the role needs
/// no privilege on the table; more columns and indexes than needed are fine.
///
/// # Errors
///
/// [`Error::SchemaMissing`] if no schema of the `search_path` has the table; [`Error::SchemaMismatch`] with one
/// sentence for each thing that differs, most with the statement that mends it.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// use refresh_tokens::{Error, verify_schema};
///
/// verify_schema(&mut conn)?;
///
/// diesel::sql_query("DROP INDEX refresh_tokens_user_id_idx").execute(&mut *conn)?;
/// let Err(Error::SchemaMismatch(problems)) = verify_schema(&mut conn) else { panic!() };
/// assert!(problems[0].contains("CREATE INDEX CONCURRENTLY refresh_tokens_user_id_idx"));
/// # Ok::<(), Error>(())
/// ```
pub fn verify_schema(conn: &mut PgConnection) -> Result<()> {
    if !holds(conn, "to_regclass('refresh_tokens') IS NOT NULL")? {
        return Err(Error::SchemaMissing);
    }
    find_problems(conn, Needed::ByThisVersion)
}

/// How much `sql/verify_schema.sql` asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Needed {
    ToBeAdopted = 0,
    ByThisVersion = 1,
}

/// [`Error::SchemaMismatch`], if anything is not as it is needed.
pub(crate) fn find_problems(conn: &mut PgConnection, needed: Needed) -> Result<()> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        problem: String,
    }
    let rows: Vec<Row> =
        sql_query(concat!(include_str!("../sql/indexes.sql"), include_str!("../sql/verify_schema.sql")))
            .bind::<Integer, _>(needed as i32)
            .load(conn)?;
    if rows.is_empty() {
        return Ok(());
    }
    Err(Error::SchemaMismatch(rows.into_iter().map(|row| row.problem).collect()))
}

/// Asks a yes-or-no question.
pub(crate) fn holds(conn: &mut PgConnection, condition: &'static str) -> Result<bool> {
    Ok(select(sql::<Bool>(condition)).get_result(conn)?)
}
