//! The verbs that revoke.

use uuid::Uuid;

use crate::error::{Result, not_nil};
use crate::protocol::revoke::{OfUser, revoke_chain, revoke_user, tenant, token};
use crate::repository::RefreshTokenRepository;
use crate::telemetry::{Ids, observed};
use crate::values::{RevocationReport, RevokedReason, TokenHash, TokenRevocation};

impl RefreshTokenRepository<'_> {
    /// The caller's reason, or the verb's own.
    /// Revokes a token and all that descends from it.
    ///
    /// Here for code that comes from the [Python service](crate::guide::python_service): new code calls
    /// [`revoke_session`](Self::revoke_session), which needs no token to start from.
    ///
    /// Forward only: what came before it in the session is left as it is. Whatever runs beside it, once it is
    /// committed no token of the chain, and none that was being born from it, is valid again. A link that
    /// clean-up has deleted does not end the walk. Nothing if the id is unknown.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for the nil UUID.
    /// [`Error::IsolationTooHigh`](crate::Error::IsolationTooHigh) inside a transaction of yours above READ COMMITTED.
    ///
    /// # Locking
    ///
    /// The user's gate, then every unrevoked row of the chain, oldest first; a rotation in flight is waited for.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let first = tokens.create(&new_token())?;
    /// # let _ = tokens.rotate(&first.token_hash, &successor(), refresh_tokens::Binding::ANY)?;
    /// assert_eq!(tokens.revoke_token_chain(first.id)?.tokens, 2);
    /// assert_eq!(tokens.revoke_token_chain(first.id)?.tokens, 0);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_token_chain(&mut self, token_id: Uuid) -> Result<RevocationReport> {
        observed("revoke_token_chain", Ids::token(token_id), || {
            not_nil("token_id", token_id)?;
            revoke_chain(self.call.conn, token_id, self.call.reason_or(RevokedReason::ChainRevoked))
        })
    }

    /// Revokes one token by its id.
    ///
    /// Here for code that comes from the [Python service](crate::guide::python_service): new code calls
    /// [`revoke_session`](Self::revoke_session), which ends the session also where this token was rotated a moment
    /// ago.
    ///
    /// This ends the row. Of a token that has been rotated, or is just being rotated, the successor lives on, and the
    /// answer says so: [`TokenRevocation::SessionContinues`]. To log out, use
    /// [`revoke_session_by_hash`](Self::revoke_session_by_hash).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for the nil UUID.
    /// [`Error::IsolationTooHigh`](crate::Error::IsolationTooHigh) if no such token is seen inside a transaction of
    /// yours above READ COMMITTED.
    ///
    /// # Locking
    ///
    /// The row, until the end of the transaction. In one of yours, call revocations of many, and logins, before it.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// use refresh_tokens::TokenRevocation;
    ///
    /// let token = tokens.create(&new_token())?;
    /// assert_eq!(tokens.revoke(token.id)?, TokenRevocation::SessionEnded { session_id: token.session_id });
    /// assert!(!tokens.revoke(token.id)?.is_revoked());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke(&mut self, token_id: Uuid) -> Result<TokenRevocation> {
        observed("revoke", Ids::token(token_id), || {
            not_nil("token_id", token_id)?;
            token::by_id(self.call.conn, token_id, self.call.reason_or(RevokedReason::TokenRevoked))
        })
    }

    /// Revokes one token by its hash.
    ///
    /// Here for code that comes from the [Python service](crate::guide::python_service): new code calls
    /// [`revoke_session_by_hash`](Self::revoke_session_by_hash), which ends the session also where this token was
    /// rotated a moment ago.
    ///
    /// As [`revoke`](Self::revoke), for a caller who has the presented token and not its id; and like it, this is
    /// not yet a log-out.
    ///
    /// # Errors
    ///
    /// [`Error::IsolationTooHigh`](crate::Error::IsolationTooHigh) if no such token is seen inside a transaction of
    /// yours above READ COMMITTED.
    ///
    /// # Locking
    ///
    /// The row, until the end of the transaction. In one of yours, call revocations of many, and logins, before it.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let hash = tokens.create(&new_token())?.token_hash;
    /// assert!(tokens.revoke_by_hash(&hash)?.is_revoked());
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_by_hash(&mut self, hash: &TokenHash) -> Result<TokenRevocation> {
        observed("revoke_by_hash", Ids::NONE, || {
            token::by_hash(self.call.conn, hash, self.call.reason_or(RevokedReason::TokenRevoked))
        })
    }

    /// Revokes every token of a user: log out everywhere, password change, account compromise.
    ///
    /// Whatever runs beside it, once it is committed no token that the user had, and none that was being born
    /// from one, is valid again. From then on [`create`](Self::create) refuses logins that were authenticated before
    /// this call, if it is told when ([`SessionOptions::authenticated_at`](crate::SessionOptions::authenticated_at)).
    ///
    /// In one transaction with a password change, make it the last call before COMMIT: the instant of the call is what
    /// counts, and the old password is good until COMMIT.
    ///
    /// # Errors
    ///
    /// As [`revoke_token_chain`](Self::revoke_token_chain).
    ///
    /// # Locking
    ///
    /// The user's gate, then every unrevoked row of the user, oldest first; a rotation or login in flight is waited
    /// for.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let user_id = tokens.create(&new_token())?.user_id;
    /// use refresh_tokens::RevokedReason;
    ///
    /// let report = tokens.with_reason(RevokedReason::PasswordChanged).revoke_all_for_user(user_id)?;
    /// assert_eq!(report.sessions, 1);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_all_for_user(&mut self, user_id: Uuid) -> Result<RevocationReport> {
        observed("revoke_all_for_user", Ids::user(user_id), || {
            not_nil("user_id", user_id)?;
            revoke_user(self.call.conn, user_id, OfUser::All, self.call.reason_or(RevokedReason::UserRevoked))
        })
    }

    /// Revokes every token of a user but the live one of a session: log out all other devices.
    ///
    /// Here for code that comes from the [Python service](crate::guide::python_service): new code calls
    /// [`revoke_all_for_user_except_session`](Self::revoke_all_for_user_except_session), which needs no token of the
    /// session that stays.
    ///
    /// `keep_token_id` names a token of the session to keep. If it has been rotated meanwhile, the session's
    /// live token is kept, not the spent one. An unknown id keeps nothing. Logins are cut off as by
    /// [`revoke_all_for_user`](Self::revoke_all_for_user).
    ///
    /// # Errors
    ///
    /// As [`revoke_token_chain`](Self::revoke_token_chain).
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
    /// assert_eq!(tokens.revoke_all_for_user_except(here.user_id, here.id)?.sessions, 1);
    /// assert_eq!(tokens.get_active_tokens_for_user(here.user_id)?, [here]);
    /// # let _ = there;
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_all_for_user_except(&mut self, user_id: Uuid, keep_token_id: Uuid) -> Result<RevocationReport> {
        observed("revoke_all_for_user_except", Ids::user(user_id).and(Ids::token(keep_token_id)), || {
            not_nil("user_id", user_id)?;
            not_nil("keep_token_id", keep_token_id)?;
            let which = OfUser::Except(keep_token_id);
            revoke_user(self.call.conn, user_id, which, self.call.reason_or(RevokedReason::OthersRevoked))
        })
    }

    /// Revokes every token of a user but those of one session: log out all other devices, by a session's id.
    ///
    /// The session is kept as it is, so that an answer which it has just lost can still be given again. A session that
    /// is not the user's keeps nothing. Logins are cut off as by [`revoke_all_for_user`](Self::revoke_all_for_user).
    ///
    /// # Errors
    ///
    /// As [`revoke_token_chain`](Self::revoke_token_chain).
    ///
    /// # Locking
    ///
    /// As [`revoke_all_for_user`](Self::revoke_all_for_user), without the session that is kept.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # use refresh_tokens::NewRefreshToken;
    /// let here = tokens.create(&new_token())?;
    /// tokens.create(&NewRefreshToken { user_id: here.user_id, ..new_token() })?;
    /// assert_eq!(tokens.revoke_all_for_user_except_session(here.user_id, here.session_id)?.sessions, 1);
    /// assert_eq!(tokens.get_active_tokens_for_user(here.user_id)?, [here]);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_all_for_user_except_session(&mut self, user_id: Uuid, session_id: Uuid) -> Result<RevocationReport> {
        observed("revoke_all_for_user_except_session", Ids::user(user_id).and(Ids::session(session_id)), || {
            not_nil("user_id", user_id)?;
            not_nil("session_id", session_id)?;
            let which = OfUser::ExceptSession(session_id);
            revoke_user(self.call.conn, user_id, which, self.call.reason_or(RevokedReason::OthersRevoked))
        })
    }

    /// Revokes every token that a user has for one organisation: a member leaves.
    ///
    /// Whatever runs beside it, once it is committed no token of the user for that organisation, and none that was
    /// being born, is valid again. Sessions that act for another organisation go on, but cannot switch to this one:
    /// that is [`Refusal::OrgRevoked`](crate::Refusal::OrgRevoked). Logins to this organisation are cut off as by
    /// [`revoke_all_for_user`](Self::revoke_all_for_user).
    ///
    /// # Errors
    ///
    /// As [`revoke_token_chain`](Self::revoke_token_chain).
    ///
    /// # Locking
    ///
    /// As [`revoke_all_for_user`](Self::revoke_all_for_user), the rows of that organisation.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let token = tokens.create(&new_token())?;
    /// let report = tokens.revoke_all_for_user_in_org(token.user_id, token.active_org_id)?;
    /// assert_eq!(report.live, 1);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_all_for_user_in_org(&mut self, user_id: Uuid, org_id: Uuid) -> Result<RevocationReport> {
        observed("revoke_all_for_user_in_org", Ids::user(user_id).and(Ids::org(org_id)), || {
            not_nil("user_id", user_id)?;
            not_nil("org_id", org_id)?;
            revoke_user(
                self.call.conn,
                user_id,
                OfUser::InOrg(org_id),
                self.call.reason_or(RevokedReason::MemberRevoked),
            )
        })
    }

    /// Revokes every live token of an organisation: a tenant is closed.
    ///
    /// Once it has returned `Ok`, no token for that organisation that existed when it was called, and none that was
    /// being born, is valid again. Rotated tokens are dead and left as they are. Sessions of other organisations cannot
    /// switch to it and logins to it are cut off, as by
    /// [`revoke_all_for_user_in_org`](Self::revoke_all_for_user_in_org); sessions that begin after the call are not
    /// touched.
    ///
    /// It walks the whole table, 1,000 rows at a time, each in a short transaction of its own, until a walk meets none
    /// that could be rotated, so mostly twice. That costs a look at every row: on a table larger than memory, expect it
    /// to take as long as reading it in random order, and give it a connection without a tight `statement_timeout`.
    /// Called inside a transaction of yours, it holds all that it locks, and every gate, so that other revocations and
    /// logins wait for your COMMIT.
    ///
    /// # Errors
    ///
    /// As [`revoke_token_chain`](Self::revoke_token_chain). After an error, what was revoked before it stays revoked,
    /// and so does the cutoff of logins; call it again.
    ///
    /// # Locking
    ///
    /// Each gate for a moment, and the rows of one step at a time, without waiting for anything while it holds another.
    /// Inside a transaction of yours: all gates, in their order, and all rows, until its end.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let mut conn = connection();
    /// # let mut tokens = refresh_tokens::RefreshTokenRepository::new(&mut conn);
    /// # let org_id = tokens.create(&new_token())?.active_org_id;
    /// let report = tokens.revoke_all_for_org(org_id)?;
    /// assert_eq!(report.sessions, 1);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_all_for_org(&mut self, org_id: Uuid) -> Result<RevocationReport> {
        observed("revoke_all_for_org", Ids::org(org_id), || {
            not_nil("org_id", org_id)?;
            tenant::revoke(self.call.conn, Some(org_id), self.call.reason_or(RevokedReason::OrgRevoked))
        })
    }

    /// Revokes every live token there is: an incident.
    ///
    /// As [`revoke_all_for_org`](Self::revoke_all_for_org), for all organisations: every session that had begun, and
    /// every login that had been authenticated, when it was called. Who logs in afterwards stays.
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
    /// # tokens.create(&new_token())?;
    /// use refresh_tokens::RevokedReason;
    ///
    /// let report = tokens.with_reason(RevokedReason::AccountCompromised).revoke_all_for_everyone()?;
    /// assert_eq!(report.sessions, 1);
    /// # Ok::<(), refresh_tokens::Error>(())
    /// ```
    pub fn revoke_all_for_everyone(&mut self) -> Result<RevocationReport> {
        observed("revoke_all_for_everyone", Ids::NONE, || {
            tenant::revoke(self.call.conn, None, self.call.reason_or(RevokedReason::EveryoneRevoked))
        })
    }
}
