//! What is refused before the database is asked, and how it is said.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// Which argument was refused, and why. Nothing was written.
///
/// # Example
///
/// ```
/// use refresh_tokens::{InvalidInput, TokenHash};
///
/// let error = TokenHash::new("").unwrap_err();
/// assert_eq!(error, InvalidInput::EmptyTokenHash);
/// assert_eq!(error.to_string(), "the token hash is empty");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInput {
    /// The token hash has no characters.
    #[error("the token hash is empty")]
    EmptyTokenHash,

    /// The token hash is longer than [`TokenHash::MAX_LEN`](crate::TokenHash::MAX_LEN).
    #[error("the token hash has {length} bytes, more than the {max} that are allowed: pass the hash, not a document")]
    TokenHashTooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        max: usize,
    },

    /// The token hash contains the character NUL, which PostgreSQL's `text` cannot hold.
    #[error("the token hash contains a NUL character: encode the digest as hex or base64")]
    TokenHashContainsNul,

    /// An id is the nil UUID, which is what an unset field looks like.
    #[error("{field} is the nil UUID: it was probably never set")]
    NilUuid {
        /// The argument's name.
        field: &'static str,
    },

    /// An instant of expiry is not in the future of the database's clock.
    #[error("{field} is not in the future of the database's clock")]
    ExpiryNotInFuture {
        /// The argument's name.
        field: &'static str,
    },

    /// An instant of expiry lies after [`MAX_EXPIRY`], which many clients of the table cannot read.
    #[error("{field} lies after the year 9999")]
    ExpiryTooFar {
        /// The argument's name.
        field: &'static str,
    },

    /// A lifetime is not positive, or longer than a hundred years.
    #[error("{field} is not between a microsecond and 36500 days")]
    LifetimeOutOfRange {
        /// The argument's name.
        field: &'static str,
    },

    /// A time for which rows are to be kept is too short, or longer than a hundred years.
    #[error("{field} is not between {least_seconds} seconds and 36500 days")]
    RetentionOutOfRange {
        /// The argument's name.
        field: &'static str,
        /// The shortest time that is accepted, in seconds.
        least_seconds: i64,
    },

    /// The instant by which archived tokens are to be dropped lies ahead of the database's clock.
    #[error("what is archived in the future cannot be dropped yet: pass an instant of the past")]
    ArchiveCutInFuture,

    /// A number of months to prepare the archive for is above the limit.
    #[error("{months} months ahead is more than {max}")]
    TooManyMonthsAhead {
        /// The number given.
        months: u32,
        /// The limit.
        max: u32,
    },

    /// The instant of a login's authentication lies ahead of the database's clock, so that it could outrun a revocation.
    #[error("session.authenticated_at is in the future of the database's clock: take it with now()")]
    AuthenticatedInFuture,

    /// A text is not that of a [`SessionCursor`](crate::SessionCursor).
    #[error("this is not a cursor that list_sessions made")]
    MalformedCursor,

    /// A number of days is negative or above the limit.
    #[error("{days} days is not between 0 and {max}")]
    DaysOutOfRange {
        /// The number given.
        days: i32,
        /// The limit.
        max: i32,
    },
}

/// The latest instant of expiry that is accepted: the end of the year 9999, UTC.
///
/// PostgreSQL and chrono reach further, but the datetime of Python, .NET and SQL's standard do not, and they
/// may read the same table.
///
/// # Example
///
/// ```
/// assert_eq!(refresh_tokens::MAX_EXPIRY.to_rfc3339(), "9999-12-31T23:59:59+00:00");
/// ```
pub const MAX_EXPIRY: DateTime<Utc> = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(instant) => instant,
    None => DateTime::<Utc>::MAX_UTC,
};

pub(crate) fn not_nil(field: &'static str, id: Uuid) -> Result<(), InvalidInput> {
    if id.is_nil() {
        return Err(InvalidInput::NilUuid { field });
    }
    Ok(())
}

/// Bounds an expiry to what every client of the table can read; the database's clock judges the rest.
pub(crate) fn not_too_far(field: &'static str, expires_at: DateTime<Utc>) -> Result<(), InvalidInput> {
    if expires_at > MAX_EXPIRY {
        return Err(InvalidInput::ExpiryTooFar { field });
    }
    if expires_at <= DateTime::UNIX_EPOCH {
        // PostgreSQL cannot hold chrono's earliest instants, so the database could not be asked.
        return Err(InvalidInput::ExpiryNotInFuture { field });
    }
    Ok(())
}

/// The longest lifetime that is accepted: a hundred years.
const MAX_LIFETIME: TimeDelta = TimeDelta::days(36_500);

pub(crate) fn lifetime_in_range(field: &'static str, lifetime: TimeDelta) -> Result<(), InvalidInput> {
    if (TimeDelta::microseconds(1)..=MAX_LIFETIME).contains(&lifetime) {
        return Ok(());
    }
    Err(InvalidInput::LifetimeOutOfRange { field })
}

pub(crate) fn retention_in_range(field: &'static str, keep: TimeDelta, least: TimeDelta) -> Result<(), InvalidInput> {
    if (least..=MAX_LIFETIME).contains(&keep) {
        return Ok(());
    }
    Err(InvalidInput::RetentionOutOfRange { field, least_seconds: least.num_seconds() })
}

/// The most days that clean-up accepts: a hundred years.
const MAX_DAYS: i32 = 36_500;

pub(crate) fn days_in_range(days: i32) -> Result<(), InvalidInput> {
    if (0..=MAX_DAYS).contains(&days) {
        return Ok(());
    }
    Err(InvalidInput::DaysOutOfRange { days, max: MAX_DAYS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_expiry_is_the_year_9999() {
        assert_eq!(MAX_EXPIRY.timestamp(), 253_402_300_799);
    }
}
