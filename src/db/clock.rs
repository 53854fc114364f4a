//! The database's clock, by which everything is judged.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Timestamptz};

diesel::define_sql_function! {
    /// The database's clock at this very moment, not at the start of the transaction.
    fn clock_timestamp() -> Timestamptz;
}

diesel::define_sql_function! {
    /// The earlier of two instants; NULL counts as none.
    fn least(one: Timestamptz, other: Nullable<Timestamptz>) -> Timestamptz;
}

diesel::define_sql_function! {
    /// The later of two instants.
    fn greatest(one: Timestamptz, other: Timestamptz) -> Timestamptz;
}

/// The database's clock. What judges a locked row reads it in a statement that begins after the lock is held.
pub(crate) fn now(conn: &mut PgConnection) -> QueryResult<DateTime<Utc>> {
    diesel::select(clock_timestamp()).get_result(conn)
}
