//! The lock on a presented token that a host holds while it does its own work: the reference's `get_valid_for_rotation`.

use std::fmt;

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use crate::db::{Stop, now, unless_stopped};
use crate::error::{Error, Result};
use crate::protocol::gate::{self, OrgSwitch};
use crate::protocol::rotate::{lock_presented, write_successor};
use crate::telemetry::{Ids, observed};
use crate::values::{Binding, RefreshToken, Refusal, Successor, TokenHash};

/// A locked token, and the clock by which it was judged to be valid.
pub(crate) type Judged = (RefreshToken, DateTime<Utc>);

/// Locks a token that may be rotated, until the end of the transaction; a refusal keeps no lock.
pub(crate) fn lock_valid(
    conn: &mut PgConnection,
    presented: &TokenHash,
    binding: Binding,
) -> Result<Result<Judged, Refusal>> {
    binding.check()?;
    let outcome = unless_stopped(conn, |conn, _| {
        let refused = |refusal| Stop::Return(Box::new(refusal));
        let token = lock_presented(conn, presented, binding)?.map_err(refused)?;
        let judged_at = now(conn)?;
        if token.ends_at() <= judged_at { Err(refused(Refusal::Expired(token))) } else { Ok((token, judged_at)) }
    })?;
    Ok(outcome.map_err(|refusal| *refusal))
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

impl<'tx> LockedToken<'tx> {
    /// The guard of what [`lock_valid`] has locked on this connection.
    pub(crate) fn new(conn: &'tx mut PgConnection, (token, judged_at): Judged) -> Self {
        Self { conn, token, judged_at }
    }

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
    /// [`Error::Conflict`] if somebody else holds the user's gate ([`rotate`](crate::RefreshTokenRepository::rotate) waits
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
            match gate::check_org_switch(conn, &token, successor)? {
                OrgSwitch::Allowed => {}
                OrgSwitch::CutOff => return Err(Error::RevokedSinceLogin),
                OrgSwitch::WouldBlock => return Err(Error::Conflict),
            }
            write_successor(conn, &token, successor, Some(judged_at))?.ok_or(Error::LockedTokenSpent)
        })
    }
}

impl fmt::Debug for LockedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedToken").field("token", &self.token).finish_non_exhaustive()
    }
}
