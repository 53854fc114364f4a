//! Poolers between this process and PostgreSQL: seen by the server processes that answer.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Text};

use crate::error::{Error, Result};

/// An idle pooler is seen in the first round; in a busy one, chance would have to choose alike this often.
const ROUNDS: u32 = 4;

/// Finds out whether a pooler gives the statements of one connection to several server processes, as PgBouncer does in
/// transaction mode.
///
/// There Diesel's cache of prepared statements is wrong without a word: a statement is known to the server process by a
/// number that each client counts by itself, so a connection can run **another client's statement with its own
/// values**. And what a connection has `SET` is another one's afterwards. [`RefreshTokenStore::connect`] makes this
/// check by itself; call it at start where you have a pool or connections of your own, with any two of them.
///
/// Each connection asks, outside of a transaction and several times, which server process answers it. Two connections
/// with one process, or one connection with two, prove a pooler, and nothing else looks like it. Where a pooler is idle,
/// it is seen in the first round, whether it takes the process that was used last or the one that was used longest
/// ago; where it is busy, it could stay unseen by a chance that is small. It does stay unseen where the two connections
/// lead to two poolers of which each is otherwise idle (a load balancer, PgBouncer's `so_reuseport`): switch the cache
/// off wherever you know of a pooler. PgBouncer in session mode passes, and rightly.
///
/// [`RefreshTokenStore::connect`]: crate::RefreshTokenStore::connect
///
/// # Errors
///
/// [`Error::TransactionPooler`] where there is one; and what becomes of its statements otherwise. Inside a transaction
/// it sees nothing.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// let (mut first, mut second) = (database.connect(), database.connect());
/// refresh_tokens::verify_pooler(&mut first, &mut second)?;
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
pub fn verify_pooler(first: &mut PgConnection, second: &mut PgConnection) -> Result<()> {
    let (of_first, of_second) = (server_process(first)?, server_process(second)?);
    let mut shared = of_first == of_second;
    for _ in 0..ROUNDS {
        shared = shared
            || server_process(first)? != of_first
            || server_process(first)? != of_first
            || server_process(second)? != of_second
            || server_process(second)? != of_second;
    }
    if shared { Err(Error::TransactionPooler) } else { Ok(()) }
}

/// Asked without a prepared statement, which a pooler would give to somebody else.
fn server_process(conn: &mut PgConnection) -> Result<i32> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Integer)]
        pid: i32,
    }
    let row: Row = sql_query("SELECT pg_backend_pid() AS pid").get_result(conn)?;
    Ok(row.pid)
}

/// Whether the server bounds each wait by itself, to at most so many milliseconds.
pub(crate) fn check_bounds(conn: &mut PgConnection, lock_timeout: i32, statement_timeout: i32) -> Result<()> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        statement: String,
    }
    let rows: Vec<Row> = sql_query(include_str!("../sql/wait_bounds.sql"))
        .bind::<BigInt, _>(i64::from(lock_timeout))
        .bind::<BigInt, _>(i64::from(statement_timeout))
        .load(conn)?;
    if rows.is_empty() {
        return Ok(());
    }
    Err(Error::MissingTimeouts(rows.into_iter().map(|row| row.statement).collect()))
}
