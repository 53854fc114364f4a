//! The rules of the reference on rows in memory. Where the library differs from it, and it should, a comment
//! beginning with "Differs" says how.

use std::collections::BTreeMap;

use refresh_tokens::RevokedReason;

use super::answer::{Answer, Failure, Why};
use super::step::{Actor, Bound, Days, Name, Org, Step, User, Way};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) user: User,
    pub(super) org: Org,
    pub(super) days: Days,
    pub(super) revoked: Option<By>,
    pub(super) rotated_to: Option<Name>,
    /// The token of the login that began it.
    pub(super) session: Name,
    pub(super) session_days: Option<Days>,
    pub(super) generation: i32,
}

/// What revoked a row: the library leaves a reason, the reference none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Library(RevokedReason),
    Reference,
}

impl By {
    fn of(actor: Actor, reason: RevokedReason) -> Self {
        match actor {
            Actor::Library => Self::Library(reason),
            Actor::Reference => Self::Reference,
        }
    }
}

impl Row {
    pub(super) fn is_valid(&self) -> bool {
        self.revoked.is_none() && self.rotated_to.is_none() && self.days >= 0
    }

    fn matches(&self, bound: Bound) -> bool {
        bound.user.is_none_or(|user| user == self.user) && bound.org.is_none_or(|org| org == self.org)
    }
}

/// What a rotation asks for.
struct Request {
    id: Name,
    hash: Name,
    days: Days,
    org: Option<Org>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) rows: BTreeMap<Name, Row>,
    /// Every rotation that ever was, also of rows that clean-up has deleted.
    pub(super) lineage: BTreeMap<Name, Name>,
    pub(super) born: u32,
    /// Situations worth counting that the answer does not show.
    pub(super) notes: Vec<&'static str>,
}

impl Model {
    /// Changes the rows as the step does, and says what it answers.
    pub(super) fn apply(&mut self, step: &Step<Name>) -> Answer {
        match *step {
            Step::Create { by, id, hash, user, org, days, session_days } => {
                let row = Row {
                    user,
                    org,
                    days: session_days.map_or(days, |end| end.min(days)),
                    revoked: None,
                    rotated_to: None,
                    session: id,
                    session_days,
                    generation: 0,
                };
                self.create(by, id, hash, days, row)
            }
            Step::GetByHash(token) => found(self.rows.contains_key(&token), token),
            Step::GetValidByHash(token, bound) => {
                let row = self.rows.get(&token);
                found(row.is_some_and(|row| row.is_valid() && row.matches(bound)), token)
            }
            Step::CheckTokenReuse(token) => {
                let row = self.rows.get(&token);
                found(row.is_some_and(|row| row.rotated_to.is_some()), token)
            }
            Step::Rotate { by, presented, id, hash, days, org, bound } => {
                let request = Request { id, hash, days, org };
                match by {
                    Way::Verb => self.rotate(presented, &request, bound),
                    Way::Guard => self.rotate_under_guard(presented, &request, bound),
                    Way::Reference => self.reference_rotates(presented, &request, bound.user),
                }
            }
            Step::RevokeTokenChain(by, token) => self.revoke_token_chain(by, token),
            Step::Revoke(by, token) | Step::RevokeByHash(by, token) => {
                let by = By::of(by, RevokedReason::TokenRevoked);
                Answer::Did(self.revoke([token], by) == 1)
            }
            Step::RevokeAllForUser(by, user) => {
                let theirs = self.names(|_, row| row.user == user);
                Answer::Count(self.revoke(theirs, By::of(by, RevokedReason::UserRevoked)))
            }
            Step::RevokeAllForUserExcept(by, user, keep) => self.revoke_all_for_user_except(by, user, keep),
            Step::GetActiveTokensForUser(user) => {
                let mut active = self.names(|_, row| row.user == user && row.is_valid());
                active.reverse();
                Answer::Listed(active)
            }
            Step::CleanupExpired(by, days) => self.cleanup_expired(by, days),
            Step::Age(token, days) => {
                if let Some(row) = self.rows.get_mut(&token) {
                    row.days = row.days.min(days);
                }
                Answer::Nothing
            }
        }
    }

    pub(super) fn names(&self, kind: impl Fn(Name, &Row) -> bool) -> Vec<Name> {
        let chosen = self.rows.iter().filter(|(name, row)| kind(**name, row));
        chosen.map(|(name, _)| *name).collect()
    }

    /// The tokens that descend from one, deleted ones included, in the order of the rotations.
    pub(super) fn descendants(&self, token: Name) -> Vec<Name> {
        let next = |name: &Name| self.lineage.get(name).copied();
        std::iter::successors(next(&token), next).collect()
    }

    fn create(&mut self, by: Actor, id: Name, hash: Name, days: Days, row: Row) -> Answer {
        // Differs: the library refuses a token that would be born expired, before it looks for duplicates.
        if by == Actor::Library && row.days < 0 {
            return Answer::Failed(Failure::NotInFuture(if row.days < days {
                "session.expires_at"
            } else {
                "expires_at"
            }));
        }
        match self.insert(id, hash, row) {
            Ok(()) => Answer::Token(id),
            Err(failure) => Answer::Failed(failure),
        }
    }

    /// Id and hash are unique; of two collisions PostgreSQL reports the primary key's.
    fn insert(&mut self, id: Name, hash: Name, row: Row) -> Result<(), Failure> {
        if self.rows.contains_key(&id) {
            return Err(Failure::DuplicateId);
        }
        if self.rows.contains_key(&hash) {
            return Err(Failure::DuplicateHash);
        }
        self.rows.insert(id, row);
        self.born += 1;
        Ok(())
    }

    /// Differs: the library says why it refuses. This is the order in which it decides.
    fn decide(&self, presented: Name, bound: Bound) -> Result<&Row, Why> {
        match self.rows.get(&presented) {
            None => Err(Why::NotFound),
            Some(row) if row.rotated_to.is_some() => Err(Why::Reused(presented)),
            Some(row) if !row.matches(bound) => Err(Why::BindingMismatch(presented)),
            Some(row) if row.revoked.is_some() => Err(Why::Revoked(presented)),
            Some(row) => Ok(row),
        }
    }

    fn rotate(&mut self, presented: Name, request: &Request, bound: Bound) -> Answer {
        let row = match self.decide(presented, bound) {
            Ok(row) => row.clone(),
            Err(Why::Reused(_)) => return self.rotated_already(presented, request, bound),
            Err(why) => return Answer::Refused(why),
        };
        // Differs: the library refuses a successor that would be born expired, whatever is presented.
        if request.days < 0 {
            return Answer::Failed(Failure::NotInFuture("successor.expires_at"));
        }
        if row.days < 0 {
            return Answer::Refused(Why::Expired(presented));
        }
        self.succeed(presented, &row, request)
    }

    /// Differs: the same successor sent again gets the same answer, while the successor is live and unused.
    fn rotated_already(&mut self, presented: Name, request: &Request, bound: Bound) -> Answer {
        let reused = Answer::Refused(Why::Reused(presented));
        let parent = &self.rows[&presented];
        if !parent.matches(bound) {
            self.notes.push("reused: by somebody else");
            return reused;
        }
        if parent.rotated_to != Some(request.id) {
            return reused;
        }
        if request.hash != request.id {
            self.notes.push("sent again: with another hash");
            return reused;
        }
        let Some(made) = self.rows.get(&request.id) else {
            self.notes.push("sent again: successor deleted");
            return reused;
        };
        if made.rotated_to.is_some() {
            self.notes.push("sent again: successor used");
            return reused;
        }
        let (note, answer) = if parent.revoked.is_some() {
            let why = Why::Revoked(presented);
            ("sent again: parent revoked", Answer::Refused(why))
        } else if made.revoked.is_some() {
            let why = Why::Revoked(request.id);
            ("sent again: successor revoked", Answer::Refused(why))
        } else if made.days < 0 {
            let why = Why::Expired(request.id);
            ("sent again: successor expired", Answer::Refused(why))
        } else {
            ("sent again: converged", Answer::Rotated(request.id))
        };
        self.notes.push(note);
        answer
    }

    /// As the reference, `None` for whatever it refuses; but the errors are the library's.
    fn rotate_under_guard(&mut self, presented: Name, request: &Request, bound: Bound) -> Answer {
        let row = match self.decide(presented, bound) {
            Ok(row) if row.days >= 0 => row.clone(),
            _ => return Answer::Nothing,
        };
        if request.days < 0 {
            return Answer::Failed(Failure::NotInFuture("successor.expires_at"));
        }
        self.succeed(presented, &row, request)
    }

    /// Its successor joins the session through the table's trigger.
    fn reference_rotates(&mut self, presented: Name, request: &Request, user: Option<User>) -> Answer {
        match self.rows.get(&presented).cloned() {
            Some(row) if row.is_valid() && row.matches(Bound { user, org: None }) => {
                self.succeed(presented, &row, request)
            }
            _ => Answer::Nothing,
        }
    }

    fn succeed(&mut self, presented: Name, parent: &Row, request: &Request) -> Answer {
        let end = parent.session_days;
        let successor = Row {
            org: request.org.unwrap_or(parent.org),
            // Differs: no token outlives its session.
            days: end.map_or(request.days, |end| end.min(request.days)),
            generation: parent.generation + 1,
            ..parent.clone()
        };
        if successor.days < request.days {
            self.notes.push("successor: ends with its session");
        }
        if let Err(failure) = self.insert(request.id, request.hash, successor) {
            return Answer::Failed(failure);
        }
        self.lineage.insert(presented, request.id);
        if let Some(row) = self.rows.get_mut(&presented) {
            row.rotated_to = Some(request.id);
        }
        Answer::Rotated(request.id)
    }

    fn revoke(&mut self, which: impl IntoIterator<Item = Name>, by: By) -> usize {
        let mut count = 0;
        for name in which {
            if let Some(row) = self.rows.get_mut(&name)
                && row.revoked.is_none()
            {
                row.revoked = Some(by);
                count += 1;
            }
        }
        count
    }

    fn revoke_token_chain(&mut self, by: Actor, token: Name) -> Answer {
        if !self.rows.contains_key(&token) {
            return Answer::Count(0);
        }
        let descendants = self.descendants(token);
        let is_there = |name: &&Name| self.rows.contains_key(name);
        let unbroken: Vec<Name> = descendants.iter().take_while(is_there).copied().collect();
        let reason = By::of(by, RevokedReason::ChainRevoked);
        let count = self.revoke([token].into_iter().chain(unbroken), reason);
        Answer::Count(match by {
            Actor::Reference => count,
            // Differs: a link that clean-up has deleted does not end the walk.
            Actor::Library => {
                let beyond = self.revoke(descendants, reason);
                if beyond > 0 {
                    self.notes.push("chain: revoked beyond a deleted link");
                }
                count + beyond
            }
        })
    }

    fn revoke_all_for_user_except(&mut self, by: Actor, user: User, keep: Name) -> Answer {
        let spared = match (by, self.rows.get(&keep)) {
            // Differs: of a token that has been rotated, the session is kept as it is.
            (Actor::Library, Some(kept)) if kept.rotated_to.is_some() => {
                let session = kept.session;
                self.names(|_, row| row.session == session)
            }
            _ => vec![keep],
        };
        let theirs = self.names(|name, row| row.user == user && !spared.contains(&name));
        let lives = |name: &Name| self.rows.get(name).is_some_and(|row| row.user == user && row.is_valid());
        if spared.len() > 1 && spared.iter().any(lives) {
            self.notes.push("all but a stale token: its session lives on");
        }
        Answer::Count(self.revoke(theirs, By::of(by, RevokedReason::OthersRevoked)))
    }

    fn cleanup_expired(&mut self, by: Actor, days: i32) -> Answer {
        // Differs: the library refuses a number of days that is negative or absurd.
        if by == Actor::Library && !(0..=36_500).contains(&days) {
            return Answer::Failed(Failure::Days);
        }
        let before = self.rows.clone();
        self.rows.retain(|_, row| row.days >= -Days::from(days));
        let is_middle = |name: &Name, row: &Row| {
            let parent = before.values().find(|row| row.rotated_to == Some(*name));
            let child = row.rotated_to.and_then(|child| self.rows.get(&child));
            parent.is_some() && child.is_some_and(Row::is_valid)
        };
        let deleted = || before.iter().filter(|(name, _)| !self.rows.contains_key(name));
        let count = deleted().count();
        if deleted().any(|(name, row)| is_middle(name, row)) {
            self.notes.push("clean-up: cut a chain before a valid token");
        }
        Answer::Count(count)
    }
}

fn found(is: bool, token: Name) -> Answer {
    if is { Answer::Token(token) } else { Answer::Nothing }
}
