//! The verbs that end one session.

use uuid::Uuid;

use crate::error::{Result, not_nil};
use crate::protocol::revoke::{end_session, revoke_session, revoke_session_by_hash};
use crate::repository::RefreshTokenRepository;
use crate::telemetry::{Ids, observed};
use crate::values::{RevocationReport, RevokedReason, TokenHash};

impl RefreshTokenRepository<'_> {
    /// Revokes every token of a session: log out this device.
    ///
    /// Whatever runs beside it, once it is committed no token of the session, and none that was being born from one,
    /// is valid again. Nothing if the session is unknown.
    ///
    /// # Errors
    ///
    /// As [`revoke_token_chain`](Self::revoke_token_chain).
    ///
    /// # Locking
    ///
    /// The user's gate, then every unrevoked row of the session, oldest first; a rotation in flight is waited for.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let session_id = tokens.create(&new_token())?.session_id;
    /// let report = tokens.revoke_session(session_id)?;
    /// println!("{report}"); // 1 token revoked, 1 of them live; 1 session ended
    /// # assert_eq!(report.sessions, 1);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_session(&mut self, session_id: Uuid) -> Result<RevocationReport> {
        observed("revoke_session", Ids::session(session_id), || {
            not_nil("session_id", session_id)?;
            revoke_session(self.call.conn, session_id, self.call.reason_or(RevokedReason::SessionRevoked))
        })
    }

    /// Revokes the session that a presented token belongs to, whether it is the live one or an old one: log out.
    ///
    /// [`revoke_session`](Self::revoke_session) for a caller who has a token (RFC 7009 §2.1). Nothing if the hash is
    /// unknown, which is no error there either (§2.2). Whoever presents an old token, a thief included, can log
    /// the user out with it, and nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::IsolationTooHigh`](crate::Error::IsolationTooHigh) inside a transaction of yours above READ COMMITTED.
    ///
    /// # Locking
    ///
    /// As [`revoke_session`](Self::revoke_session).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let presented = tokens.create(&new_token())?.token_hash;
    /// use refresh_tokens::RevokedReason;
    ///
    /// tokens.with_reason(RevokedReason::LoggedOut).revoke_session_by_hash(&presented)?;
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_session_by_hash(&mut self, presented: &TokenHash) -> Result<RevocationReport> {
        observed("revoke_session_by_hash", Ids::NONE, || {
            revoke_session_by_hash(self.call.conn, presented, self.call.reason_or(RevokedReason::SessionRevoked))
        })
    }

    /// Ends a session by its live token alone: [`revoke_session`](Self::revoke_session) at a cost that does not grow with the
    /// session's history.
    ///
    /// The same promise: once it is committed, no token of the session is valid again. Rows of tokens that were rotated before are not
    /// touched: their `revoked_at` stays empty, and who presents one is still told [`Refusal::Reused`](crate::Refusal::Reused).
    /// [`list_sessions`](Self::list_sessions) shows the session as revoked. So the [`RevocationReport`] has one token, or none where the session had
    /// ended before, or is unknown.
    ///
    /// Choose it where sessions live long: a session of a year that is rotated every quarter of an hour has 35,000 rows.
    /// Choose [`revoke_session`](Self::revoke_session) where other software rotates on the same table without a transaction: it
    /// can give one token two successors, so that a session has two live tokens; of these, this ends the newest.
    ///
    /// # Errors
    ///
    /// As [`revoke_token_chain`](Self::revoke_token_chain).
    ///
    /// # Locking
    ///
    /// The session's live token; a rotation in flight is waited for.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let first = tokens.create(&new_token())?;
    /// # let _ = tokens.rotate(&first.token_hash, &successor(), refresh_tokens::Binding::ANY)?;
    /// let report = tokens.end_session(first.session_id)?;
    /// assert_eq!((report.tokens, report.sessions), (1, 1));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn end_session(&mut self, session_id: Uuid) -> Result<RevocationReport> {
        observed("end_session", Ids::session(session_id), || {
            not_nil("session_id", session_id)?;
            end_session(self.call.conn, Some(session_id), None, self.call.reason_or(RevokedReason::SessionRevoked))
        })
    }

    /// [`end_session`](Self::end_session) of the session that a presented token belongs to, whether it is the live one
    /// or an old one: log out (RFC 7009 §2.1).
    ///
    /// As [`revoke_session_by_hash`](Self::revoke_session_by_hash): nothing if the hash is unknown.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Locking
    ///
    /// As [`end_session`](Self::end_session).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let presented = tokens.create(&new_token())?.token_hash;
    /// use refresh_tokens::RevokedReason;
    ///
    /// tokens.with_reason(RevokedReason::LoggedOut).end_session_by_hash(&presented)?;
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn end_session_by_hash(&mut self, presented: &TokenHash) -> Result<RevocationReport> {
        observed("end_session_by_hash", Ids::NONE, || {
            end_session(self.call.conn, None, Some(presented), self.call.reason_or(RevokedReason::SessionRevoked))
        })
    }
}
