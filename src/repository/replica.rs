//! Look-ups on a replica: each answer says until when it is known to be complete.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Nullable, Timestamptz};

use crate::error::Result;
use crate::repository::RefreshTokenRepository;
use crate::values::{Binding, RefreshToken, SessionPage, SessionQuery, TokenHash};

/// The look-ups that a replica can answer, and no others: each as of a moment in the past, which the answer names.
///
/// What a replica does not have yet, it denies: **a token that was revoked or rotated a moment ago looks valid there**,
/// a session that has ended is listed as live, and a token that was just issued is not found. So an answer of a replica
/// is for what may be wrong for a while, such as a page of the user's devices, and never for the question whether to let
/// somebody in who must be kept out now: that is asked on the primary, where [`rotate`] and [`redeem`] decide anyway. An
/// [`AsOf`] gives its value only to who says how old it may be, or that its age does not matter.
///
/// [`rotate`]: RefreshTokenRepository::rotate
/// [`redeem`]: RefreshTokenRepository::redeem
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let token = refresh_tokens::RefreshTokenRepository::new(&mut conn).create(&new_token())?;
/// # let user_id = token.user_id;
/// use chrono::TimeDelta;
/// use refresh_tokens::{ReplicaReader, SessionQuery};
///
/// let devices = ReplicaReader::new(&mut conn).list_sessions(&SessionQuery::of_user(user_id))?;
/// let note = devices.age().map_or("of some time ago".to_owned(), |age| format!("{} s ago", age.num_seconds()));
/// let page = devices.into_inner();
/// assert_eq!(page.sessions.len(), 1, "{note}");
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[expect(missing_debug_implementations, reason = "PgConnection has none")]
pub struct ReplicaReader<'conn> {
    conn: &'conn mut PgConnection,
}

impl<'conn> ReplicaReader<'conn> {
    /// Over a connection to a replica; on a primary the answers are of this moment.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let hash = fresh_hash();
    /// use refresh_tokens::ReplicaReader;
    ///
    /// assert_eq!(ReplicaReader::new(&mut conn).get_by_hash(&hash)?.into_inner(), None);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn new(conn: &'conn mut PgConnection) -> Self {
        Self { conn }
    }

    /// [`RefreshTokenRepository::get_by_hash`], as of a moment in the past.
    ///
    /// # Errors
    ///
    /// As there; and [`Error::Database`](crate::Error::Database) where the replica cancels it in favour of its replay.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let token = refresh_tokens::RefreshTokenRepository::new(&mut conn).create(&new_token())?;
    /// use refresh_tokens::ReplicaReader;
    ///
    /// let found = ReplicaReader::new(&mut conn).get_by_hash(&token.token_hash)?;
    /// assert_eq!(found.into_inner(), Some(token));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn get_by_hash(&mut self, hash: &TokenHash) -> Result<AsOf<Option<RefreshToken>>> {
        self.look_up(|tokens| tokens.get_by_hash(hash))
    }

    /// [`RefreshTokenRepository::get_valid_by_hash`], as of a moment in the past: a token that is revoked since is
    /// found.
    ///
    /// # Errors
    ///
    /// As [`get_by_hash`](Self::get_by_hash).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let token = refresh_tokens::RefreshTokenRepository::new(&mut conn).create(&new_token())?;
    /// use chrono::TimeDelta;
    /// use refresh_tokens::{Binding, ReplicaReader};
    ///
    /// let found = ReplicaReader::new(&mut conn).get_valid_by_hash(&token.token_hash, Binding::ANY)?;
    /// match found.if_fresher_than(TimeDelta::seconds(5)) {
    ///     Ok(found) => assert!(found.is_some()),
    ///     Err(_too_old) => { /* ask the primary */ }
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn get_valid_by_hash(&mut self, hash: &TokenHash, binding: Binding) -> Result<AsOf<Option<RefreshToken>>> {
        self.look_up(|tokens| tokens.get_valid_by_hash(hash, binding))
    }

    /// [`RefreshTokenRepository::list_sessions`], as of a moment in the past.
    ///
    /// # Errors
    ///
    /// As [`get_by_hash`](Self::get_by_hash).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// use refresh_tokens::{ReplicaReader, SessionQuery};
    ///
    /// let nobodys = SessionQuery::of_user(uuid::Uuid::new_v4());
    /// assert!(ReplicaReader::new(&mut conn).list_sessions(&nobodys)?.into_inner().sessions.is_empty());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn list_sessions(&mut self, query: &SessionQuery) -> Result<AsOf<SessionPage>> {
        self.look_up(|tokens| tokens.list_sessions(query))
    }

    /// The moment is read first: what is looked up afterwards is no older.
    fn look_up<T>(&mut self, look: impl FnOnce(&mut RefreshTokenRepository<'_>) -> Result<T>) -> Result<AsOf<T>> {
        let Moment { asked_at, complete_until } =
            sql_query(include_str!("../sql/replayed.sql")).get_result(self.conn)?;
        let value = look(&mut RefreshTokenRepository::new(self.conn))?;
        Ok(AsOf { value, asked_at, complete_until })
    }
}

#[derive(QueryableByName)]
struct Moment {
    #[diesel(sql_type = Timestamptz)]
    asked_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    complete_until: Option<DateTime<Utc>>,
}

/// An answer of a replica ([`ReplicaReader`]): complete up to a moment, and silent on all that was committed after it.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let hash = fresh_hash();
/// use chrono::TimeDelta;
/// use refresh_tokens::ReplicaReader;
///
/// let found = ReplicaReader::new(&mut conn).get_by_hash(&hash)?;
/// assert_eq!(found.age(), Some(TimeDelta::zero()), "this is a primary");
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "its value is as of a moment in the past"]
pub struct AsOf<T> {
    value: T,
    asked_at: DateTime<Utc>,
    complete_until: Option<DateTime<Utc>>,
}

impl<T> AsOf<T> {
    /// All that was committed on the primary up to then, by the primary's clock, is in the answer; `None`, where the
    /// replica has not replayed a transaction since it started.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let found = refresh_tokens::ReplicaReader::new(&mut conn).get_by_hash(&fresh_hash())?;
    /// assert!(found.as_of().is_some());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn as_of(&self) -> Option<DateTime<Utc>> {
        self.complete_until
    }

    /// The most that the answer can be behind, if the clocks of primary and replica agree: the time since the last
    /// transaction that was replayed. Where nobody writes, it grows although nothing is missing.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let found = refresh_tokens::ReplicaReader::new(&mut conn).get_by_hash(&fresh_hash())?;
    /// assert_eq!(found.age(), Some(chrono::TimeDelta::zero()), "this is a primary");
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn age(&self) -> Option<TimeDelta> {
        self.complete_until.map(|until| self.asked_at.signed_duration_since(until).max(TimeDelta::zero()))
    }

    /// The value, if it is known to be no older than this; the answer itself, if not.
    ///
    /// # Errors
    ///
    /// The answer, whose [`age`](Self::age) is greater or unknown: ask the primary.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let found = refresh_tokens::ReplicaReader::new(&mut conn).get_by_hash(&fresh_hash())?;
    /// assert_eq!(found.if_fresher_than(chrono::TimeDelta::seconds(1)), Ok(None));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn if_fresher_than(self, most: TimeDelta) -> Result<T, Self> {
        if self.age().is_some_and(|age| age <= most) { Ok(self.value) } else { Err(self) }
    }

    /// The value, however old: a revocation may have passed it by.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let found = refresh_tokens::ReplicaReader::new(&mut conn).get_by_hash(&fresh_hash())?;
    /// assert_eq!(found.into_inner(), None);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn into_inner(self) -> T {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(asked_at: i64, complete_until: Option<i64>) -> AsOf<()> {
        let at = |second| DateTime::from_timestamp(second, 0).expect("it is in range");
        AsOf { value: (), asked_at: at(asked_at), complete_until: complete_until.map(at) }
    }

    /// The primary's clock may be ahead of the replica's, and no answer is from the future.
    #[test]
    fn no_age_is_negative() {
        assert_eq!(answer(10, Some(13)).age(), Some(TimeDelta::zero()));
        assert_eq!(answer(10, Some(13)).if_fresher_than(TimeDelta::zero()), Ok(()));
        assert_eq!(answer(10, Some(7)).age(), Some(TimeDelta::seconds(3)));
    }

    /// Where the replica knows of no moment, no age will do.
    #[test]
    fn what_may_be_of_any_age_is_younger_than_nothing() {
        assert_eq!(answer(10, None).age(), None);
        assert_eq!(answer(10, None).if_fresher_than(TimeDelta::MAX), Err(answer(10, None)));
    }
}
