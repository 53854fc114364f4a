//! Logins, the births without a predecessor; and the sessions that have to make room for them.

use crate::algorithm::Cure;
use crate::client::{At, Outcome, Then, Turn};
use crate::database::{Row, Scope};
use crate::verb::Verb;

impl Turn<'_> {
    /// The password was right, at this moment; the token is asked for later.
    pub(crate) fn authenticate(&mut self) {
        self.client.authenticated_at = self.database.clock;
        self.client.at = if self.has(Cure::LoginPassesGate) { At::PassGateToLogIn } else { At::InsertLogin };
    }

    pub(crate) fn pass_gate_to_log_in(&mut self) {
        let counts = matches!(self.verb, Verb::LogInAlone { .. });
        self.pass_gate_and_go_on(if counts { At::CountSessions } else { At::InsertLogin });
    }

    /// A plain read: all live sessions of the user are one too many.
    pub(crate) fn count_sessions(&mut self) {
        let Some(user) = self.verb.user(self.table) else { return };
        let live = self
            .database
            .snapshot(self.me)
            .filter(|row| row.user == user && row.is_live() && !self.database.has_expired(row));
        self.client.to_end = live.map(|row| row.session).collect();
        self.go_on_ending();
    }

    fn go_on_ending(&mut self) {
        self.client.at = if self.client.to_end.is_empty() { At::InsertLogin } else { At::EndOldest };
    }

    /// Of the session's newest row, if that is not spent: until the lock holds it unspent, or it is seen spent.
    pub(crate) fn end_oldest(&mut self) {
        let session = self.client.to_end[0];
        let find = |turn: &Self| {
            let of_session = turn.database.snapshot(turn.me).filter(|row| row.session == session);
            let newest = of_session.max_by_key(|row| row.generation).filter(|row| row.is_live());
            newest.map(|row| row.token).into_iter().collect()
        };
        let Some(statement) = self.lock_rows(true, find, Row::is_live) else { return };
        for token in &statement.locked {
            self.database.update(self.me, *token, |row| row.revoked = true);
        }
        let is_over = statement.seen == 0 || !statement.locked.is_empty();
        if is_over || !self.has(Cure::LimitEndsTheUnborn) {
            self.client.to_end.remove(0);
            self.go_on_ending();
        }
    }

    pub(crate) fn insert_login(&mut self) {
        let (token, session, user, org, told) = match self.verb {
            Verb::LogIn { token, session, user, org, told } => (token, session, user, org, told),
            Verb::LogInAlone { token, session, user, org } => (token, session, user, org, false),
            verb => unreachable!("{verb:?} is no login"),
        };
        let authenticated_at = told.then_some(self.client.authenticated_at);
        let scopes = [Scope::User(user), Scope::Org(org), Scope::Member(user, org), Scope::Everybody];
        let is_cut_off = authenticated_at.is_some_and(|since| self.database.is_cut_off(self.me, &scopes, since));
        if is_cut_off && self.has(Cure::LoginJudged) {
            self.client.at = At::Rollback(Then::Finish(Outcome::CutOff));
            return;
        }
        let began_at = authenticated_at.filter(|_| self.has(Cure::SessionBeginsAtAuthentication));
        let row = Row {
            token,
            user,
            org,
            session,
            generation: 0,
            session_started_at: began_at.unwrap_or(self.database.clock),
            authenticated_at,
            predecessor: None,
            short_lived: false,
            rotated_to: None,
            revoked: false,
            reused: false,
        };
        self.database.insert(self.me, row);
        self.client.at = At::Commit(Then::Finish(Outcome::LoggedIn));
    }
}
