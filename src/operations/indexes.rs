//! Indexes of a table that is in use, built while others write.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Nullable, Text};

use crate::db::{Scope, atomically};
use crate::error::{Error, Result, Wait};
use crate::operations::verify::holds;

/// Builds those indexes of `refresh_tokens` that this version needs and that are not there, without blocking anybody
/// who writes; returns their names.
///
/// [`migrate`](crate::migrate) makes indexes in its transaction, and until that commits nobody writes. On an empty
/// table that is nothing; on one of many millions of rows call this before it, and `migrate` finds them there. It is
/// also what mends an index that [`verify_schema`](crate::verify_schema) misses: one that was dropped, or whose build was broken off.
///
/// It scans the table twice for each, waits for transactions that are open meanwhile, and may take hours. Call it from
/// one place, on a connection of its own straight to the server, without a `statement_timeout`, by a role that owns the
/// table. If it is broken off, the next call removes what is left and begins anew.
///
/// # Errors
///
/// [`Error::SchemaMissing`] if there is no table; [`Error::InsideTransaction`] inside a transaction, where PostgreSQL cannot do
/// it; [`Error::Busy`] if another process is at it. Indexes that were built before an error stay.
///
/// # Locking
///
/// `SHARE UPDATE EXCLUSIVE` on the table: nobody who reads or writes rows waits, but VACUUM and changes of the schema
/// do. And an advisory lock of the session.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// use refresh_tokens::{build_indexes, verify_schema};
///
/// diesel::sql_query("DROP INDEX refresh_tokens_user_id_idx").execute(&mut *conn)?;
/// assert_eq!(build_indexes(&mut conn)?, ["refresh_tokens_user_id_idx"]);
/// verify_schema(&mut conn)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn build_indexes(conn: &mut PgConnection) -> Result<Vec<String>> {
    if atomically::<_, Error>(conn, |_, scope| Ok(scope))? == Scope::Host {
        return Err(Error::InsideTransaction);
    }
    // Not waited for: whoever waits in a statement has a snapshot, which the build would wait for in turn.
    if !holds(conn, "pg_try_advisory_lock(hashtextextended('refresh_tokens_indexes.' || current_schema(), 0))")? {
        return Err(Error::Busy(Wait::Lock));
    }
    let built = build(conn);
    holds(conn, "pg_advisory_unlock(hashtextextended('refresh_tokens_indexes.' || current_schema(), 0))")?;
    built
}

#[derive(QueryableByName)]
struct Missing {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    statement: String,
    #[diesel(sql_type = Nullable<Text>)]
    removal: Option<String>,
}

fn build(conn: &mut PgConnection) -> Result<Vec<String>> {
    if !holds(conn, "to_regclass('refresh_tokens') IS NOT NULL")? {
        return Err(Error::SchemaMissing);
    }
    let missing: Vec<Missing> =
        sql_query(concat!(include_str!("../sql/indexes.sql"), include_str!("../sql/indexes_missing.sql")))
            .load(conn)?;
    let mut built = Vec::new();
    for Missing { name, statement, removal } in missing {
        if let Some(removal) = removal {
            conn.batch_execute(&removal).map_err(Error::of_index)?;
        }
        conn.batch_execute(&statement).map_err(Error::of_index)?;
        built.push(name);
    }
    Ok(built)
}
