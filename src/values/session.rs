//! The sessions of a user, page by page.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use diesel::pg::data_types::PgTimestamp;
use uuid::Uuid;

use crate::error::{InvalidInput, MAX_EXPIRY};
use crate::values::instant::as_read;
use crate::values::revoked_reason::RevokedReason;
use crate::values::token::{RefreshToken, TokenState};

/// A session: all tokens that descend from one login, as one entry.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// # let token = tokens.create(&new_token())?;
/// use refresh_tokens::{SessionQuery, SessionState};
///
/// let page = tokens.list_sessions(&SessionQuery::of_user(token.user_id))?;
/// let session = &page.sessions[0];
/// assert_eq!((session.session_id, session.state), (token.session_id, SessionState::Live));
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// Its id, which no rotation changes.
    pub session_id: Uuid,
    /// The user.
    pub user_id: Uuid,
    /// The organisation that it acts for, or did last.
    pub active_org_id: Uuid,
    /// When it began (UTC): when the user was authenticated, if
    /// [`SessionOptions::authenticated_at`](crate::SessionOptions::authenticated_at) said so, or else at its first token.
    pub started_at: DateTime<Utc>,
    /// When its newest token was made by a rotation (UTC); `None` while the first one is unused.
    pub last_rotated_at: Option<DateTime<Utc>>,
    /// When it ends if it is not used before (UTC).
    pub expires_at: DateTime<Utc>,
    /// When it ends however much it is used (UTC): its absolute end, if it has one.
    pub session_expires_at: Option<DateTime<Utc>>,
    /// Whether it is over, and why.
    pub state: SessionState,
}

/// Whether a session is over, and why.
///
/// # Example
///
/// ```
/// use refresh_tokens::SessionState;
///
/// fn label(state: SessionState) -> String {
///     match state {
///         SessionState::Live => "active".to_owned(),
///         SessionState::Revoked { at, reason: Some(reason) } => format!("ended {at}: {reason}"),
///         SessionState::Revoked { at, reason: None } => format!("ended {at}"),
///         _ => "expired".to_owned(),
///     }
/// }
/// assert_eq!(label(SessionState::Live), "active");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// One token of it can be rotated.
    Live,
    /// It was ended before its time.
    Revoked {
        /// When (UTC).
        at: DateTime<Utc>,
        /// Why; `None` where other software did it.
        reason: Option<RevokedReason>,
    },
    /// It came to its end unused.
    Expired,
}

impl Session {
    /// Of the token that stands for the session: the live one, or the newest that there is.
    fn of(token: &RefreshToken, now: DateTime<Utc>) -> Self {
        let state = match (token.state(now), token.revoked_at) {
            (TokenState::Active, _) => SessionState::Live,
            (_, Some(at)) => SessionState::Revoked { at, reason: token.revoked_reason },
            _ => SessionState::Expired,
        };
        Self {
            session_id: token.session_id,
            user_id: token.user_id,
            active_org_id: token.active_org_id,
            started_at: token.session_started_at,
            last_rotated_at: (token.generation > 0).then_some(token.created_at),
            expires_at: token.ends_at(),
            session_expires_at: token.session_expires_at,
            state,
        }
    }
}

/// Which sessions [`list_sessions`](crate::RefreshTokenRepository::list_sessions) lists.
///
/// # Example
///
/// ```
/// use refresh_tokens::SessionQuery;
/// use uuid::Uuid;
///
/// let user_id = Uuid::from_u128(7);
/// let audit = SessionQuery::of_user(user_id).include_ended().limit(100);
/// assert_ne!(audit, SessionQuery::of_user(user_id));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "its methods return the changed value"]
pub struct SessionQuery {
    pub(crate) user_id: Uuid,
    pub(crate) started_before: Option<PgTimestamp>,
    pub(crate) id_before: Option<Uuid>,
    pub(crate) include_ended: bool,
    /// One more than a page has, to know whether it is the last.
    pub(crate) rows: i64,
}

impl SessionQuery {
    /// The live sessions of a user, the newest 50.
    ///
    /// # Example
    ///
    /// ```
    /// let query = refresh_tokens::SessionQuery::of_user(uuid::Uuid::from_u128(7));
    /// # let _ = query;
    /// ```
    pub fn of_user(user_id: Uuid) -> Self {
        Self { user_id, started_before: None, id_before: None, include_ended: false, rows: 51 }
    }

    /// Lists revoked and expired sessions too, as long as retention keeps a row of them: for an audit page.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let token = tokens.create(&new_token())?;
    /// use refresh_tokens::{RevokedReason, SessionQuery, SessionState};
    ///
    /// tokens.with_reason(RevokedReason::Administrator).revoke_session(token.session_id)?;
    /// let page = tokens.list_sessions(&SessionQuery::of_user(token.user_id).include_ended())?;
    /// let SessionState::Revoked { reason, .. } = page.sessions[0].state else { panic!() };
    /// assert_eq!(reason, Some(RevokedReason::Administrator));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn include_ended(mut self) -> Self {
        self.include_ended = true;
        self
    }

    /// How many sessions a page has at most; 0 counts as 1, and more than 1,000 as 1,000.
    ///
    /// Defaults to 50.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::SessionQuery;
    /// # let user_id = uuid::Uuid::from_u128(7);
    /// assert_eq!(SessionQuery::of_user(user_id).limit(50), SessionQuery::of_user(user_id));
    /// ```
    pub fn limit(mut self, sessions: u16) -> Self {
        self.rows = i64::from(sessions.clamp(1, 1_000)) + 1;
        self
    }

    /// Goes on where a page ended: [`SessionPage::next`] of it.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # use refresh_tokens::{NewRefreshToken, SessionQuery};
    /// # let user_id = tokens.create(&new_token())?.user_id;
    /// # tokens.create(&NewRefreshToken { user_id, ..new_token() })?;
    /// let query = SessionQuery::of_user(user_id).limit(1);
    /// let first = tokens.list_sessions(&query)?;
    /// let second = tokens.list_sessions(&query.after(first.next.expect("there are two")))?;
    /// assert!(second.next.is_none());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn after(mut self, cursor: SessionCursor) -> Self {
        self.started_before = Some(as_read(cursor.started_at));
        self.id_before = Some(cursor.session_id);
        self
    }
}

/// A page of sessions, newest first.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// let page = tokens.list_sessions(&refresh_tokens::SessionQuery::of_user(uuid::Uuid::from_u128(7)))?;
/// assert!(page.sessions.is_empty() && page.next.is_none());
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionPage {
    /// One entry for each session.
    pub sessions: Vec<Session>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<SessionCursor>,
}

impl SessionPage {
    /// Of the rows that a query found, one more than the page holds if there are more.
    pub(crate) fn of(query: &SessionQuery, mut tokens: Vec<RefreshToken>, now: DateTime<Utc>) -> Self {
        let is_full = i64::try_from(tokens.len()) == Ok(query.rows);
        if is_full {
            tokens.pop();
        }
        let next = tokens
            .last()
            .filter(|_| is_full)
            .map(|token| SessionCursor { started_at: token.session_started_at, session_id: token.session_id });
        Self { sessions: tokens.iter().map(|token| Session::of(token, now)).collect(), next }
    }
}

/// Where a page of sessions ended: it stays right while sessions begin and end (keyset, not offset).
///
/// Its text (`Display`, `FromStr`) is for a link to the next page; it holds a session's start and id, no secret.
///
/// # Example
///
/// ```
/// use refresh_tokens::{InvalidInput, SessionCursor};
///
/// let cursor: SessionCursor = "1795422600000000.00000000-0000-0000-0000-000000000007".parse()?;
/// assert_eq!(cursor.to_string(), "1795422600000000.00000000-0000-0000-0000-000000000007");
/// assert_eq!("page 2".parse::<SessionCursor>(), Err(InvalidInput::MalformedCursor));
/// # Ok::<(), InvalidInput>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionCursor {
    started_at: DateTime<Utc>,
    session_id: Uuid,
}

impl fmt::Display for SessionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.started_at.timestamp_micros(), self.session_id)
    }
}

impl FromStr for SessionCursor {
    type Err = InvalidInput;

    fn from_str(text: &str) -> Result<Self, InvalidInput> {
        let parse = || {
            let (micros, session_id) = text.split_once('.')?;
            let started_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
            // What stands for the infinities of other software is read as it was written.
            let ends = [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC];
            let end = ends.into_iter().find(|end| end.timestamp_micros() == started_at.timestamp_micros());
            // Beyond these, PostgreSQL and chrono differ in what they can hold.
            let in_range = (DateTime::UNIX_EPOCH..=MAX_EXPIRY).contains(&started_at);
            let started_at = end.or(in_range.then_some(started_at))?;
            Some(Self { started_at, session_id: session_id.parse().ok()? })
        };
        parse().ok_or(InvalidInput::MalformedCursor)
    }
}
