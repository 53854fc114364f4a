//! The service that speaks in secrets: what an application calls, over the pooled store.
//!
//! Secrets and peppers go no further: the store, and what is under it, get hashes alone. It does not know the janitor.

mod counts;
mod exchange;
mod login;
mod outcome;
mod pepper;
mod policy;
mod sessions;
pub(crate) mod usage;

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::error::{Error, InvalidInput, MAX_EXPIRY, Result};
use crate::repository::RefreshTokenRepository;
use crate::store::RefreshTokenStore;
use crate::telemetry::{Ids, observed};
use crate::values::{Binding, InvalidSecret, NewRefreshToken, RefreshToken, SessionOptions};

use counts::Counters;
use exchange::Exchange;

pub use counts::{RefreshCounts, RefreshOutcome};
pub use login::Login;
pub use outcome::{IssuedToken, Refresh};
pub use pepper::{InvalidPepper, Pepper, Peppers};
pub use policy::SessionPolicy;

/// Sessions by their secrets: the shortest path for a new application.
///
/// It makes the secrets, keeps their keyed hashes, and gives a client that lost an answer the **same** answer again,
/// although nothing but hashes is stored: a successor's secret is derived from the presented one and the successor's id
/// (HMAC-SHA-256 under a pepper), so that two tabs, a second try, or a crash between COMMIT and answer all end at one
/// live token. The grace for that closes at the successor's first use, or at the end of
/// [`SessionPolicy::grace`]; only the immediate predecessor has it.
///
/// `Clone + Send + Sync`: clones share pool and counters. Besides the errors that each call lists, all can end in those of
/// [`RefreshTokenStore`].
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let store = store(&database);
/// # let (key, user_id, org_id) = ([7; 32], uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
/// use refresh_tokens::{Binding, Login, Pepper, Peppers, SessionPolicy, SessionService};
///
/// let peppers = Peppers::new(Pepper::new(1, &key)?);
/// let service = SessionService::new(store, peppers, SessionPolicy::default())?;
///
/// let issued = service.start_session(&Login::new(user_id, org_id))?;
/// let refreshed = service.refresh(issued.secret.expose(), Binding::ANY)?.issued().expect("it is live");
///
/// // The answer was lost, and the client tries again: the same secret.
/// let again = service.refresh(issued.secret.expose(), Binding::ANY)?.issued().expect("it is within the grace period");
/// assert_eq!(again.secret.expose(), refreshed.secret.expose());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SessionService {
    store: RefreshTokenStore,
    peppers: Arc<Peppers>,
    policy: SessionPolicy,
    counters: Arc<Counters>,
}

impl SessionService {
    /// A service over a store.
    ///
    /// # Errors
    ///
    /// [`InvalidInput::LifetimeOutOfRange`] for a lifetime that is not positive or longer than 36,500 days, and for a
    /// negative or longer grace period.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// use chrono::TimeDelta;
    /// use refresh_tokens::{InvalidInput, Pepper, Peppers, SessionPolicy, SessionService};
    ///
    /// # let peppers = Peppers::new(Pepper::new(1, &[7; 32]).unwrap());
    /// let policy = SessionPolicy::default().idle_lifetime(TimeDelta::zero());
    /// let refused = SessionService::new(store, peppers, policy).unwrap_err();
    /// assert_eq!(refused, InvalidInput::LifetimeOutOfRange { field: "idle_lifetime" });
    /// ```
    pub fn new(store: RefreshTokenStore, peppers: Peppers, policy: SessionPolicy) -> Result<Self, InvalidInput> {
        policy.check()?;
        Ok(Self { store, peppers: Arc::new(peppers), policy, counters: Arc::default() })
    }

    /// The store, for what is not a matter of secrets: organisations, administrators, clean-up.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// assert_eq!(service.store().cleanup_expired(30)?, 0);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn store(&self) -> &RefreshTokenStore {
        &self.store
    }

    /// Begins a session for a user who has just logged in, and returns its first token.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a nil id or an authentication in the future of the database's clock;
    /// [`Error::RevokedSinceLogin`]; [`Error::TooManySessions`], by [`SessionPolicy::session_limit`];
    /// [`Error::RandomnessUnavailable`]. Nothing is written then. Where the connection is lost on the way, it asks once more by
    /// itself, and begins one session; [`Error::ConnectionLost`] if it was lost twice: then there may be one that nobody
    /// holds, until it expires.
    ///
    /// # Locking
    ///
    /// As [`create`](RefreshTokenRepository::create).
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
    /// let authenticated_at = service.now()?; // before the password is checked
    /// // … check the password here …
    /// let issued = service.start_session(&Login::new(user_id, org_id).authenticated_at(authenticated_at))?;
    /// assert_eq!(issued.secret.expose().len(), 63);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn start_session(&self, login: &Login) -> Result<IssuedToken> {
        let secret = self.peppers.generate()?;
        let (id, token_hash) = (fresh_id()?, self.peppers.hash(&secret).map_err(|_| Error::RandomnessUnavailable)?);
        let now = self.now()?;
        let after = |lifetime| now.checked_add_signed(lifetime).map_or(MAX_EXPIRY, |end| end.min(MAX_EXPIRY));
        let mut session = SessionOptions::default().expires_at(after(self.policy.absolute_lifetime));
        if let Some(instant) = login.authenticated_at {
            session = session.authenticated_at(instant);
        }
        if let Some(limit) = self.policy.limit {
            session = session.limit(limit);
        }
        let new = NewRefreshToken {
            id,
            user_id: login.user_id,
            token_hash,
            active_org_id: login.org_id,
            expires_at: after(self.policy.idle_lifetime),
            session,
        };
        let token = match self.store.create(&new) {
            Err(error) if error.is_outcome_unknown() => self.create_again(&new)?,
            outcome => outcome?,
        };
        Ok(IssuedToken { secret, token })
    }

    /// Whatever goes wrong now, the first one may have been committed: it would be a session that nobody holds.
    fn create_again(&self, new: &NewRefreshToken) -> Result<RefreshToken> {
        let refused = match self.store.create(new) {
            Err(error) => error,
            created => return created,
        };
        match self.store.get_by_hash(&new.token_hash) {
            Ok(Some(token)) if token.revoked_at.is_none() => Ok(token),
            Ok(Some(_)) => Err(Error::RevokedSinceLogin),
            Ok(None) if !refused.is_transient() => Err(refused),
            Ok(None) | Err(_) => Err(Error::ConnectionLost),
        }
    }

    /// Spends a presented token and issues its successor; gives the same successor to who asks again within the grace
    /// period; answers reuse with [`SessionPolicy::on_reuse`].
    ///
    /// RFC 6749 §6, RFC 9700 §4.14.2. Where the connection is lost on the way, it asks once more by itself, which
    /// either finds the successor that was made or makes it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if the binding names a nil UUID; [`Error::RandomnessUnavailable`];
    /// [`Error::ConnectionLost`] if it was lost twice, or if the second time went wrong in another way: have the client try
    /// again.
    ///
    /// # Locking
    ///
    /// As [`redeem`](RefreshTokenRepository::redeem); a repeat locks the successor (`FOR SHARE`) for a moment.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// # let login = refresh_tokens::Login::new(uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    /// # let issued = service.start_session(&login)?;
    /// # let (presented, user_id) = (issued.secret.expose(), issued.token.user_id);
    /// use refresh_tokens::{Binding, Refresh};
    ///
    /// match service.refresh(presented, Binding::user(user_id))? {
    ///     Refresh::Rotated(issued) | Refresh::Repeated(issued) => println!("Set-Cookie: {}", issued.secret.expose()),
    ///     Refresh::Reused { .. } | Refresh::Refused(_) | Refresh::Unrecognized(_) => println!("log in again"),
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn refresh(&self, presented: &str, binding: Binding) -> Result<Refresh> {
        observed("refresh", Ids::bound(binding), || self.exchange(presented, None, binding))
    }

    /// [`refresh`](Self::refresh) into another organisation, which the successor then acts for.
    ///
    /// That the user belongs to it is for the caller to check. Name the organisation that the session acts for now in the
    /// binding ([`Binding::org`]), and a switch that another tab has made meanwhile is not undone unseen. A repeat within
    /// the grace period acts for what the first exchange asked for: go by the token's `active_org_id`.
    ///
    /// # Errors
    ///
    /// As [`refresh`](Self::refresh), and [`Error::InvalidInput`] for a nil organisation.
    ///
    /// # Locking
    ///
    /// As [`refresh`](Self::refresh), and the user's gate.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// # let (user_id, here, there) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    /// # let issued = service.start_session(&refresh_tokens::Login::new(user_id, here))?;
    /// # let presented = issued.secret.expose();
    /// use refresh_tokens::Binding;
    ///
    /// let moved = service.switch_org(presented, there, Binding::user(user_id).org(here))?;
    /// assert_eq!(moved.issued().expect("it is live").token.active_org_id, there);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn switch_org(&self, presented: &str, org_id: Uuid, binding: Binding) -> Result<Refresh> {
        observed("switch_org", Ids::bound(binding), || self.exchange(presented, Some(org_id), binding))
    }

    fn exchange(&self, presented: &str, org_id: Option<Uuid>, binding: Binding) -> Result<Refresh> {
        let outcome = match self.exchange_of(presented, org_id, binding)? {
            Err(why) => Refresh::Unrecognized(why),
            Ok(exchange) => {
                let run = || self.store.retrying(|call| exchange.run(call));
                match run() {
                    // Whatever goes wrong now, the first one may have been committed.
                    Err(error) if error.is_outcome_unknown() => run().map_err(|_| Error::ConnectionLost)?,
                    outcome => outcome?,
                }
            }
        };
        self.counters.count(outcome.outcome());
        Ok(outcome)
    }

    /// [`refresh`](Self::refresh) on a connection of yours, or as a part of your transaction.
    ///
    /// There, nothing has happened before your COMMIT: give the secret to the client after it, and return `Ok` where the
    /// outcome is reuse, because an `Err` takes the breach response back.
    ///
    /// # Errors
    ///
    /// As [`redeem`](RefreshTokenRepository::redeem), and [`Error::RandomnessUnavailable`].
    ///
    /// # Locking
    ///
    /// As [`refresh`](Self::refresh), until the end of the transaction.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// # let login = refresh_tokens::Login::new(uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    /// # let issued = service.start_session(&login)?;
    /// # let presented = issued.secret.expose();
    /// use refresh_tokens::Binding;
    ///
    /// let refreshed = service.store().transaction(|tx| {
    ///     let refreshed = service.refresh_on(tx, presented, Binding::ANY)?;
    ///     diesel::sql_query("SELECT 1 /* INSERT INTO audit … */").execute(tx.connection())?;
    ///     Ok(refreshed)
    /// })?;
    /// assert!(refreshed.issued().is_some());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn refresh_on(
        &self,
        tokens: &mut RefreshTokenRepository<'_>,
        presented: &str,
        binding: Binding,
    ) -> Result<Refresh> {
        let outcome =
            observed("refresh", Ids::bound(binding), || match self.exchange_of(presented, None, binding)? {
                Err(why) => Ok(Refresh::Unrecognized(why)),
                Ok(exchange) => exchange.run(tokens.call()),
            })?;
        self.counters.count(outcome.outcome());
        Ok(outcome)
    }

    /// How often each outcome of [`refresh`](Self::refresh) was answered.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// assert_eq!(service(&database).counts().of(refresh_tokens::RefreshOutcome::Repeated), 0);
    /// ```
    pub fn counts(&self) -> RefreshCounts {
        self.counters.read()
    }

    fn exchange_of(
        &self,
        presented: &str,
        org_id: Option<Uuid>,
        binding: Binding,
    ) -> Result<Result<Exchange<'_>, InvalidSecret>> {
        let exchange = Exchange::new(&self.peppers, &self.policy, presented, fresh_id()?, binding);
        Ok(exchange.map(|exchange| match org_id {
            Some(org_id) => exchange.switching_to(org_id),
            None => exchange,
        }))
    }
}

/// A UUID of version 7 (RFC 9562 §5.7): new rows are neighbours in the index. Nothing goes by the time in it.
fn fresh_id() -> Result<Uuid> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|_| Error::RandomnessUnavailable)?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(since_1970.as_millis()).unwrap_or(0);
    Ok(uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid())
}

impl fmt::Debug for SessionService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService")
            .field("store", &self.store)
            .field("peppers", &self.peppers)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
