//! Rotation, with the switch of organisation and the answer to reuse.

use crate::algorithm::Cure;
use crate::client::{At, Outcome, Then, Turn};
use crate::database::{Org, Row, Scope, Token};
use crate::verb::{OnReuse, Verb};

impl Turn<'_> {
    fn exchange(&self) -> (Token, Token) {
        if let Verb::RotateMany { requests, .. } = self.verb {
            return requests[self.client.batch.alone];
        }
        self.verb.exchange().unwrap_or_else(|| unreachable!("{:?} presents no token", self.verb))
    }

    fn switches_to(&self) -> Option<Org> {
        match self.verb {
            Verb::Rotate { org, .. } => org,
            _ => None,
        }
    }

    /// The token that this transaction has locked.
    fn presented(&self) -> Row {
        let (presented, _) = self.exchange();
        let row = self.database.read(self.me, presented);
        *row.unwrap_or_else(|| unreachable!("{presented:?} is locked and gone"))
    }

    fn switches(&self, row: &Row) -> bool {
        self.switches_to().is_some_and(|org| org != row.org)
    }

    /// Lock, judgement and both writes in one statement: there is a step between its snapshot and its lock, none after it.
    pub(crate) fn rotate_at_once(&mut self) {
        let (presented, successor) = self.exchange();
        let find = |turn: &Self| {
            let row = turn.database.read(turn.me, presented).filter(|row| row.is_live());
            row.map(|row| row.token).into_iter().collect()
        };
        let Some(statement) = self.lock_rows(true, find, Row::is_live) else { return };
        self.client.at = if !statement.locked.is_empty() && self.spend(presented, successor) {
            At::Commit(Then::Finish(Outcome::Rotated))
        } else if self.has(Cure::RefusalRollsBack) {
            At::Rollback(Then::AskWhyNot)
        } else {
            At::ReadWhyNot
        };
    }

    /// False where the token has expired, by a clock that is read under its lock, or would switch: nothing is changed.
    pub(crate) fn spend(&mut self, presented: Token, successor: Token) -> bool {
        let row = self.database.read(self.me, presented).copied();
        let row = row.filter(|row| !self.switches(row) && !self.database.has_expired(row));
        if let Some(row) = row {
            self.write(&row, successor);
        }
        row.is_some()
    }

    fn write(&mut self, row: &Row, successor: Token) {
        self.database.update(self.me, row.token, |row| row.rotated_to = Some(successor));
        self.database.insert(self.me, self.successor_of(row, successor));
    }

    /// A plain read in no transaction. What seems to be live goes on step by step.
    pub(crate) fn ask_why_not(&mut self) {
        let (presented, successor) = self.exchange();
        match self.database.read(self.me, presented).copied() {
            None => self.after(Then::Finish(Outcome::NotFound)),
            Some(row) => match self.dead(&row, successor) {
                Some(then) => self.after(then),
                None => self.client.at = At::LockPresented,
            },
        }
    }

    /// What becomes of a token that nothing can make valid again.
    pub(crate) fn dead(&self, row: &Row, successor: Token) -> Option<Then> {
        if row.rotated_to.is_some() {
            Some(self.of_spent(row, successor))
        } else if row.revoked {
            Some(Then::Finish(Outcome::AlreadyRevoked))
        } else {
            let has_expired = self.database.has_expired(row) && !self.switches(row);
            has_expired.then_some(Then::Finish(Outcome::Expired))
        }
    }

    /// The same request again, or within the grace period another one for the same token.
    fn of_spent(&self, row: &Row, successor: Token) -> Then {
        if row.rotated_to == Some(successor) {
            Then::Repeat
        } else if !self.is_in_grace() {
            self.after_reuse()
        } else if self.has(Cure::GraceRepeats) {
            Then::Repeat
        } else {
            Then::MintSibling
        }
    }

    /// Until time passes.
    fn is_in_grace(&self) -> bool {
        let has_grace = matches!(self.verb, Verb::Redeem { on_reuse: OnReuse::SessionAfterGrace, .. });
        has_grace && !self.database.time_has_passed
    }

    /// `SELECT … FOR UPDATE` of the presented token, if it is neither rotated nor revoked.
    pub(crate) fn lock_presented(&mut self) {
        let (presented, _) = self.exchange();
        let find = |turn: &Self| {
            let row = turn.database.read(turn.me, presented).filter(|row| row.is_live());
            row.map(|row| row.token).into_iter().collect()
        };
        let Some(statement) = self.lock_rows(true, find, Row::is_live) else { return };
        self.client.at = if statement.locked.is_empty() {
            At::ReadWhyNot
        } else if !self.has(Cure::RotationInOneTransaction) {
            self.database.commit(self.me);
            At::InsertSuccessor
        } else if matches!(self.verb, Verb::RotateInGuard { .. }) {
            At::ReadClock
        } else if !self.switches(&self.presented()) {
            At::WriteSuccessor
        } else if self.has(Cure::SwitchPassesGate) {
            At::PassGateToSwitch
        } else if self.has(Cure::SwitchJudged) {
            At::JudgeSwitch
        } else {
            At::WriteSuccessor
        };
    }

    /// A plain read: what makes a token spent never changes back.
    pub(crate) fn read_why_not(&mut self) {
        let (presented, successor) = self.exchange();
        let then = match self.database.read(self.me, presented) {
            // The guard answers no request a second time.
            Some(row) if row.rotated_to.is_some() && matches!(self.verb, Verb::RotateInGuard { .. }) => {
                Then::Finish(Outcome::Reused)
            }
            Some(row) if row.rotated_to.is_some() => self.of_spent(row, successor),
            Some(row) if row.revoked => Then::Finish(Outcome::AlreadyRevoked),
            _ => Then::Finish(Outcome::NotFound),
        };
        self.client.at = match then {
            Then::Respond if !self.has(Cure::RefusalRollsBack) => self.algorithm.breach_response(),
            _ => At::Rollback(then),
        };
    }

    /// By the guard, the token is judged now, and the host may take its time until it writes.
    pub(crate) fn read_clock(&mut self) {
        let has_expired = self.database.has_expired(&self.presented());
        self.client.at = if has_expired { At::Rollback(Then::Finish(Outcome::Expired)) } else { At::WriteSuccessor };
    }

    /// A mark says that the breach response has been given.
    fn after_reuse(&self) -> Then {
        let (presented, _) = self.exchange();
        let is_marked = self.database.read(self.me, presented).is_some_and(|row| row.reused);
        match self.verb {
            Verb::Redeem { .. } if !is_marked => Then::Respond,
            _ => Then::Finish(Outcome::Reused),
        }
    }

    /// The same request again: its successor is the answer while it is live. Locked FOR SHARE, here as if exclusively.
    pub(crate) fn lock_made(&mut self) {
        let (presented, successor) = self.exchange();
        // Being rotated never changes; the row may be deleted.
        let made = self.database.read(self.me, presented).and_then(|row| row.rotated_to).unwrap_or(successor);
        let find = |turn: &Self| turn.database.read(turn.me, made).map(|row| row.token).into_iter().collect();
        if self.lock_rows(true, find, |_| true).is_none() {
            return;
        }
        let answer = if made == successor { Outcome::Rotated } else { Outcome::Given(made) };
        let spent_is_revoked = self.database.read(self.me, presented).is_some_and(|row| row.revoked);
        self.client.at = At::Commit(match self.database.read(self.me, made) {
            Some(made) if made.rotated_to.is_some() && self.has(Cure::GraceEndsWithUse) => self.after_reuse(),
            Some(_) if made != successor && !self.is_in_grace() => self.after_reuse(),
            Some(made) if made.revoked || spent_is_revoked => Then::Finish(Outcome::AlreadyRevoked),
            Some(made) if self.database.has_expired(made) => Then::Finish(Outcome::Expired),
            Some(_) => Then::Finish(answer),
            None => self.after_reuse(),
        });
    }

    pub(crate) fn insert_sibling(&mut self) {
        let (presented, successor) = self.exchange();
        if let Some(row) = self.database.read(self.me, presented).copied() {
            self.database.insert(self.me, self.successor_of(&row, successor));
        }
        self.client.at = At::Commit(Then::Finish(Outcome::Rotated));
    }

    /// `FOR NO KEY UPDATE SKIP LOCKED`: whoever has shut the gate may be waiting for the token that is locked here.
    pub(crate) fn pass_gate_to_switch(&mut self) {
        let gate = self.gate();
        self.client.at = if self.database.gate_is_free(self.me, gate) {
            self.database.lock_gate(self.me, gate);
            if self.has(Cure::SwitchJudged) { At::JudgeSwitch } else { At::WriteSuccessor }
        } else {
            At::Rollback(Then::PassGateFirst)
        };
    }

    /// Whether the organisation, or the user in it, was cut off since the session began.
    pub(crate) fn judge_switch(&mut self) {
        let row = self.presented();
        let scopes = self.switches_to().map(|org| [Scope::Org(org), Scope::Member(row.user, org)]);
        let since = row.session_started_at;
        let is_cut_off = scopes.is_some_and(|scopes| self.database.is_cut_off(self.me, &scopes, since));
        self.client.at = if is_cut_off { At::Rollback(Then::Finish(Outcome::CutOff)) } else { At::WriteSuccessor };
    }

    /// Both writes in one statement, which judges expiry by a clock read after the lock was held.
    pub(crate) fn write_successor(&mut self) {
        let (_, successor) = self.exchange();
        let row = self.presented();
        if self.database.has_expired(&row) && !matches!(self.verb, Verb::RotateInGuard { .. }) {
            self.client.at = At::Rollback(Then::Finish(Outcome::Expired));
            return;
        }
        self.write(&row, successor);
        self.client.at = At::Commit(Then::Finish(Outcome::Rotated));
    }

    fn successor_of(&self, row: &Row, successor: Token) -> Row {
        Row {
            token: successor,
            org: self.switches_to().unwrap_or(row.org),
            generation: row.generation + 1,
            predecessor: Some(row.token),
            rotated_to: None,
            revoked: false,
            reused: false,
            ..*row
        }
    }

    /// In autocommit: the lock on the predecessor ended with its own statement.
    pub(crate) fn insert_successor(&mut self) {
        let (presented, successor) = self.exchange();
        let row = self.database.read(self.me, presented).copied();
        self.client.at = match row {
            Some(row) => {
                self.database.insert(self.me, self.successor_of(&row, successor));
                self.database.commit(self.me);
                At::LinkSuccessor
            }
            None => At::Done(Outcome::NotFound),
        };
    }

    pub(crate) fn link_successor(&mut self) {
        let (presented, successor) = self.exchange();
        let find = |turn: &Self| turn.database.read(turn.me, presented).map(|row| row.token).into_iter().collect();
        let Some(statement) = self.lock_rows(true, find, |_| true) else { return };
        for token in statement.locked {
            self.database.update(self.me, token, |row| row.rotated_to = Some(successor));
        }
        self.client.at = At::Commit(Then::Finish(Outcome::Rotated));
    }

    /// The first lock of a transaction may be waited for.
    pub(crate) fn pass_gate_and_go_on(&mut self, next: At) {
        self.database.lock_gate(self.me, self.gate());
        self.client.at = next;
    }
}
