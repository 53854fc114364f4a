//! The public methods over one connection, by what they are for: here, those that issue and look up.
//!
//! Bodies are short: a decision or a statement belongs to `protocol` or `retention`, and a pool to `store`.

mod exchange;
mod listing;
pub(crate) mod replica;
mod retention;
mod revocation;
mod session_end;
pub(crate) mod transaction;

use std::fmt;

use chrono::{DateTime, Utc};
use diesel::PgConnection;

use crate::db::{Call, now};
use crate::error::Result;
use crate::protocol::{issue::issue, lookup};
use crate::telemetry::{Ids, observed};
use crate::values::{Binding, NewRefreshToken, RefreshToken, RevokedReason, TokenHash};

/// The refresh tokens of a database, through a connection of yours.
///
/// It borrows any `&mut PgConnection`, also a pooled one, and keeps no state: make one wherever you need it.
/// Every verb that writes runs in a transaction: its own, or a savepoint of the one that you have open. Then
/// your COMMIT decides, and a verb that failed leaves your transaction usable.
///
/// Two words of these docs: a user's **gate** is one of 256 rows, which a login, a switch of organisation or a revocation
/// holds until its COMMIT, so that they come one after the other; users who share one wait for each other. A **cutoff**
/// is a row that says when a user, an organisation, a member or everybody was last revoked: logins that were
/// authenticated before it are rejected.
///
/// How long a verb waits is the connection's to say: `SET lock_timeout` and `statement_timeout` on it, or use
/// [`RefreshTokenStore`](crate::RefreshTokenStore), which does. Besides the errors that each verb lists, all can
/// end in [`Error::Busy`](crate::Error::Busy), [`Error::Conflict`](crate::Error::Conflict), [`Error::ConnectionLost`](crate::Error::ConnectionLost), [`Error::SchemaMissing`](crate::Error::SchemaMissing),
/// [`Error::SchemaMismatch`](crate::Error::SchemaMismatch), [`Error::UnreadableRow`](crate::Error::UnreadableRow),
/// [`Error::PermissionDenied`](crate::Error::PermissionDenied) and [`Error::Database`](crate::Error::Database), and all that
/// write in [`Error::ReadOnly`](crate::Error::ReadOnly) and [`Error::DiskFull`](crate::Error::DiskFull).
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # fn main() -> Result<(), refresh_tokens::Error> {
/// # let mut conn = connection();
/// use refresh_tokens::{Binding, RefreshTokenRepository, Rotation};
///
/// let mut tokens = RefreshTokenRepository::new(&mut conn);
/// let token = tokens.create(&new_token())?;
/// let outcome = tokens.rotate(&token.token_hash, &successor(), Binding::user(token.user_id))?;
/// assert!(matches!(outcome, Rotation::Rotated(_)));
/// # Ok(())
/// # }
/// ```
pub struct RefreshTokenRepository<'conn> {
    call: Call<'conn>,
}

impl<'conn> RefreshTokenRepository<'conn> {
    /// A repository over this connection.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// use refresh_tokens::RefreshTokenRepository;
    ///
    /// let mut tokens = RefreshTokenRepository::new(&mut conn);
    /// assert!(tokens.get_by_hash(&fresh_hash())?.is_none());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn new(conn: &'conn mut PgConnection) -> Self {
        Self::of(Call { conn, reason: None })
    }

    pub(crate) fn of(call: Call<'conn>) -> Self {
        Self { call }
    }

    pub(crate) fn call(&mut self) -> &mut Call<'conn> {
        &mut self.call
    }

    /// The same repository with a reason for what it revokes, instead of each verb's own.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let session_id = tokens.create(&new_token())?.session_id;
    /// use refresh_tokens::RevokedReason;
    ///
    /// let report = tokens.with_reason(RevokedReason::LoggedOut).revoke_session(session_id)?;
    /// assert_eq!(report.sessions, 1);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    #[must_use = "it is another handle of the same connection"]
    pub fn with_reason(&mut self, reason: RevokedReason) -> RefreshTokenRepository<'_> {
        RefreshTokenRepository::of(Call { conn: self.call.conn, reason: Some(reason) })
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        self.call().conn
    }

    /// Issues the first token of a new session.
    ///
    /// It expires at `expires_at` or at the end of its session, whichever is first. Tell it when the user was
    /// authenticated ([`SessionOptions::authenticated_at`](crate::SessionOptions::authenticated_at)), and a revocation of the
    /// user, the organisation or everybody that came between cannot miss the session, whatever the order of events.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a nil id, or an expiry that is not in the future of the database's clock or
    /// lies after [`MAX_EXPIRY`](crate::MAX_EXPIRY), or an authentication that is; [`Error::RevokedSinceLogin`](crate::Error::RevokedSinceLogin);
    /// [`Error::DuplicateId`](crate::Error::DuplicateId); [`Error::DuplicateHash`](crate::Error::DuplicateHash); with a [`limit`](crate::SessionOptions::limit)
    /// [`Error::TooManySessions`](crate::Error::TooManySessions), and [`Error::IsolationTooHigh`](crate::Error::IsolationTooHigh) in a transaction of yours above READ COMMITTED.
    /// Nothing is written then, and no session ended.
    ///
    /// # Locking
    ///
    /// None, if it is neither told when the user was authenticated nor given a limit; else the user's gate, until the end
    /// of the transaction: yours, if you have one open. A limit that ends a session then locks its live token. A
    /// revocation or login that holds it is waited for, of this user or of the 1 in 256 who have the same one. A concurrent insert of the same id or hash is waited for, too. In a transaction of yours, call
    /// it before you rotate or revoke a single token.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// use chrono::{Duration, Utc};
    /// use refresh_tokens::{NewRefreshToken, SessionOptions, RefreshTokenRepository};
    /// use uuid::Uuid;
    ///
    /// # let (user_id, org_id, token_hash) = (Uuid::new_v4(), Uuid::new_v4(), fresh_hash());
    /// let token = RefreshTokenRepository::new(&mut conn).create(&NewRefreshToken {
    ///     id: Uuid::new_v4(),
    ///     user_id,
    ///     token_hash,
    ///     active_org_id: org_id,
    ///     expires_at: Utc::now() + Duration::days(30),
    ///     session: SessionOptions::default(),
    /// })?;
    /// println!("session {} has begun", token.session_id);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn create(&mut self, new: &NewRefreshToken) -> Result<RefreshToken> {
        observed("create", Ids::user(new.user_id).and(Ids::org(new.active_org_id)).and(Ids::token(new.id)), || {
            issue(self.call.conn, new)
        })
    }

    /// The database's clock (UTC), by which everything is judged.
    ///
    /// Read it before you check a user's credentials, for
    /// [`SessionOptions::authenticated_at`](crate::SessionOptions::authenticated_at).
    ///
    /// # Errors
    ///
    /// None of its own.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// let token = tokens.create(&new_token())?;
    /// assert!(token.created_at < tokens.now()?);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn now(&mut self) -> Result<DateTime<Utc>> {
        observed("now", Ids::NONE, || Ok(now(self.call.conn)?))
    }

    /// Finds a token by its hash, also a rotated, revoked or expired one: for audits.
    ///
    /// # Errors
    ///
    /// None of its own.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let hash = tokens.create(&new_token())?.token_hash;
    /// if let Some(token) = tokens.get_by_hash(&hash)? {
    ///     println!("{:?} since {}", token.state(chrono::Utc::now()), token.created_at);
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn get_by_hash(&mut self, hash: &TokenHash) -> Result<Option<RefreshToken>> {
        observed("get_by_hash", Ids::NONE, || Ok(lookup::find(self.call.conn, hash)?))
    }

    /// Finds a token by its hash if it is valid now: not rotated, revoked or expired, and bound as asked.
    ///
    /// It may end in the next moment. To spend it, [`rotate`](Self::rotate) it: that decides anew.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) if the binding names a nil UUID.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let token = tokens.create(&new_token())?;
    /// # let (hash, user_id, org_id) = (token.token_hash, token.user_id, token.active_org_id);
    /// use refresh_tokens::Binding;
    ///
    /// let valid = tokens.get_valid_by_hash(&hash, Binding::user(user_id).org(org_id))?;
    /// assert!(valid.is_some());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn get_valid_by_hash(&mut self, hash: &TokenHash, binding: Binding) -> Result<Option<RefreshToken>> {
        observed("get_valid_by_hash", Ids::bound(binding), || lookup::find_valid(self.call.conn, hash, binding))
    }

    /// Finds a token by its hash if it has been rotated, which means that presenting it now is reuse.
    ///
    /// Here for code that comes from the [Python service](crate::guide::python_service): new code calls
    /// [`redeem`](Self::redeem), which notices reuse and responds to it in one call.
    ///
    /// Also where it was revoked or has expired since. The breach response to it is
    /// [`revoke_token_chain`](Self::revoke_token_chain); [`rotate`](Self::rotate) reports the same as
    /// [`Refusal::Reused`](crate::Refusal::Reused). See RFC 9700 §4.14.2.
    ///
    /// # Errors
    ///
    /// None of its own.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let hash = tokens.create(&new_token())?.token_hash;
    /// # let _ = tokens.rotate(&hash, &successor(), refresh_tokens::Binding::ANY)?;
    /// if let Some(stale) = tokens.check_token_reuse(&hash)? {
    ///     tokens.revoke_token_chain(stale.id)?;
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn check_token_reuse(&mut self, hash: &TokenHash) -> Result<Option<RefreshToken>> {
        observed("check_token_reuse", Ids::NONE, || Ok(lookup::find_rotated(self.call.conn, hash)?))
    }
}

impl fmt::Debug for RefreshTokenRepository<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokenRepository").finish_non_exhaustive()
    }
}
