//! What the reuse of a token looks like.

use std::fmt;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use crate::models::RefreshToken;
use crate::rotation::clock_timestamp;
use crate::schema::refresh_tokens;

/// What the reuse of a token looks like, from what became of its session.
///
/// Nothing can tell a thief from a client by one presentation. Many of the first kind are a client that is slow to try
/// again, or a grace period that is too short; one of the second is worth a look.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// # let presented = tokens.create(&new_token())?.token_hash;
/// use refresh_tokens::{Binding, OnReuse, Redemption, ReuseKind};
///
/// let _lost = tokens.redeem(&presented, &successor(), Binding::ANY, OnReuse::RevokeSession)?;
/// let again = tokens.redeem(&presented, &successor(), Binding::ANY, OnReuse::RevokeSession)?;
/// let Redemption::Reused { kind, .. } = again else { panic!() };
/// assert_eq!(kind, ReuseKind::SuccessorUnused); // nobody has used the successor
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReuseKind {
    /// Its successor is live and unused: a client that did not get its answer and is late, or one who was overtaken
    /// by a thief.
    SuccessorUnused,
    /// Its successor was used: somebody holds a copy of what the session left behind.
    SuccessorUsed,
    /// Its session was revoked, has expired, or was deleted by clean-up: an old backup, or a thief who is too late.
    SessionEnded,
}

impl ReuseKind {
    /// A word for logs and metrics: `reused_successor_unused`, `reused_successor_used` or `reused_session_ended`.
    ///
    /// # Example
    ///
    /// ```
    /// assert_eq!(refresh_tokens::ReuseKind::SuccessorUnused.as_str(), "reused_successor_unused");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SuccessorUnused => "reused_successor_unused",
            Self::SuccessorUsed => "reused_successor_used",
            Self::SessionEnded => "reused_session_ended",
        }
    }
}

impl fmt::Display for ReuseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// By the newest row of the session: one look-up, however long its history.
pub(crate) fn classify(conn: &mut PgConnection, reused: &RefreshToken) -> QueryResult<ReuseKind> {
    let newest: Option<(RefreshToken, DateTime<Utc>)> = refresh_tokens::table
        .filter(refresh_tokens::session_id.eq(reused.session_id))
        .order(refresh_tokens::generation.desc())
        .select((RefreshToken::as_select(), clock_timestamp()))
        .first(conn)
        .optional()?;
    Ok(match newest {
        Some((newest, now)) => by_newest(reused.rotated_to, &newest, now),
        None => ReuseKind::SessionEnded,
    })
}

fn by_newest(successor_id: Option<Uuid>, newest: &RefreshToken, now: DateTime<Utc>) -> ReuseKind {
    // A newest row that was rotated led to one that clean-up has deleted.
    if newest.revoked_at.is_some() || newest.rotated_to.is_some() || newest.ends_at() <= now {
        ReuseKind::SessionEnded
    } else if successor_id == Some(newest.id) {
        ReuseKind::SuccessorUnused
    } else {
        ReuseKind::SuccessorUsed
    }
}
