//! The public verbs over one connection: issue, look up, rotate, list. `ending` has those that end tokens.

mod ending;

use std::fmt;

use diesel::prelude::*;
use uuid::Uuid;

use crate::binding::Binding;
use crate::error::{Error, Result};
use crate::input::not_nil;
use crate::models::{NewRefreshToken, RefreshToken, Successor};
use crate::outcome::Rotation;
use crate::rotation;
use crate::rotation::has_not_expired;
use crate::schema::refresh_tokens;
use crate::statement::Create;
use crate::token_hash::TokenHash;
use crate::transaction::{self, TokenTransaction};

/// The refresh tokens of a database, through a connection of yours.
///
/// It borrows any `&mut PgConnection`, also a pooled one, and keeps no state: make one wherever you need it.
/// Every verb that writes runs in a transaction: its own, or a savepoint of the one that you have open. Then
/// your COMMIT decides, and a verb that failed leaves your transaction usable.
///
/// How long a verb waits is the connection's to say: `SET lock_timeout` and `statement_timeout` on it, or use
/// [`RefreshTokenStore`](crate::RefreshTokenStore), which does. Besides the errors that each verb lists, all can
/// end in [`Error::Busy`], [`Error::Conflict`], [`Error::ConnectionLost`], [`Error::SchemaMissing`],
/// [`Error::UnreadableRow`] and [`Error::Database`].
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
    conn: &'conn mut PgConnection,
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
        Self { conn }
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        self.conn
    }

    /// Issues the first token of a new session.
    ///
    /// It expires at `expires_at` or at the end of its session, whichever is first.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a nil id, or an expiry that is not in the future of the database's clock or
    /// lies after [`MAX_EXPIRY`](crate::MAX_EXPIRY); [`Error::DuplicateId`]; [`Error::DuplicateHash`]. Nothing
    /// is written then.
    ///
    /// # Locking
    ///
    /// None. A concurrent insert of the same id or hash is waited for.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// use chrono::{Duration, Utc};
    /// use refresh_tokens::{NewRefreshToken, NewSession, RefreshTokenRepository};
    /// use uuid::Uuid;
    ///
    /// # let (user_id, org_id, token_hash) = (Uuid::new_v4(), Uuid::new_v4(), fresh_hash());
    /// let token = RefreshTokenRepository::new(&mut conn).create(&NewRefreshToken {
    ///     id: Uuid::new_v4(),
    ///     user_id,
    ///     token_hash,
    ///     active_org_id: org_id,
    ///     expires_at: Utc::now() + Duration::days(30),
    ///     session: NewSession::default(),
    /// })?;
    /// println!("session {} has begun", token.session_id);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn create(&mut self, new: &NewRefreshToken) -> Result<RefreshToken> {
        new.check()?;
        self.conn.transaction(|conn| {
            let written = Create(new).get_result(conn).optional()?;
            written.ok_or_else(|| new.born_expired().into())
        })
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
        Ok(rotation::find(self.conn, hash)?)
    }

    /// Finds a token by its hash if it is valid now: not rotated, revoked or expired, and bound as asked.
    ///
    /// It may end in the next moment. To spend it, [`rotate`](Self::rotate) it: that decides anew.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if the binding names a nil UUID.
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
        binding.check()?;
        let found = refresh_tokens::table
            .filter(refresh_tokens::token_hash.eq(hash))
            .filter(refresh_tokens::revoked_at.is_null())
            .filter(refresh_tokens::rotated_to.is_null())
            .filter(has_not_expired())
            .select(RefreshToken::as_select())
            .first(self.conn)
            .optional()?;
        Ok(found.filter(|token| binding.matches(token)))
    }

    /// Finds a token by its hash if it has been rotated, which means that presenting it now is reuse.
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
        let found = refresh_tokens::table
            .filter(refresh_tokens::token_hash.eq(hash))
            .filter(refresh_tokens::rotated_to.is_not_null())
            .select(RefreshToken::as_select())
            .first(self.conn)
            .optional()?;
        Ok(found)
    }

    /// Spends a presented token and issues its successor, or says why not.
    ///
    /// A token is rotated at most once: of two who present it, one gets a successor and the other
    /// [`Refusal::Reused`](crate::Refusal::Reused). A refusal changes nothing; the breach response is the
    /// caller's, with [`revoke_token_chain`](Self::revoke_token_chain). RFC 6749 §6, RFC 9700 §4.14.2.
    ///
    /// **Sent again** with the same successor id and hash, after [`Error::ConnectionLost`], it answers with the
    /// successor that it had made, as long as that one is live. Of a successor that was revoked or has expired
    /// meanwhile it says so; one that was used meanwhile did arrive, so that is reuse.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a nil id in successor or binding, or a successor's expiry that is not in the
    /// future of the database's clock or lies after [`MAX_EXPIRY`](crate::MAX_EXPIRY); [`Error::DuplicateId`]
    /// and [`Error::DuplicateHash`] if another token has the successor's. The presented token can still be
    /// rotated then.
    ///
    /// # Locking
    ///
    /// If a row is found that is neither rotated nor revoked, it is locked (`FOR UPDATE`) until the end of the
    /// transaction: its own, or yours. A spent one is only read. Expiry is judged by the database's clock after the lock is held.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let token = tokens.create(&new_token())?;
    /// # let (presented, user_id) = (token.token_hash, token.user_id);
    /// # let (new_id, new_hash, expires_at) = (uuid::Uuid::new_v4(), fresh_hash(), in_days(30));
    /// use refresh_tokens::{Binding, Refusal, Rotation, Successor};
    ///
    /// match tokens.rotate(&presented, &Successor::new(new_id, new_hash, expires_at), Binding::user(user_id))? {
    ///     Rotation::Rotated(token) => println!("the session lives until {}", token.expires_at),
    ///     Rotation::Refused(Refusal::Reused(stale)) => println!("reuse in session {}", stale.session_id),
    ///     Rotation::Refused(_) => println!("invalid_grant"),
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    ///
    /// # Example: the answer was lost
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let presented = tokens.create(&new_token())?.token_hash;
    /// # use refresh_tokens::Binding;
    /// let successor = successor();
    /// let lost = tokens.rotate(&presented, &successor, Binding::ANY)?;
    /// let again = tokens.rotate(&presented, &successor, Binding::ANY)?;
    /// assert_eq!(lost, again);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn rotate(&mut self, presented: &TokenHash, successor: &Successor, binding: Binding) -> Result<Rotation> {
        rotation::rotate(self.conn, presented, successor, binding)
    }

    /// Runs a closure in a transaction, so that a rotation and the host's own writes stand or fall together.
    ///
    /// COMMIT if it returns `Ok`, ROLLBACK if it returns `Err`; a savepoint if a transaction is open. `?` works on
    /// the host's Diesel queries; for an error type of the host's own, see [`transaction_with`](Self::transaction_with).
    ///
    /// # Errors
    ///
    /// What the closure returns; [`Error::Aborted`] if it returned `Ok` although a statement had failed.
    ///
    /// # Locking
    ///
    /// What the verbs in it lock stays locked to its end, so keep it short.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # diesel::sql_query("CREATE TABLE audit (token_id uuid)").execute(&mut *conn)?;
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let presented = tokens.create(&new_token())?.token_hash;
    /// # let successor = successor();
    /// use diesel::sql_types::Uuid;
    /// use refresh_tokens::Binding;
    ///
    /// let rotated = tokens.transaction(|tx| {
    ///     let Some(locked) = tx.get_valid_for_rotation(&presented, Binding::ANY)? else { return Ok(None) };
    ///     let token = locked.rotate_to(&successor)?;
    ///     diesel::sql_query("INSERT INTO audit VALUES ($1)")
    ///         .bind::<Uuid, _>(token.id)
    ///         .execute(tx.connection())?;
    ///     Ok(Some(token))
    /// })?;
    /// assert!(rotated.is_some());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn transaction<T>(&mut self, work: impl FnOnce(&mut TokenTransaction<'_>) -> Result<T>) -> Result<T> {
        self.transaction_with(work)
    }

    /// [`transaction`](Self::transaction) with an error type of the host's own.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Locking
    ///
    /// As there.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let user_id = tokens.create(&new_token())?.user_id;
    /// #[derive(Debug)]
    /// enum AppError {
    ///     Tokens(refresh_tokens::Error),
    ///     Suspended,
    /// }
    ///
    /// impl From<refresh_tokens::Error> for AppError {
    ///     fn from(error: refresh_tokens::Error) -> Self {
    ///         Self::Tokens(error)
    ///     }
    /// }
    ///
    /// let outcome = tokens.transaction_with(|tx| {
    ///     tx.revoke_all_for_user(user_id)?;
    ///     Err::<(), _>(AppError::Suspended)
    /// });
    /// assert!(matches!(outcome, Err(AppError::Suspended)));
    /// assert_eq!(tokens.get_active_tokens_for_user(user_id)?.len(), 1, "all was rolled back");
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn transaction_with<T, E>(
        &mut self,
        work: impl FnOnce(&mut TokenTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<Error>,
    {
        transaction::run(self.conn, work)
    }

    /// Lists the tokens of a user that are valid now, newest first: one for each live session.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for the nil UUID.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let user_id = tokens.create(&new_token())?.user_id;
    /// for token in tokens.get_active_tokens_for_user(user_id)? {
    ///     println!("session {} in org {}, last used {}", token.session_id, token.active_org_id, token.created_at);
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn get_active_tokens_for_user(&mut self, user_id: Uuid) -> Result<Vec<RefreshToken>> {
        not_nil("user_id", user_id)?;
        let active = refresh_tokens::table
            .filter(refresh_tokens::user_id.eq(user_id))
            .filter(refresh_tokens::revoked_at.is_null())
            .filter(refresh_tokens::rotated_to.is_null())
            .filter(has_not_expired())
            .order((refresh_tokens::created_at.desc(), refresh_tokens::id))
            .select(RefreshToken::as_select())
            .load(self.conn)?;
        Ok(active)
    }
}

impl fmt::Debug for RefreshTokenRepository<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokenRepository").finish_non_exhaustive()
    }
}
