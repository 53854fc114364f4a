//! Sessions by those who hold them: whose a secret is, what a user has, and the end of it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Result;
use crate::protocol::lookup::is_session_of;
use crate::service::SessionService;
use crate::values::{
    Binding, RefreshToken, RevocationReport, RevokedReason, SessionPage, SessionQuery, TokenHash, TokenSecret,
};

impl SessionService {
    /// The database's clock (UTC): read it before you check a user's credentials.
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
    /// let authenticated_at = service.now()?;
    /// # let _ = authenticated_at;
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn now(&self) -> Result<DateTime<Utc>> {
        self.store.now()
    }

    /// Finds the token of a presented secret, if it is valid now: to know whose it is without spending it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) if the binding names a nil UUID.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// # let login = refresh_tokens::Login::new(uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    /// # let issued = service.start_session(&login)?;
    /// use refresh_tokens::Binding;
    ///
    /// let token = service.look_up(issued.secret.expose(), Binding::ANY)?.expect("it is valid");
    /// assert_eq!(token.session_id, issued.token.session_id);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn look_up(&self, presented: &str, binding: Binding) -> Result<Option<RefreshToken>> {
        match self.hash_of(presented) {
            Some(hash) => self.store.get_valid_by_hash(&hash, binding),
            None => Ok(None),
        }
    }

    /// Ends the session of a presented secret: log-out (RFC 7009).
    ///
    /// Any token of the session will do, also one that was spent a moment ago by a refresh that is still under way. A
    /// text that is no secret ends nothing, and that is no error (RFC 7009 §2.2).
    ///
    /// # Errors
    ///
    /// None of its own.
    ///
    /// # Locking
    ///
    /// As [`end_session_by_hash`](crate::RefreshTokenRepository::end_session_by_hash).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// # let login = refresh_tokens::Login::new(uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    /// # let issued = service.start_session(&login)?;
    /// assert_eq!(service.log_out(issued.secret.expose())?.sessions, 1);
    /// assert_eq!(service.log_out("let me out")?.sessions, 0);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn log_out(&self, presented: &str) -> Result<RevocationReport> {
        match self.hash_of(presented) {
            Some(hash) => self.store.with_reason(RevokedReason::LoggedOut).end_session_by_hash(&hash),
            None => Ok(RevocationReport::default()),
        }
    }

    /// Ends one session of a user, chosen from [`list_sessions`](Self::list_sessions), if it is theirs.
    ///
    /// # Errors
    ///
    /// None of its own; a session of somebody else, or one that ended before, is a report of zeros.
    ///
    /// # Locking
    ///
    /// As [`end_session`](crate::RefreshTokenRepository::end_session).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// # let user_id = uuid::Uuid::new_v4();
    /// # let issued = service.start_session(&refresh_tokens::Login::new(user_id, uuid::Uuid::new_v4()))?;
    /// # let session_id = issued.token.session_id;
    /// let somebody_else = uuid::Uuid::new_v4();
    /// assert_eq!(service.end_session_of(somebody_else, session_id)?.sessions, 0);
    /// assert_eq!(service.end_session_of(user_id, session_id)?.sessions, 1);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn end_session_of(&self, user_id: Uuid, session_id: Uuid) -> Result<RevocationReport> {
        if !self.is_session_of("end_session", user_id, session_id)? {
            return Ok(RevocationReport::default());
        }
        self.store.with_reason(RevokedReason::LoggedOut).end_session(session_id)
    }

    /// Ends all sessions of a user but this one: "log out my other devices".
    ///
    /// `None`, and nothing is ended, where no session of the user has this id. Logins of the user that were
    /// authenticated before are refused, as after
    /// [`revoke_all_for_user_except_session`](crate::RefreshTokenRepository::revoke_all_for_user_except_session).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a nil user.
    ///
    /// # Locking
    ///
    /// As there.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// # let (user_id, org_id) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    /// use refresh_tokens::Login;
    ///
    /// let here = service.start_session(&Login::new(user_id, org_id))?.token.session_id;
    /// service.start_session(&Login::new(user_id, org_id))?;
    /// let ended = service.end_other_sessions(user_id, here)?.expect("it is theirs");
    /// assert_eq!(ended.sessions, 1);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn end_other_sessions(&self, user_id: Uuid, session_id: Uuid) -> Result<Option<RevocationReport>> {
        if !self.is_session_of("revoke_all_for_user_except_session", user_id, session_id)? {
            return Ok(None);
        }
        self.store
            .with_reason(RevokedReason::LoggedOut)
            .revoke_all_for_user_except_session(user_id, session_id)
            .map(Some)
    }

    /// Ends all sessions of a user: "log out everywhere".
    ///
    /// Logins of the user that were authenticated before are refused. For another reason than log-out, such as a
    /// password change: [`store`](Self::store), [`with_reason`](crate::RefreshTokenStore::with_reason),
    /// [`revoke_all_for_user`](crate::RefreshTokenStore::revoke_all_for_user).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a nil user.
    ///
    /// # Locking
    ///
    /// As [`revoke_all_for_user`](crate::RefreshTokenRepository::revoke_all_for_user).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// # let (user_id, org_id) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    /// service.start_session(&refresh_tokens::Login::new(user_id, org_id))?;
    /// assert_eq!(service.end_all_sessions(user_id)?.sessions, 1);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn end_all_sessions(&self, user_id: Uuid) -> Result<RevocationReport> {
        self.store.with_reason(RevokedReason::LoggedOut).revoke_all_for_user(user_id)
    }

    /// [`list_sessions`](crate::RefreshTokenRepository::list_sessions): the page where a user sees their devices.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// # let (user_id, org_id) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    /// # let issued = service.start_session(&refresh_tokens::Login::new(user_id, org_id))?;
    /// use refresh_tokens::SessionQuery;
    ///
    /// let page = service.list_sessions(&SessionQuery::of_user(user_id))?;
    /// assert_eq!(page.sessions[0].session_id, issued.token.session_id);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn list_sessions(&self, query: &SessionQuery) -> Result<SessionPage> {
        self.store.list_sessions(query)
    }

    fn hash_of(&self, presented: &str) -> Option<TokenHash> {
        let secret: TokenSecret = presented.parse().ok()?;
        self.peppers.hash(&secret).ok()
    }

    /// Whose a session is never changes, so that what is done afterwards cannot meet somebody else's. The verb is the one
    /// that is counted if no connection is had.
    fn is_session_of(&self, verb: &'static str, user_id: Uuid, session_id: Uuid) -> Result<bool> {
        self.store.retrying_as(verb, |call| Ok(is_session_of(call.conn, user_id, session_id)?))
    }
}
