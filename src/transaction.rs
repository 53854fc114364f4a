//! A transaction around several verbs and the host's own writes, and the guard of a locked token.

use std::fmt;
use std::ops::{Deref, DerefMut};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::binding::Binding;
use crate::error::{Error, Result};
use crate::isolation::{in_any_isolation, in_default_isolation};
use crate::models::RefreshToken;
use crate::observe::{Ids, observed};
use crate::outcome::Refusal;
use crate::repository::RefreshTokenRepository;
use crate::revoked_reason::RevokedReason;
use crate::rotation::{self, Entry};
use crate::successor::Successor;
use crate::token_hash::TokenHash;

/// Runs `work` in a transaction, or in a savepoint if one is open.
pub(crate) fn run<T, E>(
    conn: &mut PgConnection,
    reason: Option<RevokedReason>,
    work: impl FnOnce(&mut TokenTransaction<'_>) -> Result<T, E>,
) -> Result<T, E>
where
    E: From<Error>,
{
    in_default_isolation(conn, |conn, _| {
        let value = work(&mut TokenTransaction { tokens: RefreshTokenRepository::revoking_for(conn, reason) })?;
        // COMMIT of a transaction that a swallowed error has aborted is a ROLLBACK that reports success.
        diesel::select(diesel::dsl::sql::<diesel::sql_types::Bool>("true")).execute(conn).map_err(aborted_or)?;
        Ok(value)
    })
}

fn aborted_or(error: DieselError) -> Error {
    match Error::from(error) {
        Error::Database { message } if message.starts_with("current transaction is aborted") => Error::Aborted,
        other => other,
    }
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
        observed("get_valid_for_rotation", Ids::bound(binding), || lock(conn, presented, binding)).map(Result::ok)
    }
}

fn lock<'tx>(
    conn: &'tx mut PgConnection,
    presented: &TokenHash,
    binding: Binding,
) -> Result<Result<LockedToken<'tx>, Refusal>> {
    binding.check()?;
    // A savepoint, to give the lock back: PostgreSQL keeps it on a row that no longer qualifies after the wait.
    let locked = in_any_isolation(conn, |conn, _| {
        let token = rotation::lock(conn, presented, binding)?.map_err(NotValid::refused)?;
        let judged_at = rotation::now(conn)?;
        if token.ends_at() <= judged_at {
            Err(NotValid::refused(Refusal::Expired(token)))
        } else {
            Ok((token, judged_at))
        }
    });
    match locked {
        Ok((token, judged_at)) => Ok(Ok(LockedToken { conn, token, judged_at })),
        Err(NotValid::Refused(refusal)) => Ok(Err(*refusal)),
        Err(NotValid::Failed(error)) => Err(error),
    }
}

enum NotValid {
    Refused(Box<Refusal>),
    Failed(Error),
}

impl NotValid {
    fn refused(why: Refusal) -> Self {
        Self::Refused(Box::new(why))
    }
}

impl<E: Into<Error>> From<E> for NotValid {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
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

/// A valid token whose row this transaction has locked: nobody else can rotate or revoke it meanwhile.
///
/// [`rotate_to`](Self::rotate_to) consumes it, so a token cannot be rotated twice; it borrows the transaction,
/// so it cannot be kept beyond it. Dropping it leaves the token as it was, locked until the transaction ends.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # use refresh_tokens::{Binding, Error, RefreshTokenRepository};
/// # let mut conn = connection();
/// # let mut tokens = RefreshTokenRepository::new(&mut conn);
/// # let presented = tokens.create(&new_token())?.token_hash;
/// let rotated = tokens.transaction(|tx| {
///     let Some(locked) = tx.get_valid_for_rotation(&presented, Binding::ANY)? else { return Ok(None) };
///     let token = locked.rotate_to(&successor())?;
///     Ok(Some(token))
/// })?;
/// # assert!(rotated.is_some());
/// # Ok::<(), Error>(())
/// ```
///
/// Rotating twice does not compile:
///
/// ```compile_fail,E0382
/// # use refresh_tokens_support::doc::*;
/// # use refresh_tokens::{Binding, Error, RefreshTokenRepository};
/// # let mut conn = connection();
/// # let mut tokens = RefreshTokenRepository::new(&mut conn);
/// # let presented = tokens.create(&new_token())?.token_hash;
/// let rotated = tokens.transaction(|tx| {
///     let Some(locked) = tx.get_valid_for_rotation(&presented, Binding::ANY)? else { return Ok(None) };
///     let token = locked.rotate_to(&successor())?;
///     let token = locked.rotate_to(&successor())?;
///     Ok(Some(token))
/// })?;
/// # assert!(rotated.is_some());
/// # Ok::<(), Error>(())
/// ```
///
/// Nor does taking the guard out of the transaction:
///
/// ```compile_fail
/// # use refresh_tokens_support::doc::*;
/// # use refresh_tokens::{Binding, Error, RefreshTokenRepository};
/// # let mut conn = connection();
/// # let mut tokens = RefreshTokenRepository::new(&mut conn);
/// # let presented = tokens.create(&new_token())?.token_hash;
/// let rotated = tokens.transaction(|tx| {
///     let Some(locked) = tx.get_valid_for_rotation(&presented, Binding::ANY)? else { return Ok(None) };
///     Ok(Some(locked))
/// })?;
/// # assert!(rotated.is_some());
/// # Ok::<(), Error>(())
/// ```
#[must_use = "dropping it rotates nothing, and the row stays locked until the transaction ends"]
pub struct LockedToken<'tx> {
    conn: &'tx mut PgConnection,
    token: RefreshToken,
    judged_at: DateTime<Utc>,
}

impl LockedToken<'_> {
    /// The locked row.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let created = tokens.create(&new_token())?;
    /// # use refresh_tokens::{Binding, Error};
    /// tokens.transaction(|tx| {
    ///     let locked = tx.get_valid_for_rotation(&created.token_hash, Binding::ANY)?;
    ///     assert_eq!(locked.expect("it is valid").token().id, created.id);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn token(&self) -> &RefreshToken {
        &self.token
    }

    /// The connection, for the host's own reads and writes while the token is locked.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let presented = tokens.create(&new_token())?.token_hash;
    /// # use refresh_tokens::{Binding, Error};
    /// tokens.transaction(|tx| {
    ///     let locked = tx.get_valid_for_rotation(&presented, Binding::ANY)?;
    ///     let mut locked = locked.expect("it is valid");
    ///     diesel::sql_query("SELECT 1 /* is the account suspended? */").execute(locked.connection())?;
    ///     locked.rotate_to(&successor())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn connection(&mut self) -> &mut PgConnection {
        self.conn
    }

    /// Writes the successor and spends this token, in one statement.
    ///
    /// The token was valid when it was locked, and that counts: an expiry since then, while the host did its
    /// own work, does not refuse it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a nil id or an expiry that is not in the future of the database's clock;
    /// [`Error::DuplicateId`] and [`Error::DuplicateHash`]; where it switches the organisation,
    /// [`Error::RevokedSinceLogin`] if that, or the user in it, was revoked since the session began, and
    /// [`Error::Conflict`] if somebody else holds the user's gate ([`rotate`](RefreshTokenRepository::rotate) waits
    /// for it instead); [`Error::LockedTokenSpent`] if this transaction itself
    /// revoked or rotated the token after it had locked it. Return an error from the closure: the transaction
    /// cannot go on after it.
    ///
    /// # Locking
    ///
    /// None beyond the lock that is held, and where it switches the organisation the user's gate, which it does not wait for. A concurrent
    /// insert of the same id or hash is waited for.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let created = tokens.create(&new_token())?;
    /// # use refresh_tokens::{Binding, Error};
    /// let rotated = tokens.transaction(|tx| {
    ///     let locked = tx.get_valid_for_rotation(&created.token_hash, Binding::ANY)?;
    ///     locked.expect("it is valid").rotate_to(&successor())
    /// })?;
    /// assert_eq!(rotated.session_id, created.session_id);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn rotate_to(self, successor: &Successor) -> Result<RefreshToken> {
        let Self { conn, token, judged_at } = self;
        observed("rotate_to", Ids::from(&token), || {
            successor.check()?;
            match rotation::entry(conn, &token, successor)? {
                Entry::Free => {}
                Entry::Barred => return Err(Error::RevokedSinceLogin),
                Entry::GateShut => return Err(Error::Conflict),
            }
            rotation::write_successor(conn, &token, successor, Some(judged_at))?.ok_or(Error::LockedTokenSpent)
        })
    }
}

impl fmt::Debug for LockedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedToken").field("token", &self.token).finish_non_exhaustive()
    }
}
