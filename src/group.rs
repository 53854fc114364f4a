//! The group rotator, over the store: callers on any number of threads, few connections, and batches between them.
//!
//! It knows neither janitor nor service. What is locked and decided is `protocol`'s; here is who waits, and for how long.

mod config;
mod queue;

use std::fmt;
use std::iter;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;

use crate::error::{Error, Result, Wait};
use crate::protocol::redeem::answer_reuse;
use crate::protocol::rotate::{rotate, rotate_without_waiting};
use crate::protocol::rotate_many::rotate_together;
use crate::store::{Connection, RefreshTokenStore};
use crate::telemetry::{self, Ids, observed};
use crate::values::{Binding, Durability, OnReuse, Redemption, Rotation, RotationRequest, Successor, TokenHash};

use queue::{Entry, Lead, Place, Queue, Ticket, Turn};

pub use config::GroupConfig;

/// Rotation for many threads at once: each submits one request and blocks for its outcome, and a few connections carry
/// them in batches.
///
/// It is a group commit on the client's side: while one batch is on its way, those who come meanwhile make up
/// the next. A caller who comes alone goes at once, as by the store's own verb; in a crowd, BEGIN, COMMIT and the round
/// trips are shared ([`rotate_many`](crate::RefreshTokenRepository::rotate_many)). Each call has the very outcome
/// that [`rotate`](crate::RefreshTokenRepository::rotate) would give it: no caller's bad request is another one's concern.
///
/// `Clone + Send + Sync`: clones share one queue. It starts no threads: a batch is carried by the first of those who wait in it. The
/// order is that of arrival, so nobody is overtaken for ever.
///
/// It pays where callers are more than connections, and the more the longer the way to the server is: see
/// [the figures](crate::guide::throughput). It takes its connections from the store when there is work, and gives them back when there is none.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let store = store(&database);
/// # let presented: Vec<_> = (0..8).map(|_| store.create(&new_token()).map(|token| token.token_hash)).collect::<Result<_, _>>()?;
/// use refresh_tokens::{Binding, GroupConfig, GroupRotator, Rotation};
///
/// let group = GroupRotator::new(store, &GroupConfig::default().connections(2));
/// std::thread::scope(|scope| {
///     for hash in &presented {
///         let group = &group;
///         scope.spawn(move || {
///             let outcome = group.rotate(hash, &successor(), Binding::ANY);
///             assert!(matches!(outcome, Ok(Rotation::Rotated(_))));
///         });
///     }
/// });
/// group.shutdown();
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Clone)]
pub struct GroupRotator {
    store: RefreshTokenStore,
    queue: Arc<Queue>,
}

impl GroupRotator {
    /// A group over a store's connections.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// use refresh_tokens::{GroupConfig, GroupRotator};
    ///
    /// let group = GroupRotator::new(store, &GroupConfig::default());
    /// assert_eq!(group.waiting(), 0);
    /// ```
    pub fn new(store: RefreshTokenStore, config: &GroupConfig) -> Self {
        let most = usize::try_from(store.pool().max_size()).unwrap_or(usize::MAX);
        let config = config.clone().connections(config.connections.min(most));
        Self { store, queue: Queue::new(config) }
    }

    /// [`RefreshTokenRepository::rotate`](crate::RefreshTokenRepository::rotate), together with whoever else is waiting.
    ///
    /// # Errors
    ///
    /// As there, and as [`RefreshTokenStore::rotate`]. Before anything is sent: [`Error::QueueFull`] where
    /// [`max_queue`](GroupConfig::max_queue) others wait, [`Error::Busy`] with [`Wait::Queue`] after
    /// [`queue_timeout`](GroupConfig::queue_timeout), [`Error::GroupShutDown`] after [`shutdown`](Self::shutdown). In each
    /// of these three, nothing was changed. Where the transaction of a batch fails ([`Error::ConnectionLost`],
    /// [`Error::Conflict`], [`Error::Busy`]), all who are in it are told so.
    ///
    /// # Locking
    ///
    /// As [`rotate_many`](crate::RefreshTokenRepository::rotate_many). A token that somebody else holds locked is waited
    /// for on at most all but one of the connections.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// # let token = store.create(&new_token())?;
    /// # let (presented, user_id) = (token.token_hash, token.user_id);
    /// use refresh_tokens::{Binding, Error, GroupConfig, GroupRotator, Rotation};
    ///
    /// let group = GroupRotator::new(store, &GroupConfig::default());
    /// match group.rotate(&presented, &successor(), Binding::user(user_id)) {
    ///     Ok(Rotation::Rotated(token) | Rotation::Repeated(token)) => println!("200, valid until {}", token.expires_at),
    ///     Ok(Rotation::Refused(_)) => println!("400 invalid_grant"),
    ///     Err(Error::QueueFull { .. }) => println!("503, and Retry-After"),
    ///     Err(error) => println!("500 {error}"),
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn rotate(&self, presented: &TokenHash, successor: &Successor, binding: Binding) -> Result<Rotation> {
        observed("group_rotate", Ids::bound(binding), || self.submit(presented, successor, binding))
    }

    fn submit(&self, presented: &TokenHash, successor: &Successor, binding: Binding) -> Result<Rotation> {
        successor.check()?;
        binding.check()?;
        let request = RotationRequest::new(presented.clone(), successor.clone()).binding(binding);
        match self.queue.enter(request)? {
            Entry::Lead(lead, request) => self.lead(lead, request),
            Entry::Wait(place) => self.wait(&place),
        }
    }

    /// [`RefreshTokenRepository::redeem`](crate::RefreshTokenRepository::redeem): the rotation through the group, and
    /// where the token was reused, the breach response on a connection of the store's.
    ///
    /// # Errors
    ///
    /// As [`rotate`](Self::rotate). An error in the response leaves it to the next presentation of the token.
    ///
    /// # Locking
    ///
    /// As [`rotate`](Self::rotate); then, holding nothing of that, as the revocation that is the response.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// # let presented = store.create(&new_token())?.token_hash;
    /// use refresh_tokens::{Binding, GroupConfig, GroupRotator, OnReuse, Redemption};
    ///
    /// let group = GroupRotator::new(store, &GroupConfig::default());
    /// let outcome = group.redeem(&presented, &successor(), Binding::ANY, OnReuse::RevokeSession)?;
    /// assert!(matches!(outcome, Redemption::Rotated { .. }));
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn redeem(
        &self,
        presented: &TokenHash,
        successor: &Successor,
        binding: Binding,
        on_reuse: OnReuse,
    ) -> Result<Redemption> {
        observed("group_redeem", Ids::bound(binding), || {
            let rotation = self.submit(presented, successor, binding)?;
            answer_reuse(rotation, Durability::Committed, |token| self.store.respond(token, on_reuse))
        })
    }

    /// Turns away whoever comes from now on with [`Error::GroupShutDown`], and returns when everybody who came before
    /// has an answer.
    ///
    /// The store stays open.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// use refresh_tokens::{Binding, Error, GroupConfig, GroupRotator};
    ///
    /// let group = GroupRotator::new(store, &GroupConfig::default());
    /// group.shutdown();
    /// assert_eq!(group.rotate(&fresh_hash(), &successor(), Binding::ANY), Err(Error::GroupShutDown));
    /// ```
    pub fn shutdown(&self) {
        self.queue.shut();
    }

    /// How many callers wait for a connection at this moment.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// # use refresh_tokens::{GroupConfig, GroupRotator};
    /// assert_eq!(GroupRotator::new(store, &GroupConfig::default()).waiting(), 0);
    /// ```
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Whether [`shutdown`](Self::shutdown) was called.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let store = store(&database);
    /// # use refresh_tokens::{GroupConfig, GroupRotator};
    /// assert!(!GroupRotator::new(store, &GroupConfig::default()).is_shut_down());
    /// ```
    pub fn is_shut_down(&self) -> bool {
        self.queue.is_shut()
    }

    fn wait(&self, place: &Place) -> Result<Rotation> {
        let turn = match place.turn.recv_timeout(self.queue.timeout()) {
            Err(RecvTimeoutError::Timeout) if self.queue.leave(place) => return Err(Error::Busy(Wait::Queue)),
            // It is on its way, and only its outcome can say whether it was made.
            Err(RecvTimeoutError::Timeout) => place.turn.recv().ok(),
            turn => turn.ok(),
        };
        match turn {
            Some(Turn::Answer(outcome)) => outcome,
            Some(Turn::Lead(lead, request)) => self.lead(lead, request),
            // Who carried it panicked.
            None => Err(Error::ConnectionLost),
        }
    }

    /// Carries the caller's own request and those that come along.
    fn lead(&self, mut lead: Lead, request: RotationRequest) -> Result<Rotation> {
        let mut conn = match lead.conn.take().map_or_else(|| self.store.take(), Ok) {
            Ok(conn) => conn,
            Err(error) => {
                // They would only wait as long for the same.
                for ticket in self.queue.share() {
                    ticket.caller.tell(Err(error.clone()));
                }
                return Err(error);
            }
        };
        let others = if lead.is_alone() { Vec::new() } else { self.queue.share() };
        if !others.is_empty() {
            return self.carry(lead, conn, request, others);
        }
        let RotationRequest { presented, successor, binding } = &request;
        telemetry::batch(1);
        let outcome = self.store.retrying_on(&mut conn, |call| {
            if lead.is_alone() {
                return rotate(call.conn, presented, successor, *binding).map(|(rotation, _)| Some(rotation));
            }
            rotate_without_waiting(call.conn, presented, successor, *binding)
        });
        lead.keep(conn);
        if let Some(rotation) = outcome? {
            return Ok(rotation);
        }
        let place = self.queue.wait_alone(request);
        drop(lead);
        self.wait(&place)
    }

    fn carry(
        &self,
        mut lead: Lead,
        mut conn: Connection,
        own: RotationRequest,
        others: Vec<Ticket>,
    ) -> Result<Rotation> {
        let (others, callers): (Vec<_>, Vec<_>) =
            others.into_iter().map(|ticket| (ticket.request, ticket.caller)).unzip();
        let requests: Vec<_> = iter::once(own).chain(others).collect();
        telemetry::batch(requests.len());
        let answers = self.store.retrying_on(&mut conn, |call| rotate_together(call.conn, &requests));
        lead.keep(conn);
        let mut answers = match answers {
            Ok(answers) => answers.into_iter(),
            Err(error) => {
                drop(lead);
                for caller in callers {
                    caller.tell(Err(error.clone()));
                }
                return Err(error);
            }
        };
        let mut requests = requests.into_iter();
        let own = match (answers.next().flatten(), requests.next()) {
            (None, Some(own)) => Err(self.queue.wait_alone(own)),
            (answer, _) => Ok(answer.unwrap_or(Err(Error::ConnectionLost))),
        };
        let mut answered = Vec::with_capacity(callers.len());
        for ((caller, request), answer) in callers.into_iter().zip(requests).zip(answers) {
            match answer {
                Some(outcome) => answered.push((caller, outcome)),
                None => self.queue.make_alone(Ticket { request, caller }),
            }
        }
        // The connection goes on before anybody is woken for an answer.
        drop(lead);
        for (caller, outcome) in answered {
            caller.tell(outcome);
        }
        own.unwrap_or_else(|place| self.wait(&place))
    }
}

impl fmt::Debug for GroupRotator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupRotator").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "group/wait_tests.rs"]
mod tests;
