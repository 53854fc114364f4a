//! Who logs in.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A user whose credentials were found right, for [`SessionService::start_session`](crate::SessionService::start_session).
///
/// # Example
///
/// ```
/// use refresh_tokens::Login;
/// use uuid::Uuid;
///
/// let login = Login::new(Uuid::new_v4(), Uuid::new_v4());
/// # let _ = login;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "its methods return the changed value"]
pub struct Login {
    pub(super) user_id: Uuid,
    pub(super) org_id: Uuid,
    pub(super) authenticated_at: Option<DateTime<Utc>>,
}

impl Login {
    /// Of this user, to act for this organisation. An application without organisations uses one id for all.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::Login;
    /// # use uuid::Uuid;
    /// let (user_id, org_id) = (Uuid::new_v4(), Uuid::new_v4());
    /// assert_eq!(Login::new(user_id, org_id), Login::new(user_id, org_id));
    /// ```
    pub fn new(user_id: Uuid, org_id: Uuid) -> Self {
        Self { user_id, org_id, authenticated_at: None }
    }

    /// Says when the user was authenticated (UTC, the database's clock): a revocation since then refuses the login.
    ///
    /// Take it with [`SessionService::now`](crate::SessionService::now) before the credentials are checked; see
    /// [`SessionOptions::authenticated_at`](crate::SessionOptions::authenticated_at).
    ///
    /// Defaults to none: no revocation refuses the login.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// # let service = service(&database);
    /// # let (user_id, org_id) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    /// use refresh_tokens::{Error, Login};
    ///
    /// let login = Login::new(user_id, org_id).authenticated_at(service.now()?);
    /// service.end_all_sessions(user_id)?; // somewhere else, at this moment
    /// assert_eq!(service.start_session(&login).unwrap_err(), Error::RevokedSinceLogin);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn authenticated_at(mut self, instant: DateTime<Utc>) -> Self {
        self.authenticated_at = Some(instant);
        self
    }
}
