//! The verbs that end tokens: revoke and clean up.

use uuid::Uuid;

use crate::error::Result;
use crate::input::not_nil;
use crate::repository::RefreshTokenRepository;
use crate::token_hash::TokenHash;
use crate::{retention, revocation};

impl RefreshTokenRepository<'_> {
    /// Revokes a token and all that descend from it: the breach response to reuse.
    ///
    /// Forward only: what came before it in the session is left as it is. Whatever runs beside it, once it is
    /// committed no token of the chain, and none that was being born from it, is valid again. A link that
    /// clean-up has deleted does not end the walk. Returns how many rows it revoked; 0 if the id is unknown.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for the nil UUID. [`Error::IsolationTooHigh`](crate::Error::IsolationTooHigh)
    /// inside a transaction of yours above READ COMMITTED.
    ///
    /// # Locking
    ///
    /// Every unrevoked row of the chain, oldest first; a rotation in flight is waited for.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let first = tokens.create(&new_token())?;
    /// # let _ = tokens.rotate(&first.token_hash, &successor(), refresh_tokens::Binding::ANY)?;
    /// assert_eq!(tokens.revoke_token_chain(first.id)?, 2);
    /// assert_eq!(tokens.revoke_token_chain(first.id)?, 0);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_token_chain(&mut self, token_id: Uuid) -> Result<usize> {
        not_nil("token_id", token_id)?;
        revocation::revoke_chain(self.conn, token_id)
    }

    /// Revokes one token by its id; whether it did.
    ///
    /// `false` if the id is unknown or the token was revoked already. This ends the row, not the session: of a
    /// token that has been rotated, or is just being rotated, the successor lives on. To log out, use
    /// [`revoke_token_chain`](Self::revoke_token_chain), which ends what descends from it too.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for the nil UUID.
    ///
    /// # Locking
    ///
    /// The row, until the end of the transaction.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let id = tokens.create(&new_token())?.id;
    /// assert!(tokens.revoke(id)?);
    /// assert!(!tokens.revoke(id)?);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke(&mut self, token_id: Uuid) -> Result<bool> {
        not_nil("token_id", token_id)?;
        revocation::revoke_by_id(self.conn, token_id)
    }

    /// Revokes one token by its hash; whether it did.
    ///
    /// As [`revoke`](Self::revoke), for a caller who has the presented token and not its id; and like it, this is
    /// not yet a log-out.
    ///
    /// # Example: log out (RFC 7009 §2.1)
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let presented = tokens.create(&new_token())?.token_hash;
    /// // Whatever refresh runs at this moment, it does not outlive this.
    /// if let Some(token) = tokens.get_by_hash(&presented)? {
    ///     tokens.revoke_token_chain(token.id)?;
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None of its own.
    ///
    /// # Locking
    ///
    /// The row, until the end of the transaction.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let hash = tokens.create(&new_token())?.token_hash;
    /// assert!(tokens.revoke_by_hash(&hash)?);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_by_hash(&mut self, hash: &TokenHash) -> Result<bool> {
        revocation::revoke_by_hash(self.conn, hash)
    }

    /// Revokes every token of a user: log out everywhere, password change, account compromise.
    ///
    /// Whatever runs beside it, once it is committed no token that the user had, and none that was being born
    /// from one, is valid again. A login that began before it and inserts after it is not seen. Returns how
    /// many rows it revoked, rotated and expired ones included.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for the nil UUID. [`Error::IsolationTooHigh`](crate::Error::IsolationTooHigh)
    /// inside a transaction of yours above READ COMMITTED.
    ///
    /// # Locking
    ///
    /// Every unrevoked row of the user, oldest first; a rotation in flight is waited for.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let user_id = tokens.create(&new_token())?.user_id;
    /// assert_eq!(tokens.revoke_all_for_user(user_id)?, 1);
    /// assert!(tokens.get_active_tokens_for_user(user_id)?.is_empty());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_all_for_user(&mut self, user_id: Uuid) -> Result<usize> {
        not_nil("user_id", user_id)?;
        revocation::revoke_user(self.conn, user_id, None)
    }

    /// Revokes every token of a user but the live one of a session: log out all other devices.
    ///
    /// `keep_token_id` names a token of the session to keep. If it has been rotated meanwhile, the session's
    /// live token is kept, not the spent one. An unknown id keeps nothing. Returns how many rows it revoked,
    /// rotated and expired ones included.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a nil UUID. [`Error::IsolationTooHigh`](crate::Error::IsolationTooHigh)
    /// inside a transaction of yours above READ COMMITTED.
    ///
    /// # Locking
    ///
    /// As [`revoke_all_for_user`](Self::revoke_all_for_user), without the token that is kept.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # use refresh_tokens::NewRefreshToken;
    /// let here = tokens.create(&new_token())?;
    /// let there = tokens.create(&NewRefreshToken { user_id: here.user_id, ..new_token() })?;
    /// assert_eq!(tokens.revoke_all_for_user_except(here.user_id, here.id)?, 1);
    /// assert_eq!(tokens.get_active_tokens_for_user(here.user_id)?, [here]);
    /// # let _ = there;
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_all_for_user_except(&mut self, user_id: Uuid, keep_token_id: Uuid) -> Result<usize> {
        not_nil("user_id", user_id)?;
        not_nil("keep_token_id", keep_token_id)?;
        revocation::revoke_user(self.conn, user_id, Some(keep_token_id))
    }

    /// Deletes the tokens that expired more than so many days ago; how many.
    ///
    /// It goes by batches of 1,000 rows, each in a short transaction of its own; called inside a transaction of
    /// yours, that holds them all. Rows that others have locked are left for the next time, so any number of
    /// workers may run it. A day is a calendar day of the session's time zone.
    ///
    /// Reuse of a deleted token is [`Refusal::NotFound`](crate::Refusal::NotFound): keep rows for as long as you
    /// want to notice it. What is left of a chain stays revocable to its end.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a negative number of days or more than 36,500. After an error in a later
    /// batch, those before it stay deleted.
    ///
    /// # Locking
    ///
    /// The rows of one batch at a time; it waits for nobody (`SKIP LOCKED`).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// let deleted = tokens.cleanup_expired(30)?;
    /// println!("{deleted} tokens that expired more than 30 days ago are gone");
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn cleanup_expired(&mut self, older_than_days: i32) -> Result<usize> {
        retention::cleanup_expired(self.conn, older_than_days)
    }
}
