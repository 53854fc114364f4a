//! A transaction around several methods and the host's own writes.

use std::fmt;
use std::ops::{Deref, DerefMut};

use diesel::prelude::*;

use crate::db::{Call, in_default_isolation};
use crate::error::{Error, Result};
use crate::protocol::locked_token::{LockedToken, lock_valid};
use crate::repository::RefreshTokenRepository;
use crate::telemetry::{Ids, observed};
use crate::values::{Binding, TokenHash};

/// Runs `work` in a transaction, or in a savepoint if one is open.
pub(crate) fn run<T, E>(call: Call<'_>, work: impl FnOnce(&mut TokenTransaction<'_>) -> Result<T, E>) -> Result<T, E>
where
    E: From<Error>,
{
    let Call { conn, reason } = call;
    in_default_isolation(conn, |conn, _| {
        let value = work(&mut TokenTransaction { tokens: RefreshTokenRepository::of(Call { conn, reason }) })?;
        // COMMIT of a transaction that a swallowed error has aborted is a ROLLBACK that reports success.
        let probe = diesel::select(diesel::dsl::sql::<diesel::sql_types::Bool>("true")).execute(conn);
        probe.map_err(Error::of_transaction)?;
        Ok(value)
    })
}

/// An open transaction: every verb of the repository, the connection, and the lock on a presented token.
///
/// Made by [`RefreshTokenRepository::transaction`].
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
/// # let user_id = tokens.create(&new_token())?.user_id;
/// // A password change and the end of all sessions: both, or neither. The revocation last, because the old password is
/// // good until COMMIT, and who is authenticated with it after this call is let in.
/// tokens.transaction(|tx| {
///     diesel::sql_query("SELECT 1 /* UPDATE users SET password = … */").execute(tx.connection())?;
///     tx.revoke_all_for_user(user_id)
/// })?;
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
pub struct TokenTransaction<'conn> {
    tokens: RefreshTokenRepository<'conn>,
}

impl TokenTransaction<'_> {
    /// The connection, for the host's own writes in the same transaction.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # diesel::sql_query("CREATE TABLE audit (note text)").execute(&mut *conn)?;
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// tokens.transaction(|tx| {
    ///     let token = tx.create(&new_token())?;
    ///     diesel::sql_query("INSERT INTO audit VALUES ('login')").execute(tx.connection())?;
    ///     Ok(token)
    /// })?;
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn connection(&mut self) -> &mut PgConnection {
        self.tokens.connection()
    }

    /// Locks a token and returns it as a guard, if it may be rotated.
    ///
    /// Here for code that comes from the [Python service](crate::guide::python_service), and for work of yours
    /// between the lock and the successor. Where there is none, call [`redeem`](RefreshTokenRepository::redeem).
    ///
    /// `None` where [`rotate`](RefreshTokenRepository::rotate) would refuse it; call that if you want to know
    /// why, or [`check_token_reuse`](RefreshTokenRepository::check_token_reuse) for the one reason that calls
    /// for a response.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if the binding names a nil UUID; [`Error::Busy`] if the lock is not had in
    /// time. Return an error from the closure: the transaction cannot go on after it.
    ///
    /// # Locking
    ///
    /// The token is locked (`FOR UPDATE`) until the end of the outermost transaction; where the answer is `None`, no
    /// lock is kept. Expiry is judged by the database's clock after the lock is held.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let presented = tokens.create(&new_token())?.token_hash;
    /// use refresh_tokens::{Binding, Error};
    ///
    /// let rotated = tokens.transaction(|tx| {
    ///     let Some(locked) = tx.get_valid_for_rotation(&presented, Binding::ANY)? else {
    ///         return Ok(None);
    ///     };
    ///     locked.rotate_to(&successor()).map(Some)
    /// })?;
    /// assert!(rotated.is_some());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get_valid_for_rotation(
        &mut self,
        presented: &TokenHash,
        binding: Binding,
    ) -> Result<Option<LockedToken<'_>>> {
        let conn = self.tokens.connection();
        let judged = observed("get_valid_for_rotation", Ids::bound(binding), || lock_valid(conn, presented, binding))?;
        Ok(judged.ok().map(|judged| LockedToken::new(conn, judged)))
    }
}

/// A transaction has all the verbs of the repository; each of them runs in a savepoint of it.
impl<'conn> Deref for TokenTransaction<'conn> {
    type Target = RefreshTokenRepository<'conn>;

    fn deref(&self) -> &Self::Target {
        &self.tokens
    }
}

impl DerefMut for TokenTransaction<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.tokens
    }
}

impl fmt::Debug for TokenTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenTransaction").finish_non_exhaustive()
    }
}
