//! PostgreSQL at READ COMMITTED, as far as the protocol can notice: row versions, snapshots, row locks, a clock.
//!
//! A row has a committed version and at most one uncommitted change, by whoever holds its lock. What a transaction
//! sees is what is committed, and what it wrote itself. Nothing here decides who waits: `turn` asks whether a lock
//! is free, and does not take the step otherwise.

use std::fmt;

/// Who: the index of a client, each with a connection of its own.
pub(crate) type Backend = usize;

/// Instants are told apart by the cutoffs between them: the clock goes on whenever one is written, and what happens
/// at the same reading as a cutoff happens after it.
pub(crate) type Instant = u8;

macro_rules! ids {
    ($($name:ident $letter:literal)*) => {$(
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub(crate) u8);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $letter, self.0)
            }
        }
    )*};
}

ids! { Token "t" Session "s" User "u" Org "o" }

/// A row of `refresh_tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) token: Token,
    pub(crate) user: User,
    pub(crate) org: Org,
    pub(crate) session: Session,
    pub(crate) generation: u8,
    pub(crate) session_started_at: Instant,
    /// What the login told, if it did; no column, but what a revocation promises depends on it.
    pub(crate) authenticated_at: Option<Instant>,
    /// No column either: the truth about descent, where links and sessions may be lost.
    pub(crate) predecessor: Option<Token>,
    /// Whether it expires when time passes.
    pub(crate) short_lived: bool,
    pub(crate) rotated_to: Option<Token>,
    pub(crate) revoked: bool,
    pub(crate) reused: bool,
}

impl Row {
    pub(crate) fn is_live(&self) -> bool {
        self.rotated_to.is_none() && !self.revoked
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Change {
    Written(Row),
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Versions {
    token: Token,
    committed: Option<Row>,
    locked_by: Option<Backend>,
    /// By the holder of the lock.
    change: Option<Change>,
}

impl Versions {
    fn visible_to(&self, me: Backend) -> Option<&Row> {
        match &self.change {
            Some(Change::Written(row)) if self.locked_by == Some(me) => Some(row),
            Some(Change::Deleted) if self.locked_by == Some(me) => None,
            _ => self.committed.as_ref(),
        }
    }
}

/// Whom a cutoff concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    User(User),
    Member(User, Org),
    Org(Org),
    Everybody,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cutoff {
    scope: Scope,
    at: Instant,
    uncommitted_by: Option<Backend>,
}

/// What a transaction finds when it has got hold of a row that its snapshot had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The newest version still meets the condition.
    AsSeen,
    /// It does not; but the lock stays until the end of the transaction.
    Changed,
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    /// In the order of `created_at`, which is that of insertion and not that of COMMIT.
    tokens: Vec<Versions>,
    /// Who holds each; its row has no content that matters.
    gates: Vec<Option<Backend>>,
    cutoffs: Vec<Cutoff>,
    pub(crate) clock: Instant,
    /// Whether the short-lived tokens have expired.
    pub(crate) time_has_passed: bool,
}

impl Database {
    pub(crate) fn new(table: &[Row], gates: usize) -> Self {
        let committed = |row: &Row| Versions { token: row.token, committed: Some(*row), locked_by: None, change: None };
        Self {
            tokens: table.iter().map(committed).collect(),
            gates: vec![None; gates],
            cutoffs: Vec::new(),
            clock: 0,
            time_has_passed: false,
        }
    }

    /// What a statement that starts now sees, oldest first.
    pub(crate) fn snapshot(&self, me: Backend) -> impl Iterator<Item = &Row> {
        self.tokens.iter().filter_map(move |versions| versions.visible_to(me))
    }

    pub(crate) fn read(&self, me: Backend, token: Token) -> Option<&Row> {
        self.snapshot(me).find(|row| row.token == token)
    }

    /// What everybody can see.
    pub(crate) fn committed(&self) -> impl Iterator<Item = &Row> {
        self.tokens.iter().filter_map(|versions| versions.committed.as_ref())
    }

    pub(crate) fn has_expired(&self, row: &Row) -> bool {
        row.short_lived && self.time_has_passed
    }

    fn versions(&mut self, token: Token) -> Option<&mut Versions> {
        self.tokens.iter_mut().find(|versions| versions.token == token)
    }

    pub(crate) fn locked_by(&self, token: Token) -> Option<Backend> {
        self.tokens.iter().find(|versions| versions.token == token).and_then(|versions| versions.locked_by)
    }

    pub(crate) fn is_locked_by_another(&self, me: Backend, token: Token) -> bool {
        self.locked_by(token).is_some_and(|holder| holder != me)
    }

    /// Locks a row that nobody else has locked, and checks the condition again (`EvalPlanQual`).
    pub(crate) fn lock(&mut self, me: Backend, token: Token, condition: impl Fn(&Row) -> bool) -> Held {
        let Some(versions) = self.versions(token) else { return Held::Gone };
        let Some(newest) = versions.visible_to(me) else { return Held::Gone };
        let held = if condition(newest) { Held::AsSeen } else { Held::Changed };
        versions.locked_by = Some(me);
        held
    }

    /// Writes a new version of a row that `me` has locked.
    pub(crate) fn update(&mut self, me: Backend, token: Token, set: impl FnOnce(&mut Row)) {
        let Some(versions) = self.versions(token) else { return };
        let Some(mut row) = versions.visible_to(me).copied() else { return };
        set(&mut row);
        versions.change = Some(Change::Written(row));
    }

    pub(crate) fn insert(&mut self, me: Backend, row: Row) {
        let change = Some(Change::Written(row));
        self.tokens.push(Versions { token: row.token, committed: None, locked_by: Some(me), change });
    }

    /// Deletes a row that `me` has locked.
    pub(crate) fn delete(&mut self, me: Backend, token: Token) {
        debug_assert!(!self.is_locked_by_another(me, token), "{token:?} is deleted under its lock");
        if let Some(versions) = self.versions(token) {
            versions.change = Some(Change::Deleted);
        }
    }

    pub(crate) fn gate_is_free(&self, me: Backend, gate: usize) -> bool {
        self.gates[gate].is_none_or(|holder| holder == me)
    }

    /// Logins, too, hold it exclusively.
    pub(crate) fn lock_gate(&mut self, me: Backend, gate: usize) {
        self.gates[gate] = Some(me);
    }

    pub(crate) fn gates(&self) -> usize {
        self.gates.len()
    }

    pub(crate) fn gate_of(&self, user: User) -> usize {
        usize::from(user.0) % self.gates.len()
    }

    pub(crate) fn cut_off(&mut self, me: Backend, scope: Scope) -> Instant {
        self.clock += 1;
        self.cutoffs.push(Cutoff { scope, at: self.clock, uncommitted_by: Some(me) });
        self.clock
    }

    pub(crate) fn is_cut_off(&self, me: Backend, scopes: &[Scope], since: Instant) -> bool {
        self.cutoffs
            .iter()
            .filter(|cutoff| cutoff.uncommitted_by.is_none_or(|writer| writer == me))
            .any(|cutoff| cutoff.at > since && scopes.contains(&cutoff.scope))
    }

    pub(crate) fn commit(&mut self, me: Backend) {
        for versions in self.tokens.iter_mut().filter(|versions| versions.locked_by == Some(me)) {
            match versions.change.take() {
                Some(Change::Written(row)) => versions.committed = Some(row),
                Some(Change::Deleted) => versions.committed = None,
                None => {}
            }
        }
        for cutoff in self.cutoffs.iter_mut().filter(|cutoff| cutoff.uncommitted_by == Some(me)) {
            cutoff.uncommitted_by = None;
        }
        self.release(me);
    }

    pub(crate) fn rollback(&mut self, me: Backend) {
        for versions in self.tokens.iter_mut().filter(|versions| versions.locked_by == Some(me)) {
            versions.change = None;
        }
        self.cutoffs.retain(|cutoff| cutoff.uncommitted_by != Some(me));
        self.release(me);
    }

    fn release(&mut self, me: Backend) {
        for versions in self.tokens.iter_mut().filter(|versions| versions.locked_by == Some(me)) {
            versions.locked_by = None;
        }
        // Deleted, or never committed.
        self.tokens.retain(|versions| versions.committed.is_some() || versions.locked_by.is_some());
        for gate in &mut self.gates {
            *gate = gate.filter(|holder| *holder != me);
        }
    }
}
