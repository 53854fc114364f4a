//! Each call, and what it should answer and change.

use refresh_tokens::{
    BreachResponse, Error, IssuedToken, Login, OnReuse, RevocationReport, Refresh, Refusal, ReuseKind, SessionService,
};
use uuid::Uuid;

use super::{Bound, Limit, Presented, Session, World, newest, token_of};
use crate::draw::{Call, Step};

/// What a refresh should answer.
#[derive(Debug)]
enum Due {
    Rotated,
    Repeated,
    Reused(ReuseKind, BreachResponse),
    BindingMismatch,
    Revoked,
    Foreign(&'static str),
    InvalidInput,
}

impl World {
    pub(crate) fn take(&mut self, step: &Step) {
        let node = self.nodes[usize::from(step.behind)].clone();
        let user_of = |number: u8| usize::from(number) % self.users.len();
        match &step.call {
            Call::StartSession { user, org, early } => self.start_session(&node, user_of(*user), *org, *early),
            Call::Refresh { secret, binding } => {
                let presented = self.presented(secret);
                self.refresh(&node, &presented, None, &self.bound(binding, &presented));
            }
            Call::SwitchOrg { secret, org, binding } => {
                let presented = self.presented(secret);
                self.refresh(&node, &presented, Some(self.org(*org)), &self.bound(binding, &presented));
            }
            Call::LookUp { secret, binding } => {
                let presented = self.presented(secret);
                self.look_up(&node, &presented, &self.bound(binding, &presented));
            }
            Call::EndSession(secret) => {
                let presented = self.presented(secret);
                let ended = match presented {
                    Presented::Token { session, .. } => self.end_one(session),
                    Presented::Foreign { .. } => 0,
                };
                is_report_of(node.log_out(presented.text()), ended);
            }
            Call::EndSessionOf { user, session } => {
                let user = user_of(*user);
                let session = self.session(*session);
                let theirs = session.filter(|session| self.sessions[*session].user == user);
                let session_id = session.map_or_else(Uuid::new_v4, |session| self.sessions[session].id);
                let ended = theirs.map_or(0, |session| self.end_one(session));
                is_report_of(node.end_session_of(self.users[user].id, session_id), ended);
            }
            Call::EndOtherSessions { user, session } => self.end_other_sessions(&node, user_of(*user), *session),
            Call::EndAllSessions { user } => {
                let user = user_of(*user);
                let ended = self.end(|session| session.user == user);
                self.users[user].is_cut_off = true;
                ends(node.end_all_sessions(self.users[user].id).expect("no error is due"), ended);
            }
        }
    }

    fn session(&self, number: u8) -> Option<usize> {
        usize::from(number).checked_rem(self.sessions.len())
    }

    fn end_one(&mut self, session: usize) -> usize {
        usize::from(std::mem::take(&mut self.sessions[session].is_live))
    }

    fn start_session(&mut self, node: &SessionService, user: usize, org: u8, early: bool) {
        let org_id = self.org(org);
        let mut login = Login::new(self.users[user].id, org_id);
        if early {
            login = login.authenticated_at(self.began_at);
        }
        let is_too_late = early && self.users[user].is_cut_off;
        let is_full = self.limit != Limit::None && self.live_of(user) >= Limit::MAX as usize;
        match node.start_session(&login) {
            Err(Error::InvalidInput(_)) => assert!(org_id.is_nil()),
            Err(Error::TooManySessions { max: Limit::MAX }) => assert!(is_full && self.limit == Limit::Refuse),
            Err(Error::RevokedSinceLogin) => assert!(is_too_late),
            Err(error) => panic!("{error:?}"),
            Ok(issued) => {
                assert!(!org_id.is_nil() && !is_too_late, "it is to be refused: {issued:?}");
                assert!(!is_full || self.limit == Limit::EndOldest, "it is one too many: {issued:?}");
                if is_full {
                    self.end_one(self.oldest_of(user));
                }
                let token = &issued.token;
                assert_eq!((token.user_id, token.active_org_id, token.generation), (self.users[user].id, org_id, 0));
                let (id, began_at) = (token.session_id, token.session_started_at);
                assert_eq!(began_at, if early { self.began_at } else { token.created_at });
                assert!(self.sessions.iter().all(|session| session.id != id));
                self.sessions.push(Session { id, began_at, user, is_live: true, tokens: vec![token_of(issued)] });
            }
        }
    }

    /// A session begins with its authentication; of those that begin at one instant any will do, and this is the library's.
    fn oldest_of(&self, user: usize) -> usize {
        let live = self.sessions.iter().enumerate().filter(|(_, session)| session.is_live && session.user == user);
        live.min_by_key(|(_, session)| (session.began_at, session.id)).expect("there is one").0
    }

    fn due(&self, presented: &Presented, org_id: Option<Uuid>, bound: &Bound) -> Due {
        let (session, token) = match presented {
            // Judged before the database is asked, and so before the rest of the input.
            Presented::Foreign { outcome, .. } if *outcome != "not_found" => return Due::Foreign(outcome),
            _ if bound.is_invalid() || org_id.is_some_and(|id| id.is_nil()) => return Due::InvalidInput,
            Presented::Foreign { outcome, .. } => return Due::Foreign(outcome),
            Presented::Token { session, token, .. } => (*session, *token),
        };
        let matches = self.matches(bound, session, token);
        let session = &self.sessions[session];
        match session.tokens.len() - 1 - token {
            0 if !matches => Due::BindingMismatch,
            0 if !session.is_live => Due::Revoked,
            0 => Due::Rotated,
            1 if matches && self.has_grace && session.is_live => Due::Repeated,
            1 if matches && self.has_grace => Due::Revoked,
            age => {
                let kind = match age {
                    _ if !session.is_live => ReuseKind::SessionEnded,
                    1 => ReuseKind::SuccessorUnused,
                    _ => ReuseKind::SuccessorUsed,
                };
                let response = match self.on_reuse {
                    OnReuse::ReportOnly => BreachResponse::ReportedOnly,
                    _ if session.tokens[token].was_answered => BreachResponse::AlreadyHandled,
                    _ => BreachResponse::Revoked(RevocationReport::default()),
                };
                Due::Reused(kind, response)
            }
        }
    }

    fn refresh(&mut self, node: &SessionService, presented: &Presented, org_id: Option<Uuid>, bound: &Bound) {
        let due = self.due(presented, org_id, bound);
        let outcome = match org_id {
            None => node.refresh(presented.text(), bound.binding),
            Some(org_id) => node.switch_org(presented.text(), org_id, bound.binding),
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(Error::InvalidInput(_)) if matches!(due, Due::InvalidInput) => return,
            Err(error) => panic!("{error:?}"),
        };
        *self.due.entry(outcome.as_str()).or_default() += 1;
        let known = match presented {
            Presented::Token { session, token, .. } => Some((*session, *token)),
            Presented::Foreign { .. } => None,
        };
        match (due, outcome, known) {
            (Due::Foreign(word), Refresh::Unrecognized(why), None) => assert_eq!(why.as_str(), word),
            (Due::Foreign(word), Refresh::Refused(Refusal::NotFound), None) => assert_eq!(word, "not_found"),
            (Due::BindingMismatch, Refresh::Refused(Refusal::BindingMismatch(_)), Some(_))
            | (Due::Revoked, Refresh::Refused(Refusal::Revoked(_)), Some(_)) => {}
            (Due::Rotated, Refresh::Rotated(issued), Some((session, _))) => self.rotated(session, org_id, issued),
            (Due::Repeated, Refresh::Repeated(issued), Some((session, _))) => {
                let newest = newest(&self.sessions[session]);
                assert_eq!(issued.secret.expose(), newest.secret.expose(), "a repeat has the same secret");
                assert_eq!((issued.token.id, issued.token.active_org_id), (newest.id, newest.org_id));
            }
            (Due::Reused(kind, due), Refresh::Reused { kind: told, response, token: row }, Some((session, token))) => {
                assert_eq!((told, row.id), (kind, self.sessions[session].tokens[token].id));
                match (due, response) {
                    (BreachResponse::Revoked(_), BreachResponse::Revoked(report)) => {
                        ends(report, self.answer_reuse(session, token));
                    }
                    (due, response) => assert_eq!(response, due),
                }
            }
            (due, outcome, _) => panic!("{due:?} is due, and not {}", outcome.as_str()),
        }
    }

    fn rotated(&mut self, session: usize, org_id: Option<Uuid>, issued: IssuedToken) {
        let user_id = self.users[self.sessions[session].user].id;
        let session = &mut self.sessions[session];
        let token = &issued.token;
        assert_eq!((token.session_id, token.user_id), (session.id, user_id));
        assert_eq!(token.active_org_id, org_id.unwrap_or(newest(session).org_id));
        assert_eq!(usize::try_from(token.generation), Ok(session.tokens.len()));
        let is_new = |text| session.tokens.iter().all(|token| token.secret.expose() != text);
        assert!(is_new(issued.secret.expose()), "a successor has a secret of its own");
        session.tokens.push(token_of(issued));
    }

    /// How many sessions end.
    fn answer_reuse(&mut self, session: usize, token: usize) -> usize {
        self.sessions[session].tokens[token].was_answered = true;
        if self.on_reuse == OnReuse::RevokeUser {
            let user = self.sessions[session].user;
            self.users[user].is_cut_off = true;
            return self.end(|session| session.user == user);
        }
        self.end_one(session)
    }

    fn look_up(&self, node: &SessionService, presented: &Presented, bound: &Bound) {
        let found = node.look_up(presented.text(), bound.binding);
        let due = match presented {
            Presented::Foreign { outcome, .. } if *outcome != "not_found" => None,
            _ if bound.is_invalid() => {
                assert!(matches!(found, Err(Error::InvalidInput(_))), "{found:?}");
                return;
            }
            Presented::Foreign { .. } => None,
            Presented::Token { session, token, .. } => {
                let is_newest = self.sessions[*session].tokens.len() - 1 == *token;
                let is_valid = is_newest && self.sessions[*session].is_live && self.matches(bound, *session, *token);
                is_valid.then(|| self.sessions[*session].tokens[*token].id)
            }
        };
        assert_eq!(found.expect("no error is due").map(|token| token.id), due);
    }

    fn end_other_sessions(&mut self, node: &SessionService, user: usize, session: u8) {
        let session = self.session(session);
        let theirs = session.filter(|session| self.sessions[*session].user == user);
        let session_id = session.map_or_else(Uuid::new_v4, |session| self.sessions[session].id);
        let report = node.end_other_sessions(self.users[user].id, session_id).expect("no error is due");
        assert_eq!(report.is_some(), theirs.is_some());
        if let Some(report) = report {
            ends(report, self.end(|session| session.user == user && session.id != session_id));
            self.users[user].is_cut_off = true;
        }
    }
}

/// Each live session has one live token.
fn ends(report: RevocationReport, sessions: usize) {
    assert_eq!((report.sessions, report.live), (sessions, sessions), "{report}");
}

fn is_report_of(report: Result<RevocationReport, Error>, ended: usize) {
    let report = report.expect("no error is due");
    ends(report, ended);
    assert_eq!(report.tokens, ended, "it ends a session by its live token alone");
}
