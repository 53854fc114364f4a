//! Which peppers are still in use.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};

use crate::db::{spliced, whole};
use crate::error::Result;
use crate::schema::refresh_tokens;
use crate::service::SessionService;
use crate::service::pepper::hash_prefix;
use crate::telemetry::{Ids, observed};
use crate::values::MaybeInstant;

/// How many tokens a pepper has.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let service = service(&database);
/// for usage in service.pepper_usage()? {
///     if usage.live == 0 {
///         println!("pepper {} finds no live token any more", usage.key_id);
///     }
/// }
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PepperUsage {
    /// The pepper's id.
    pub key_id: u16,
    /// Rows that were hashed with it, in any state: their reuse is noticed as long as it is accepted.
    pub tokens: u64,
    /// Those among them that can be rotated: whoever holds one has to log in again when it is taken out.
    pub live: u64,
    /// When the last of the live ones expires if it is not used before (UTC).
    pub live_until: Option<DateTime<Utc>>,
}

impl SessionService {
    /// How many tokens each of the service's peppers has, the newest pepper first.
    ///
    /// It reads every row of a pepper: a look for an operator before an old one is taken out, not for each request.
    ///
    /// # Errors
    ///
    /// None of its own.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// # let login = refresh_tokens::Login::new(uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    /// let issued = service.start_session(&login)?;
    /// let usage = &service.pepper_usage()?[0];
    /// assert_eq!((usage.tokens, usage.live, usage.live_until), (1, 1, Some(issued.token.expires_at)));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn pepper_usage(&self) -> Result<Vec<PepperUsage>> {
        self.store.retrying_as("pepper_usage", |call| {
            let conn = &mut *call.conn;
            observed("pepper_usage", Ids::NONE, || {
                self.peppers.all().map(|pepper| Ok(usage(conn, pepper.id())?)).collect()
            })
        })
    }
}

fn usage(conn: &mut PgConnection, key_id: u16) -> QueryResult<PepperUsage> {
    let live = spliced("$unspent AND $unexpired");
    let prefix = hash_prefix(key_id);
    // Five digits, so that in any collation no hash of another key id lies between the two.
    let beyond = format!("{:05}", u32::from(key_id) + 1);
    let figures = (
        sql::<BigInt>("count(*)"),
        sql::<BigInt>("count(*) FILTER (WHERE ").sql(&live).sql(")"),
        sql::<Nullable<Timestamptz>>("max(least(expires_at, session_expires_at)) FILTER (WHERE ").sql(&live).sql(")"),
    );
    let (tokens, count, live_until): (i64, i64, MaybeInstant) = refresh_tokens::table
        .filter(refresh_tokens::token_hash.ge(&prefix))
        .filter(refresh_tokens::token_hash.lt(&beyond))
        .filter(sql::<diesel::sql_types::Bool>("starts_with(token_hash, ").bind::<Text, _>(&prefix).sql(")"))
        .select(figures)
        .get_result(conn)?;
    Ok(PepperUsage { key_id, tokens: whole(tokens), live: whole(count), live_until: live_until.into() })
}

#[cfg(any(feature = "metrics", feature = "tracing"))]
crate::telemetry::outcome::read!("read": Vec<PepperUsage>);
