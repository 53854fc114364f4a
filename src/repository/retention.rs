//! The verb that deletes.

use crate::error::Result;
use crate::repository::RefreshTokenRepository;
use crate::retention;

impl RefreshTokenRepository<'_> {
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
