//! The verbs that spend a token and issue its successor, and the transaction around them.

use crate::error::{Error, Result};
use crate::protocol::redeem::redeem;
use crate::protocol::rotate::rotate;
use crate::protocol::rotate_many::rotate_many;
use crate::repository::RefreshTokenRepository;
use crate::repository::transaction;
use crate::repository::transaction::TokenTransaction;
use crate::telemetry::{Ids, observed, observed_transaction};
use crate::values::{Binding, OnReuse, Redemption, Refusal, Rotation, RotationRequest, Successor, TokenHash};

impl RefreshTokenRepository<'_> {
    /// Spends a presented token and issues its successor, or says why not.
    ///
    /// This is the low-level exchange: it reports reuse, and does nothing about it. [`redeem`](Self::redeem) is the
    /// one that new code should call.
    ///
    /// A token is rotated at most once: of two who present it, one gets a successor and the other
    /// [`Refusal::Reused`]. A refusal changes nothing; the breach response is the
    /// caller's, with [`revoke_token_chain`](Self::revoke_token_chain). RFC 6749 §6, RFC 9700 §4.14.2.
    ///
    /// **Sent again** with the same successor id and hash, after [`Error::ConnectionLost`], it answers with the
    /// successor that it had made ([`Rotation::Repeated`]), as long as that one is live. Of a successor that was revoked or has expired
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
    /// The token, if it is neither rotated nor revoked, is locked (`FOR UPDATE`) until the end of the transaction: its
    /// own, or yours. Where it is refused, no lock is kept. Expiry is judged by the database's clock after the lock is
    /// held. Where the successor switches the organisation, the user's gate is held, too, and whoever has it is waited
    /// for. A request sent again holds the successor that it is answered with. In a transaction of yours, call revocations
    /// of many, and logins, before it.
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
    /// match tokens.rotate(&presented, &Successor::expiring_at(new_id, new_hash, expires_at), Binding::user(user_id))? {
    ///     Rotation::Rotated(token) | Rotation::Repeated(token) => println!("the session lives until {}", token.expires_at),
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
    /// assert_eq!(lost.successor(), again.successor());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn rotate(&mut self, presented: &TokenHash, successor: &Successor, binding: Binding) -> Result<Rotation> {
        observed("rotate", Ids::bound(binding), || {
            rotate(self.call.conn, presented, successor, binding).map(|(rotation, _)| rotation)
        })
    }

    /// Rotates many tokens in one transaction: each request has the outcome that [`rotate`](Self::rotate) would give it.
    ///
    /// One COMMIT, and three round trips for all of them together, instead of three for each. No request spoils another:
    /// whatever is wrong with one (reuse, an unknown hash, a successor's id that exists) is in its own outcome, and a
    /// token that somebody else holds locked does not hold up the others. The outcomes are in the order of the requests,
    /// and as if they had been made one after the other in that order: of two that present the same token, the
    /// first gets the successor, and a request may present the successor of one before it.
    ///
    /// Most often everything is one transaction. Requests that have to wait for somebody's lock, that switch the organisation, that are
    /// sent again, or whose successor is refused, are made after it, each in a transaction of its own as by
    /// [`rotate`](Self::rotate): so an outcome says nothing about that of another, and all that are reported are committed. Inside a
    /// transaction of yours, all are a part of that.
    ///
    /// A hundred requests or so are where more stop to pay; the locks of all are held until the COMMIT.
    ///
    /// # Errors
    ///
    /// For one request, in its outcome: as [`rotate`](Self::rotate). For all, instead of outcomes: what befell the
    /// transaction, such as [`Error::ConnectionLost`], [`Error::Conflict`] and [`Error::Busy`]; send all of
    /// them again, as [`rotate`](Self::rotate) says.
    ///
    /// # Locking
    ///
    /// As [`rotate`](Self::rotate), for each token. In a transaction of its own it takes the locks that are free, waits for none, and
    /// gives all back before it waits for the others one by one. In a transaction of yours it waits, in the order in
    /// which revocations lock: by `created_at`, `session_id`, `generation`, `id`.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let presented = [tokens.create(&new_token())?.token_hash, tokens.create(&new_token())?.token_hash];
    /// use refresh_tokens::{Refusal, Rotation, RotationRequest};
    ///
    /// let [one, other] = presented;
    /// let requests = [
    ///     RotationRequest::new(one, successor()),
    ///     RotationRequest::new(fresh_hash(), successor()), // which nobody has ever heard of
    ///     RotationRequest::new(other, successor()),
    /// ];
    /// let outcomes = tokens.rotate_many(&requests)?;
    /// assert!(matches!(outcomes[0], Ok(Rotation::Rotated(_))));
    /// assert_eq!(outcomes[1], Ok(Rotation::Refused(Refusal::NotFound)));
    /// assert!(matches!(outcomes[2], Ok(Rotation::Rotated(_))));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn rotate_many(&mut self, requests: &[RotationRequest]) -> Result<Vec<Result<Rotation>>> {
        observed("rotate_many", Ids::NONE, || rotate_many(self.call.conn, requests))
    }

    /// The whole exchange: [`rotate`](Self::rotate), and where the token was reused, the breach response.
    ///
    /// No caller can forget the response, or roll it back by an `Err`. Detection changes nothing and gives its locks back;
    /// the response is one transaction, and should it fail, the next presentation of the token has it. It is given
    /// once for each spent token ([`reused_at`](crate::RefreshToken::reused_at)): replays of a dead token are answered
    /// with [`BreachResponse::AlreadyHandled`](crate::BreachResponse::AlreadyHandled) and cost two look-ups, however long the
    /// session's history, and cannot be used to log a user out for ever. RFC 9700 §4.14.2.
    ///
    /// Inside a transaction of yours it is a part of that: the outcome says
    /// [`Durability::PendingYourCommit`](crate::Durability::PendingYourCommit), and a rollback undoes the response, too. So
    /// hand out nothing before your COMMIT, and return `Ok` from the closure where it reports reuse.
    ///
    /// # Errors
    ///
    /// As [`rotate`](Self::rotate). Where a response is due, also
    /// [`Error::IsolationTooHigh`] inside a transaction of yours above READ COMMITTED; without such a transaction, an
    /// error in the response leaves it to the next presentation of the token.
    ///
    /// # Locking
    ///
    /// As [`rotate`](Self::rotate); then, holding nothing of that, as the revocation that is the response.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let token = tokens.create(&new_token())?;
    /// # let (presented, user_id) = (token.token_hash, token.user_id);
    /// use refresh_tokens::{Binding, BreachResponse, OnReuse, Redemption};
    ///
    /// let thief = tokens.redeem(&presented, &successor(), Binding::user(user_id), OnReuse::RevokeSession)?;
    /// assert!(matches!(thief, Redemption::Rotated { .. }));
    ///
    /// let owner = tokens.redeem(&presented, &successor(), Binding::user(user_id), OnReuse::RevokeSession)?;
    /// let Redemption::Reused { response: BreachResponse::Revoked(report), .. } = owner else { panic!() };
    /// assert_eq!(report.live, 1, "the thief's token is dead");
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn redeem(
        &mut self,
        presented: &TokenHash,
        successor: &Successor,
        binding: Binding,
        on_reuse: OnReuse,
    ) -> Result<Redemption> {
        observed("redeem", Ids::bound(binding), || {
            redeem(&mut self.call, presented, successor, binding, on_reuse, |_, token| {
                Ok(Rotation::Refused(Refusal::Reused(token)))
            })
        })
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
        observed_transaction("transaction", |error| Some(error), || transaction::run(self.call.reborrow(), work))
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
        observed_transaction("transaction_with", |_: &E| None, || transaction::run(self.call.reborrow(), work))
    }
}
