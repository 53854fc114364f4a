//! Many rotations in one transaction, and what that leaves one after the other.

use crate::algorithm::Cure;
use crate::client::{At, Outcome, Then, Turn};
use crate::database::{Row, Token};
use crate::verb::Verb;

impl Turn<'_> {
    fn batch(&self) -> ([(Token, Token); 2], bool) {
        match self.verb {
            Verb::RotateMany { requests, hosted } => (requests, hosted),
            verb => unreachable!("{verb:?} is no batch"),
        }
    }

    /// One statement locks what it can get, and writes for all of that.
    pub(crate) fn rotate_together(&mut self) {
        let (requests, hosted) = self.batch();
        let find = |turn: &Self| {
            let is_live = |token: &Token| turn.database.read(turn.me, *token).is_some_and(Row::is_live);
            let mut tokens: Vec<Token> = requests.iter().map(|(presented, _)| *presented).filter(is_live).collect();
            if turn.has(Cure::BatchInOrder) {
                tokens.sort_by_key(|token| turn.database.snapshot(turn.me).position(|row| row.token == *token));
            }
            tokens
        };
        let waits = hosted || !self.has(Cure::BatchSkipsLocked);
        let Some(statement) = self.lock_rows(waits, find, Row::is_live) else { return };
        for (at, (presented, successor)) in requests.into_iter().enumerate() {
            if statement.locked.contains(&presented) && self.spend(presented, successor) {
                self.client.batch.outcomes[at] = Some(Outcome::Rotated);
            }
        }
        let is_done = self.client.batch.outcomes.iter().all(Option::is_some);
        self.client.at = if is_done { At::Commit(Then::Rest) } else { At::JudgeTogether };
    }

    /// A plain read, in the same transaction.
    pub(crate) fn judge_together(&mut self) {
        let (requests, hosted) = self.batch();
        for (at, (presented, successor)) in requests.into_iter().enumerate() {
            if self.client.batch.outcomes[at].is_some() {
                continue;
            }
            let row = self.database.read(self.me, presented).copied();
            let then = row.map_or(Some(Then::Finish(Outcome::NotFound)), |row| self.dead(&row, successor));
            self.client.batch.outcomes[at] = match then {
                Some(Then::Finish(outcome)) => Some(outcome),
                // It would go on in savepoints, of which the model has none.
                _ if hosted => Some(Outcome::NotFound),
                _ => None,
            };
        }
        let is_done = self.client.batch.outcomes.iter().all(Option::is_some);
        if is_done || self.has(Cure::RestAfterCommit) {
            self.client.at = At::Commit(Then::Rest);
        } else {
            self.go_on_alone();
        }
    }

    /// The next request that nothing has come of, as if it had been sent by itself.
    pub(crate) fn go_on_alone(&mut self) {
        match self.client.batch.outcomes.iter().position(Option::is_none) {
            Some(at) => {
                self.client.batch.alone = at;
                self.client.at = At::RotateAtOnce;
            }
            None => self.after(Then::Finish(Outcome::Batch)),
        }
    }

    pub(crate) fn note_alone(&mut self, outcome: Outcome) {
        let alone = self.client.batch.alone;
        self.client.batch.outcomes[alone] = Some(outcome);
        self.go_on_alone();
    }
}
