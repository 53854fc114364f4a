//! What follows from the answers of a history alone: who was born when, of whom, and by when it was dead for certain.

use std::collections::{HashMap, HashSet};

use refresh_tokens::{BreachResponse, OnReuse, TokenRevocation};
use uuid::Uuid;

use super::history::{Answer, By, Call, History, Login, Op, Stamp, Target, Why};

/// A token that an answer gave.
#[derive(Debug, Clone)]
pub(super) struct Birth {
    pub(super) user: Uuid,
    pub(super) org: Uuid,
    pub(super) session: Uuid,
    pub(super) generation: i32,
    pub(super) start: Stamp,
    /// It existed from here on at the latest.
    pub(super) end: Stamp,
}

/// The begin of a session.
#[derive(Debug)]
pub(super) struct Begin<'a> {
    pub(super) login: &'a Login,
    pub(super) start: Stamp,
    pub(super) end: Stamp,
}

/// All committed answers that gave a presented token a successor, or may have.
#[derive(Debug)]
pub(super) struct Spent {
    pub(super) successor: Uuid,
    pub(super) start: Stamp,
    pub(super) end: Stamp,
}

/// A revocation that was committed, also one that is a breach response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) target: Target,
    pub(super) start: Stamp,
    pub(super) end: Stamp,
    /// Where it answered with an error, its effect may be a part of it.
    pub(super) is_whole: bool,
    pub(super) ended: usize,
}

/// Dead for every call that starts after a stamp, and by which call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    pub(super) since: Stamp,
    pub(super) call: usize,
    pub(super) by_revocation: bool,
}

pub(super) struct Facts<'a> {
    pub(super) births: HashMap<Uuid, Birth>,
    pub(super) sessions: HashMap<Uuid, Begin<'a>>,
    pub(super) spent: HashMap<Uuid, Spent>,
    /// In the order of their calls.
    pub(super) endings: Vec<Ending>,
    /// Tokens that may have expired, and so may have been deleted.
    pub(super) expirable: HashSet<Uuid>,
    /// From when on a token was rotated long ago, if it was rotated.
    aged: HashMap<Uuid, Stamp>,
    /// The same for all tokens of a session but its first.
    aged_between: HashMap<Uuid, Stamp>,
    /// The server was killed meanwhile.
    pub(super) is_killed: bool,
    /// Tokens whose reuse may have been responded to, without an answer that says so: from when on.
    pub(super) unknown_responses: HashMap<Uuid, Stamp>,
    dead_tokens: HashMap<Uuid, Death>,
    dead_sessions: HashMap<Uuid, Death>,
    dead_members: HashMap<(Uuid, Uuid), Death>,
    first_endings: HashMap<Uuid, Stamp>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let mut facts = Self {
            births: HashMap::new(),
            sessions: HashMap::new(),
            spent: HashMap::new(),
            endings: Vec::new(),
            expirable: HashSet::new(),
            aged: HashMap::new(),
            aged_between: HashMap::new(),
            is_killed: history.kills > 0,
            unknown_responses: HashMap::new(),
            dead_tokens: HashMap::new(),
            dead_sessions: HashMap::new(),
            dead_members: HashMap::new(),
            first_endings: HashMap::new(),
        };
        history.calls.iter().for_each(|call| facts.note_birth(call));
        facts.note_unknown(history);
        for (number, call) in history.calls.iter().enumerate() {
            if let Some(ending) = ending(call).or_else(|| facts.unknown_ending(call)) {
                facts.endings.push(ending);
                if ending.is_whole {
                    facts.note_ending(number, ending);
                }
            }
            facts.note_deaths(number, call);
        }
        for (token, birth) in &facts.births {
            let may_end = facts.endings.iter().find(|ending| facts.may_end(ending, *token, birth));
            if let Some(ending) = may_end {
                facts.first_endings.insert(*token, ending.start);
            }
        }
        facts
    }

    /// The earliest that is known.
    pub(super) fn death(&self, token: Uuid) -> Option<Death> {
        let birth = self.births.get(&token);
        let session = birth.and_then(|birth| self.session_death(birth.session));
        let member = birth.and_then(|birth| self.dead_members.get(&(birth.session, birth.org)).copied());
        let own = self.dead_tokens.get(&token).copied();
        [own, session, member].into_iter().flatten().min_by_key(|death| death.since)
    }

    /// When the first revocation was called that may have ended it.
    pub(super) fn first_ending(&self, token: Uuid) -> Option<Stamp> {
        self.first_endings.get(&token).copied()
    }

    /// Since when it is due if it was rotated.
    fn aged(&self, token: Uuid) -> Option<Stamp> {
        let birth = self.births.get(&token).filter(|birth| birth.generation > 0);
        let between = birth.and_then(|birth| self.aged_between.get(&birth.session));
        self.aged.get(&token).into_iter().chain(between).min().copied()
    }

    /// Whether clean-up may have taken it by then: what has a successor, for that alone.
    pub(super) fn may_be_gone(&self, token: Uuid, by: Stamp) -> bool {
        let is_due = if self.spent.contains_key(&token) { self.aged(token) } else { self.first_ending(token) };
        self.expirable.contains(&token) || is_due.is_some_and(|since| since < by)
    }

    fn may_end(&self, ending: &Ending, token: Uuid, birth: &Birth) -> bool {
        let of = |named: Uuid| self.births.get(&named).map(|named| (named.session, named.generation));
        let aims_at_it = match ending.target {
            Target::Token(named) | Target::Hash(named) => named == token,
            Target::Chain(named) => {
                of(named).is_some_and(|(session, first)| session == birth.session && first <= birth.generation)
            }
            Target::Session(session) | Target::Live(session) => session == birth.session,
            Target::SessionOf(named) => of(named).is_some_and(|(session, _)| session == birth.session),
            Target::User(user) | Target::Except { user, .. } => user == birth.user,
            Target::ExceptSession { user, session } => user == birth.user && session != birth.session,
            Target::Member { user, org } => (user, org) == (birth.user, birth.org),
            Target::Org(org) => org == birth.org,
            Target::Everyone => true,
        };
        aims_at_it && birth.start < ending.end
    }

    pub(super) fn session_death(&self, session: Uuid) -> Option<Death> {
        self.dead_sessions.get(&session).copied()
    }

    fn note_birth(&mut self, call: &'a Call) {
        match &call.op {
            Op::Create(login) if login.is_short => drop(self.expirable.insert(login.token)),
            Op::Expire(token) => drop(self.expirable.insert(*token)),
            // In the order of their calls.
            Op::Age(token) => drop(self.aged.entry(*token).or_insert(call.start)),
            Op::AgeBetween(session) => drop(self.aged_between.entry(*session).or_insert(call.start)),
            _ => {}
        }
        let Answer::Born(row) = &call.answer else { return };
        if !call.is_committed() {
            return;
        }
        let Call { start, end, .. } = *call;
        let birth = self.births.entry(row.id).or_insert(Birth {
            user: row.user,
            org: row.org,
            session: row.session,
            generation: row.generation,
            start,
            end,
        });
        (birth.start, birth.end) = (birth.start.min(start), birth.end.min(end));
        match &call.op {
            Op::Create(login) => drop(self.sessions.insert(row.session, Begin { login, start, end })),
            Op::Rotate { request, .. } => {
                let spent = self.spent.entry(request.presented).or_insert(Spent { successor: row.id, start, end });
                (spent.start, spent.end) = (spent.start.min(start), spent.end.min(end));
            }
            _ => {}
        }
    }

    /// What is dead because a revocation said `Ok`.
    fn note_ending(&mut self, number: usize, ending: Ending) {
        let death = Death { since: ending.end, call: number, by_revocation: true };
        match ending.target {
            Target::Token(token) | Target::Hash(token) => note(&mut self.dead_tokens, token, death),
            Target::Session(session) | Target::Live(session) => note(&mut self.dead_sessions, session, death),
            // All that came before the token in its session is spent; and if it was revoked and is gone, so is the session.
            Target::Chain(token) | Target::SessionOf(token) => {
                let is_aged = self.aged(token).is_some_and(|since| since < ending.end);
                let is_found = ending.ended > 0 || !(is_aged || self.expirable.contains(&token));
                if let Some(birth) = self.births.get(&token).filter(|birth| is_found && birth.end < ending.start) {
                    note(&mut self.dead_sessions, birth.session, death);
                }
            }
            Target::User(_)
            | Target::Except { .. }
            | Target::ExceptSession { .. }
            | Target::Member { .. }
            | Target::Org(_)
            | Target::Everyone => {
                self.note_wide_ending(ending, death);
            }
        }
    }

    fn note_wide_ending(&mut self, ending: Ending, death: Death) {
        for (session, begin) in &self.sessions {
            let Begin { login, end, .. } = begin;
            let concerns_user = match ending.target {
                Target::User(user) | Target::Member { user, .. } => user == login.user,
                Target::Except { user, keep } => {
                    user == login.user && self.births.get(&keep).is_none_or(|birth| birth.session != *session)
                }
                Target::ExceptSession { user, session: kept } => user == login.user && kept != *session,
                _ => true,
            };
            let org = match ending.target {
                Target::Member { org, .. } | Target::Org(org) => Some(org),
                _ => None,
            };
            // Into an organisation, the session may also come later, by a switch.
            let was_authenticated = login.authenticated.is_some_and(|it| it.end < ending.start);
            if concerns_user && (*end < ending.start || was_authenticated) {
                match org {
                    Some(org) => note(&mut self.dead_members, (*session, org), death),
                    None => note(&mut self.dead_sessions, *session, death),
                }
            }
        }
    }

    /// What is dead because an answer shows it.
    fn note_deaths(&mut self, number: usize, call: &Call) {
        let death = Death { since: call.end, call: number, by_revocation: false };
        for row in call.rows() {
            if row.rotated_to.is_some() || row.is_revoked {
                note(&mut self.dead_tokens, row.id, death);
            }
            if row.rotated_to.is_none() && row.is_revoked {
                note(&mut self.dead_sessions, row.session, death);
            }
        }
        match (&call.op, &call.answer) {
            (Op::Rotate { request, .. }, Answer::Born(_)) if call.is_committed() => {
                note(&mut self.dead_tokens, request.presented, death);
            }
            (Op::Rotate { .. }, Answer::Refused(Why::Expired, Some(row))) => {
                note(&mut self.dead_tokens, row.id, death);
            }
            (Op::Rotate { request, .. }, Answer::Refused(Why::NotFound, _)) => {
                self.note_death_of_born(request.presented, call, death);
            }
            (Op::Rotate { request, .. }, Answer::Refused(Why::NotSaid, _)) if request.binding.is_none() => {
                self.note_death_of_born(request.presented, call, death);
            }
            (Op::GetValid(token), Answer::Found(found)) if found.is_empty() => {
                self.note_death_of_born(*token, call, death);
            }
            (Op::Expire(token), Answer::Rows(_)) => self.note_death_of_born(*token, call, death),
            (Op::Revoke { .. }, Answer::EndedOne(TokenRevocation::SessionEnded { session_id }))
                if call.is_committed() =>
            {
                note(&mut self.dead_sessions, *session_id, death);
            }
            (Op::GetActive { user }, Answer::Found(found)) => {
                let shown: HashSet<Uuid> = found.iter().map(|row| row.id).collect();
                let is_missing = |token: &Uuid, birth: &Birth| {
                    birth.user == *user && birth.end < call.start && !shown.contains(token)
                };
                let missing = self.births.iter().filter(|(token, birth)| is_missing(token, birth));
                missing.for_each(|(token, _)| note(&mut self.dead_tokens, *token, death));
            }
            (Op::ListSessions { user }, Answer::Sessions(shown)) => {
                let shown: HashSet<&Uuid> = shown.iter().collect();
                let rotation = |login: &Login| self.spent.get(&login.token);
                let is_missing = |session: &Uuid, begin: &Begin<'_>| {
                    // Its first token had expired, while a rotation that found it valid before was not committed yet.
                    let is_at_once = |spent: &Spent| spent.start < call.end && call.start < spent.end;
                    let is_outlived = begin.login.is_short && rotation(begin.login).is_some_and(is_at_once);
                    let is_shown = shown.contains(session) || is_outlived;
                    begin.login.user == *user && begin.end < call.start && !is_shown
                };
                let missing = self.sessions.iter().filter(|(session, begin)| is_missing(session, begin));
                missing.for_each(|(session, _)| note(&mut self.dead_sessions, *session, death));
            }
            _ => {}
        }
    }

    fn note_death_of_born(&mut self, token: Uuid, call: &Call, death: Death) {
        if self.births.get(&token).is_some_and(|birth| birth.end < call.start) {
            note(&mut self.dead_tokens, token, death);
        }
    }
}

fn note<K: std::hash::Hash + Eq>(deaths: &mut HashMap<K, Death>, key: K, death: Death) {
    let earliest = deaths.entry(key).or_insert(death);
    if death.since < earliest.since {
        *earliest = death;
    }
}

/// The revocation that a call was, if it may have changed anything.
pub(super) fn ending(call: &Call) -> Option<Ending> {
    if !call.is_committed() {
        return None;
    }
    let (target, ended, is_whole) = match (&call.op, &call.answer) {
        (Op::Revoke { target, .. }, Answer::Ended(receipt)) => (*target, receipt.tokens, true),
        (Op::Revoke { target, .. }, Answer::EndedOne(ended)) => (*target, usize::from(ended.is_revoked()), true),
        // It goes in steps, each committed.
        (Op::Revoke { target: target @ (Target::Org(_) | Target::Everyone), .. }, Answer::Failed(_)) => {
            (*target, 0, false)
        }
        (Op::Rotate { by: By::Redeem(on_reuse), .. }, Answer::Reused(row, Some(BreachResponse::Revoked(receipt)))) => {
            let target = match on_reuse {
                OnReuse::RevokeUser => Target::User(row.user),
                OnReuse::RevokeChain => Target::Chain(row.id),
                _ => Target::Session(row.session),
            };
            (target, receipt.tokens, true)
        }
        _ => return None,
    };
    Some(Ending { target, start: call.start, end: call.end, is_whole, ended })
}
