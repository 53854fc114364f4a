//! The verbs that list what a user has.

use uuid::Uuid;

use crate::error::Result;
use crate::protocol::lookup;
use crate::repository::RefreshTokenRepository;
use crate::telemetry::{Ids, observed};
use crate::values::{RefreshToken, SessionPage, SessionQuery};

impl RefreshTokenRepository<'_> {
    /// Lists the tokens of a user that are valid now, newest first: one for each live session.
    ///
    /// Here for code that comes from the [Python service](crate::guide::python_service): new code calls
    /// [`list_sessions`](Self::list_sessions), which is paged and names each session once.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for the nil UUID.
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
        observed("get_active_tokens_for_user", Ids::user(user_id), || {
            lookup::live_tokens_of_user(self.call.conn, user_id)
        })
    }

    /// Lists the sessions of a user, newest first, page by page: for the page where a user sees their devices, or an audit.
    ///
    /// One entry for each session, without a hash. It reads all rows of the user, spent ones included: what a page costs
    /// grows with how long retention keeps them. Join your own table of devices by
    /// [`Session::session_id`](crate::Session::session_id).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for the nil UUID.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let user_id = tokens.create(&new_token())?.user_id;
    /// use refresh_tokens::SessionQuery;
    ///
    /// let mut query = SessionQuery::of_user(user_id).limit(20);
    /// loop {
    ///     let page = tokens.list_sessions(&query)?;
    ///     for session in page.sessions {
    ///         println!("{} in org {}, last seen {:?}", session.session_id, session.active_org_id, session.last_rotated_at);
    ///     }
    ///     let Some(next) = page.next else { break };
    ///     query = query.after(next);
    /// }
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn list_sessions(&mut self, query: &SessionQuery) -> Result<SessionPage> {
        observed("list_sessions", Ids::user(query.user_id), || lookup::list_sessions(self.call.conn, query))
    }
}
