//! What a revocation ended.

use std::fmt;

use uuid::Uuid;

/// What a revocation of many tokens ended, when it is committed.
///
/// Holds counts alone, so it can be logged as it is. All are 0 where nothing was left to revoke.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// # let token = tokens.create(&new_token())?;
/// # let _ = tokens.rotate(&token.token_hash, &successor(), refresh_tokens::Binding::ANY)?;
/// let report = tokens.revoke_all_for_user(token.user_id)?;
/// assert_eq!((report.tokens, report.sessions, report.live), (2, 1, 1));
/// assert_eq!(report.to_string(), "2 tokens revoked, 1 of them live; 1 session ended");
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RevocationReport {
    /// Rows that it revoked: rotated and expired ones included, but not those that were revoked already.
    pub tokens: usize,
    /// Sessions that had a live token among them, and now have none.
    pub sessions: usize,
    /// Tokens among them that were live: neither rotated nor expired.
    pub live: usize,
}

impl fmt::Display for RevocationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count| if count == 1 { "" } else { "s" };
        let Self { tokens, sessions, live } = *self;
        let (s, sessions_s) = (plural(tokens), plural(sessions));
        write!(f, "{tokens} token{s} revoked, {live} of them live; {sessions} session{sessions_s} ended")
    }
}

/// What the revocation of one token ended.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// # let first = tokens.create(&new_token())?;
/// # let _ = tokens.rotate(&first.token_hash, &successor(), refresh_tokens::Binding::ANY)?;
/// use refresh_tokens::TokenRevocation;
///
/// // This token has been rotated, perhaps a moment ago: its session goes on.
/// if let TokenRevocation::SessionContinues { session_id } = tokens.revoke(first.id)? {
///     assert_eq!(tokens.revoke_session(session_id)?.live, 1);
/// }
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "the session of a token that has been rotated may go on: match on SessionContinues, or call revoke_session"]
pub enum TokenRevocation {
    /// Nothing was changed: there is no such token, or it was revoked already.
    Unchanged,
    /// It was the last token of its session, which has ended with it. (Where other software's race has forked a
    /// session, of its branch.)
    SessionEnded {
        /// The session.
        session_id: Uuid,
    },
    /// It had been rotated: the row is revoked, and the session may go on with a later token.
    /// [`revoke_session`](crate::RefreshTokenRepository::revoke_session) ends it.
    SessionContinues {
        /// The session.
        session_id: Uuid,
    },
}

impl TokenRevocation {
    /// Whether the row was revoked by this call.
    ///
    /// # Example
    ///
    /// ```
    /// assert!(!refresh_tokens::TokenRevocation::Unchanged.is_revoked());
    /// ```
    pub fn is_revoked(self) -> bool {
        self != Self::Unchanged
    }
}
