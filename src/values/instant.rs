//! Instants as the table may hold them.
//!
//! PostgreSQL's timestamps reach further than chrono's, and other software writes `infinity` for "never expires"
//! (Python's asyncpg does for `datetime.max`). One such row must not make a user's tokens unreadable, so what lies
//! beyond is read as the first or last instant that chrono has.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::data_types::PgTimestamp;
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{Nullable, Timestamptz};

/// 2000-01-01T00:00:00Z, from which PostgreSQL counts microseconds.
const EPOCH: DateTime<Utc> = match DateTime::from_timestamp(946_684_800, 0) {
    Some(epoch) => epoch,
    None => DateTime::UNIX_EPOCH,
};

#[derive(Debug, FromSqlRow)]
pub struct Instant(DateTime<Utc>);

#[derive(Debug, FromSqlRow)]
pub struct MaybeInstant(Option<DateTime<Utc>>);

impl FromSql<Timestamptz, Pg> for Instant {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let PgTimestamp(microseconds) = FromSql::<Timestamptz, Pg>::from_sql(bytes)?;
        let beyond = if microseconds < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
        Ok(Self(EPOCH.checked_add_signed(TimeDelta::microseconds(microseconds)).unwrap_or(beyond)))
    }
}

impl FromSql<Nullable<Timestamptz>, Pg> for MaybeInstant {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        Instant::from_sql(bytes).map(|Instant(instant)| Self(Some(instant)))
    }

    fn from_nullable_sql(bytes: Option<PgValue<'_>>) -> deserialize::Result<Self> {
        bytes.map_or(Ok(Self(None)), Self::from_sql)
    }
}

/// Back to the table, for comparisons with what was read: the first and last instants stand for the infinities.
pub(crate) fn as_read(instant: DateTime<Utc>) -> PgTimestamp {
    if instant == DateTime::<Utc>::MIN_UTC {
        return PgTimestamp(i64::MIN);
    }
    PgTimestamp((instant - EPOCH).num_microseconds().filter(|_| instant < DateTime::<Utc>::MAX_UTC).unwrap_or(i64::MAX))
}

impl From<Instant> for DateTime<Utc> {
    fn from(Instant(instant): Instant) -> Self {
        instant
    }
}

impl From<MaybeInstant> for Option<DateTime<Utc>> {
    fn from(MaybeInstant(instant): MaybeInstant) -> Self {
        instant
    }
}
