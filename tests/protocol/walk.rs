//! What goes over the whole table in short transactions: revocation of an organisation or of everybody, and clean-up.

use crate::algorithm::Cure;
use crate::client::{At, Outcome, Place, Then, Turn, Walk};
use crate::database::{Row, Token};
use crate::verb::Verb;

impl Turn<'_> {
    /// Each gate in a transaction that does nothing else, so that its lock is given back at once. What counts is that
    /// whoever was in it has left.
    pub(crate) fn shut_each_gate(&mut self, gate: usize) {
        let next = gate + 1;
        self.client.at = if next < self.database.gates() {
            At::ShutEachGate { gate: next }
        } else if self.has(Cure::CutoffBeforeGates) {
            At::RevokeWindow
        } else {
            At::CutOff
        };
    }

    /// The next rows of the table, in a transaction of their own.
    pub(crate) fn revoke_window(&mut self) {
        let mut walk = self.client.walk;
        let begins = self.client.statement.is_none();
        let visited = if begins { self.next_rows() } else { Vec::new() };
        let find = |turn: &Self| {
            let live = visited.iter().filter(|row| row.is_live() && turn.is_business(row));
            live.map(|row| row.token).collect()
        };
        let statement = self.lock_rows(false, find, Row::is_live);
        if begins {
            walk.place = visited.last().map(|row| self.place(row));
        }
        let Some(statement) = statement else {
            self.client.walk = walk;
            return;
        };
        for token in &statement.locked {
            self.database.update(self.me, *token, |row| row.revoked = true);
        }
        walk.saw |= if self.has(Cure::WalkCountsSkipped) { statement.seen > 0 } else { !statement.locked.is_empty() };
        walk.skipped = walk.skipped.or(statement.skipped);
        let then = match (walk.place, walk.skipped) {
            (Some(_), _) => Then::Walk,
            (None, Some(_)) if walk.saw => Then::AwaitSkipped,
            (None, _) if walk.saw => Then::Walk,
            (None, _) => Then::Finish(Outcome::Revoked),
        };
        self.client.walk = match then {
            Then::Walk if walk.place.is_none() => Walk::default(),
            _ => walk,
        };
        if statement.seen == 0 {
            // COMMIT of a transaction that has neither written nor locked is nothing to anybody.
            self.after(then);
        } else {
            self.client.at = At::Commit(then);
        }
    }

    fn next_rows(&self) -> Vec<Row> {
        let is_ahead = |row: &&Row| self.client.walk.place.is_none_or(|reached| self.place(row) > reached);
        let mut rows: Vec<Row> = self.database.snapshot(self.me).filter(is_ahead).copied().collect();
        rows.sort_by_key(|row| self.place(row));
        rows.truncate(self.window);
        rows
    }

    fn place(&self, row: &Row) -> Place {
        if self.has(Cure::PredecessorFirst) { (row.session.0, row.generation) } else { (u8::MAX - row.token.0, 0) }
    }

    /// Of a session that had begun by the cutoff, and of the target.
    fn is_business(&self, row: &Row) -> bool {
        row.session_started_at < self.client.cutoff && self.verb.targets(self.table, row)
    }

    /// Until nobody else has it locked, in a transaction that holds nothing else.
    pub(crate) fn await_skipped(&mut self) {
        let skipped: Option<Token> = self.client.walk.skipped;
        let find = |turn: &Self| {
            skipped.and_then(|token| turn.database.read(turn.me, token)).map(|row| row.token).into_iter().collect()
        };
        if self.lock_rows(true, find, |_| true).is_some() {
            self.client.walk = Walk::default();
            self.client.at = At::Commit(Then::Walk);
        }
    }

    pub(crate) fn delete_due(&mut self) {
        let find = |turn: &Self| {
            let rows = turn.database.snapshot(turn.me);
            let mut due: Vec<Token> = rows.filter(|row| turn.is_due(row)).map(|row| row.token).collect();
            // By expiry, which the caller chose: any order but that of the revocations.
            due.reverse();
            due
        };
        let waits = !self.has(Cure::CleanUpSkipsLocked);
        let Some(statement) = self.lock_rows(waits, find, |_| true) else { return };
        for token in statement.locked {
            self.database.delete(self.me, token);
            if !self.has(Cure::NoForeignKey) {
                self.set_null(token);
            }
        }
        self.client.at = At::Commit(Then::Finish(Outcome::CleanedUp));
    }

    /// What is due stays due: a condition that is checked under the lock again would say the same.
    fn is_due(&self, row: &Row) -> bool {
        self.database.has_expired(row) || self.verb == Verb::CleanUpSpent && !row.is_live()
    }

    /// What `ON DELETE SET NULL` does to the predecessor; where that is locked, it is left out of the model.
    fn set_null(&mut self, deleted: Token) {
        let rows = self.database.snapshot(self.me);
        let predecessors: Vec<Token> =
            rows.filter(|row| row.rotated_to == Some(deleted)).map(|row| row.token).collect();
        for token in predecessors {
            if !self.database.is_locked_by_another(self.me, token) {
                self.database.lock(self.me, token, |_| true);
                self.database.update(self.me, token, |row| row.rotated_to = None);
            }
        }
    }
}
