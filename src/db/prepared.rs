//! Statements from `.sql` files that Diesel prepares once a connection and then finds by their type.
//!
//! `sql_query` would be sent to be parsed and planned at every call. Here the text has a static `QueryId`, so that it
//! costs Diesel a hash look-up and the server no parse.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::HasSqlType;

use crate::db::fragments::split_fragment;

/// The text of a statement, and what takes the places of its placeholders.
pub(crate) trait Statement {
    const TEXT: &'static str;
    /// Names it in the connection's cache: the type itself, with no lifetime.
    type Id: 'static;
    type Row;

    /// Fills each placeholder, in the order in which they stand in the text.
    fn fill<'b>(&'b self, places: &mut Places<'_, 'b>) -> QueryResult<()>;
}

/// A [`Statement`] as Diesel runs it.
pub(crate) struct Prepared<S>(pub(crate) S);

impl<S: Statement> QueryId for Prepared<S> {
    type QueryId = Prepared<S::Id>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<S: Statement> Query for Prepared<S> {
    type SqlType = S::Row;
}

impl<S: Statement> RunQueryDsl<PgConnection> for Prepared<S> {}

impl<S: Statement> QueryFragment<Pg> for Prepared<S> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut places = Places { rest: S::TEXT, out };
        self.0.fill(&mut places)?;
        places.text();
        Ok(())
    }
}

/// The places of `$1`, `$2`, … in a text, each of which stands once; Diesel numbers them anew. Fragments fill their own.
pub(crate) struct Places<'a, 'b> {
    rest: &'static str,
    out: AstPass<'a, 'b, Pg>,
}

impl<'b> Places<'_, 'b> {
    /// A value in the next place.
    pub(crate) fn value<T, U>(&mut self, value: &'b U) -> QueryResult<()>
    where
        Pg: HasSqlType<T>,
        U: ToSql<T, Pg>,
    {
        self.text();
        self.out.push_bind_param::<T, U>(value)
    }

    /// A query of Diesel's in the next place.
    pub(crate) fn query(&mut self, query: &'b impl QueryFragment<Pg>) -> QueryResult<()> {
        self.text();
        query.walk_ast(self.out.reborrow())
    }

    /// The text up to the next numbered place or the end, with its fragments; passes over that place.
    fn text(&mut self) {
        loop {
            let (text, rest) = self.rest.split_once('$').unwrap_or((self.rest, ""));
            self.out.push_sql(text);
            let Some((fragment, rest)) = split_fragment(rest) else {
                self.rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                return;
            };
            self.out.push_sql(fragment);
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::db::fragments::spliced;
    use crate::db::statements;

    /// The placeholders in a text and the places that are filled must be as many: Diesel's own numbers show it.
    #[test]
    fn each_placeholder_stands_once() {
        for (sql, places) in statements::ALL {
            let sql = spliced(sql);
            let mut numbers: Vec<usize> = sql
                .split('$')
                .skip(1)
                .map(|rest| rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap())
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (1..=places).collect::<Vec<_>>(), "{sql}");
        }
    }
}
