//! Statements from `.sql` files that Diesel prepares once a connection and then finds by their type.
//!
//! `sql_query` would be sent to be parsed at every call. Here the text has a static `QueryId`, so that the
//! hot path costs Diesel a hash look-up and the server no parse.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use crate::models::{NewRefreshToken, Successor};
use crate::schema::refresh_tokens;
use crate::sessions::SessionQuery;

type AllColumns = refresh_tokens::SqlType;

const CREATE: &str = include_str!("sql/create.sql");
const ROTATE: &str = include_str!("sql/rotate.sql");
const LIST_SESSIONS: &str = include_str!("sql/list_sessions.sql");

/// `sql/create.sql`: returns the database's clock, whether a revocation is newer than the login, and the row, if it
/// was written.
pub(crate) struct Create<'a>(pub(crate) &'a NewRefreshToken);

impl QueryId for Create<'_> {
    type QueryId = Create<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Create<'_> {
    type SqlType = (Timestamptz, Bool, Nullable<AllColumns>);
}

impl RunQueryDsl<PgConnection> for Create<'_> {}

impl QueryFragment<Pg> for Create<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = Placeholders::of(CREATE);
        text.push(&mut out);
        out.push_bind_param::<SqlUuid, _>(&self.0.id)?;
        text.push(&mut out);
        out.push_bind_param::<SqlUuid, _>(&self.0.user_id)?;
        text.push(&mut out);
        out.push_bind_param::<Text, _>(&self.0.token_hash)?;
        text.push(&mut out);
        out.push_bind_param::<SqlUuid, _>(&self.0.active_org_id)?;
        text.push(&mut out);
        out.push_bind_param::<Timestamptz, _>(&self.0.expires_at)?;
        text.push(&mut out);
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.0.session.expires_at)?;
        text.push(&mut out);
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.0.session.authenticated_at)?;
        text.push(&mut out);
        Ok(())
    }
}

/// `sql/rotate.sql`: returns the database's clock and the successor, or no successor where an expiry forbids it.
pub(crate) struct Rotate<'a> {
    pub(crate) successor: &'a Successor,
    pub(crate) predecessor_id: Uuid,
    /// When the predecessor was found valid under its lock; `None` to judge it now.
    pub(crate) judged_at: Option<DateTime<Utc>>,
}

impl QueryId for Rotate<'_> {
    type QueryId = Rotate<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Rotate<'_> {
    type SqlType = (Timestamptz, Nullable<AllColumns>);
}

impl RunQueryDsl<PgConnection> for Rotate<'_> {}

impl QueryFragment<Pg> for Rotate<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = Placeholders::of(ROTATE);
        text.push(&mut out);
        out.push_bind_param::<SqlUuid, _>(&self.successor.id)?;
        text.push(&mut out);
        out.push_bind_param::<Text, _>(&self.successor.token_hash)?;
        text.push(&mut out);
        out.push_bind_param::<Nullable<SqlUuid>, _>(&self.successor.active_org_id)?;
        text.push(&mut out);
        out.push_bind_param::<Timestamptz, _>(&self.successor.expires_at)?;
        text.push(&mut out);
        out.push_bind_param::<SqlUuid, _>(&self.predecessor_id)?;
        text.push(&mut out);
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.judged_at)?;
        text.push(&mut out);
        Ok(())
    }
}

/// `sql/list_sessions.sql`: returns a row for each session, and one more than a page has if there are more.
pub(crate) struct Sessions<'a>(pub(crate) &'a SessionQuery);

impl QueryId for Sessions<'_> {
    type QueryId = Sessions<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Sessions<'_> {
    type SqlType = AllColumns;
}

impl RunQueryDsl<PgConnection> for Sessions<'_> {}

impl QueryFragment<Pg> for Sessions<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = Placeholders::of(LIST_SESSIONS);
        text.push(&mut out);
        out.push_bind_param::<SqlUuid, _>(&self.0.user_id)?;
        text.push(&mut out);
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.0.started_before)?;
        text.push(&mut out);
        out.push_bind_param::<Nullable<SqlUuid>, _>(&self.0.id_before)?;
        text.push(&mut out);
        out.push_bind_param::<Bool, _>(&self.0.with_ended)?;
        text.push(&mut out);
        out.push_bind_param::<BigInt, _>(&self.0.rows)?;
        text.push(&mut out);
        Ok(())
    }
}

/// The text between the placeholders `$1`, `$2`, …, each of which stands once and in this order.
struct Placeholders {
    rest: &'static str,
}

impl Placeholders {
    fn of(sql: &'static str) -> Self {
        Self { rest: sql }
    }

    /// Pushes the text up to the next placeholder, which the caller's next bind replaces, or to the end.
    fn push(&mut self, out: &mut AstPass<'_, '_, Pg>) {
        let (text, rest) = self.rest.split_once('$').unwrap_or((self.rest, ""));
        out.push_sql(text);
        self.rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_placeholder_stands_once_and_in_order() {
        for (sql, binds) in [(CREATE, 7), (ROTATE, 6), (LIST_SESSIONS, 5)] {
            let numbers: Vec<&str> =
                sql.split('$').skip(1).map(|rest| &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap()]).collect();
            let expected: Vec<String> = (1..=binds).map(|n: u32| n.to_string()).collect();
            assert_eq!(numbers, expected, "{sql}");
        }
    }
}
