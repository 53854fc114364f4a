//! Revocation of what belongs to one user: the gate, the cutoff, and passes until one has seen nothing.
//!
//! One token is a single UPDATE.

use crate::algorithm::Cure;
use crate::client::{At, Outcome, Then, Turn};
use crate::database::{Row, Token};
use crate::verb::Verb;

/// Passes that have seen something, beyond which there is nothing new.
const PASSES_TOLD_APART: u8 = 3;

impl Turn<'_> {
    /// Of a chain its start, of a session any token of it.
    pub(crate) fn read_target(&mut self) {
        let is_there = match self.verb {
            Verb::RevokeChain(start) => self.database.read(self.me, start).is_some(),
            verb => self.database.snapshot(self.me).any(|row| verb.targets(self.table, row)),
        };
        self.client.at = if !is_there {
            At::Rollback(Then::Finish(Outcome::NotFound))
        } else if self.has(Cure::RevocationShutsGate) {
            At::ShutGate
        } else {
            At::Pass
        };
    }

    pub(crate) fn shut_gate(&mut self) {
        self.database.lock_gate(self.me, self.gate());
        self.client.at = match self.verb {
            Verb::Redeem { .. } => At::MarkReuse,
            verb if verb.cuts_off(self.table).is_some() => At::CutOff,
            _ => At::Pass,
        };
    }

    pub(crate) fn cut_off(&mut self) {
        let mut existed: Vec<_> = self.database.committed().map(|row| row.session).collect();
        existed.sort_unstable();
        existed.dedup();
        self.client.existed = existed;
        if let Some(scope) = self.verb.cuts_off(self.table) {
            self.client.cutoff = self.database.cut_off(self.me, scope);
        }
        self.client.at = match self.verb {
            Verb::RevokeOrg(_) | Verb::RevokeEverybody => {
                let shuts = self.has(Cure::RevocationShutsGate) && self.has(Cure::CutoffBeforeGates);
                At::Commit(if shuts { Then::ShutGates } else { Then::Walk })
            }
            _ => At::Pass,
        };
    }

    /// One UPDATE over the unrevoked rows that its snapshot has, oldest first.
    pub(crate) fn pass(&mut self) {
        let Some(statement) = self.lock_rows(true, Self::unrevoked, |row| !row.revoked) else { return };
        for token in &statement.locked {
            self.database.update(self.me, *token, |row| row.revoked = true);
        }
        let is_last = if !self.has(Cure::RepeatedPasses) {
            true
        } else if self.has(Cure::UntilNoneIsSeen) {
            statement.seen == 0
        } else {
            statement.locked.is_empty()
        };
        if !is_last {
            self.client.passes = PASSES_TOLD_APART.min(self.client.passes + 1);
            return;
        }
        self.client.at = At::Commit(Then::Finish(Outcome::Revoked));
    }

    fn unrevoked(&self) -> Vec<Token> {
        let targets: Vec<Token> = match self.verb {
            Verb::RevokeChain(start) if !self.has(Cure::ChainByGeneration) => self.linked_from(start),
            Verb::RevokeChain(start)
                if !self.has(Cure::StartReadOnce) && self.database.read(self.me, start).is_none() =>
            {
                Vec::new()
            }
            verb => {
                let rows = self.database.snapshot(self.me);
                rows.filter(|row| verb.targets(self.table, row)).map(|row| row.token).collect()
            }
        };
        let rows = self.database.snapshot(self.me);
        let unrevoked = rows.filter(|row| targets.contains(&row.token) && !row.revoked && !self.is_spared(row));
        unrevoked.map(|row| row.token).collect()
    }

    /// What `rotated_to` leads to, as far as there are rows.
    fn linked_from(&self, start: Token) -> Vec<Token> {
        let link = |token: &Row| token.rotated_to.and_then(|next| self.database.read(self.me, next));
        std::iter::successors(self.database.read(self.me, start), |row| link(row)).map(|row| row.token).collect()
    }

    /// The named token while it has no successor, and then its session as it is.
    fn is_spared(&self, row: &Row) -> bool {
        let Verb::RevokeUser { keep: Some(keep), .. } = self.verb else { return false };
        let keep_is_fresh = self.database.read(self.me, keep).is_some_and(|row| row.rotated_to.is_none());
        self.verb.spares(self.table) == Some(row.session)
            && (row.token == keep && row.rotated_to.is_none() || !keep_is_fresh)
    }

    /// The first statement of a breach response after the gate: nobody else has given it, or will give it.
    pub(crate) fn mark_reuse(&mut self) {
        let Some((presented, _)) = self.verb.exchange() else { return };
        let find = |turn: &Self| {
            let row = turn.database.read(turn.me, presented).filter(|row| !row.reused);
            row.map(|row| row.token).into_iter().collect()
        };
        let Some(statement) = self.lock_rows(true, find, |row| !row.reused) else { return };
        for token in &statement.locked {
            self.database.update(self.me, *token, |row| row.reused = true);
        }
        self.client.at = if statement.locked.is_empty() { At::ReadMarked } else { self.answer_reuse() };
    }

    /// Another was first; or the token has been deleted, and then nobody was.
    pub(crate) fn read_marked(&mut self) {
        let Some((presented, _)) = self.verb.exchange() else { return };
        let is_there = self.database.read(self.me, presented).is_some();
        self.client.at = if is_there || !self.has(Cure::GoneIsNotAnswered) {
            At::Commit(Then::Finish(Outcome::Reused))
        } else {
            self.answer_reuse()
        };
    }

    fn answer_reuse(&self) -> At {
        if self.verb.cuts_off(self.table).is_some() { At::CutOff } else { At::Pass }
    }

    pub(crate) fn revoke_one(&mut self) {
        let find = |turn: &Self| {
            let rows = turn.database.snapshot(turn.me);
            rows.filter(|row| turn.verb.targets(turn.table, row) && !row.revoked).map(|row| row.token).collect()
        };
        let Some(statement) = self.lock_rows(true, find, |row| !row.revoked) else { return };
        for token in statement.locked {
            self.database.update(self.me, token, |row| row.revoked = true);
        }
        self.client.at = At::Commit(Then::Finish(Outcome::Revoked));
    }
}
