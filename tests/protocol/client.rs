//! One client: which statement comes next, what its transaction remembers, and how a statement takes its locks.

use crate::algorithm::{Algorithm, Cure};
use crate::database::{Backend, Database, Held, Instant, Row, Session, Token};
use crate::verb::Verb;

/// Where a client is: the statement that it runs next, or has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum At {
    // Rotation.
    RotateAtOnce,
    AskWhyNot,
    LockPresented,
    ReadWhyNot,
    ReadClock,
    LockMade,
    InsertSibling,
    PassGateToSwitch,
    PassGateFirst,
    JudgeSwitch,
    WriteSuccessor,
    /// The reference's in autocommit.
    InsertSuccessor,
    LinkSuccessor,

    // Many rotations.
    RotateTogether,
    JudgeTogether,

    // Login.
    Authenticate,
    PassGateToLogIn,
    InsertLogin,
    CountSessions,
    EndOldest,

    // Revocation of what belongs to one user.
    ReadTarget,
    ShutGate,
    CutOff,
    Pass,
    MarkReuse,
    ReadMarked,
    RevokeOne,

    // Revocation of an organisation, or of everybody.
    ShutEachGate {
        gate: usize,
    },
    RevokeWindow,
    AwaitSkipped,

    DeleteDue,

    Commit(Then),
    Rollback(Then),
    Done(Outcome),
}

/// What follows the end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    Finish(Outcome),
    /// It has changed nothing; outside of its transaction, a read says why.
    AskWhyNot,
    /// What a batch has left, one request after the other.
    Rest,
    /// Once more, and now with the gate before the token.
    PassGateFirst,
    /// The same request was sent before: the answer that it had.
    Repeat,
    /// A second successor for one token, which is what others do.
    MintSibling,
    /// The breach response.
    Respond,
    /// After the cutoff.
    ShutGates,
    /// The next window, or walk.
    Walk,
    AwaitSkipped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Rotated,
    /// This one, which another request for the same token had made.
    Given(Token),
    /// Each request of a batch has an outcome of its own.
    Batch,
    LoggedIn,
    /// Returned Ok: nothing of the target is live any more.
    Revoked,
    CleanedUp,
    NotFound,
    /// And there was a breach response before, or none is asked for.
    Reused,
    AlreadyRevoked,
    Expired,
    CutOff,
    /// With an error; how far it had come is not known to the caller.
    Failed,
}

/// A statement that locks rows, between its snapshot and its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Statement {
    waits: bool,
    /// How many rows its snapshot had.
    pub(crate) seen: usize,
    to_lock: Vec<Token>,
    /// Those that it has locked and that still met its condition.
    pub(crate) locked: Vec<Token>,
    pub(crate) skipped: Option<Token>,
}

impl Statement {
    /// The row that it locks next.
    pub(crate) fn next(&self) -> Option<Token> {
        self.to_lock.first().copied()
    }

    /// That row, if it waits where another has locked it.
    pub(crate) fn waits_for(&self) -> Option<Token> {
        self.next().filter(|_| self.waits)
    }
}

/// Session and generation; or what else a walk goes by.
pub(crate) type Place = (u8, u8);

/// What a walk over the table has met so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Walk {
    pub(crate) place: Option<Place>,
    pub(crate) saw: bool,
    pub(crate) skipped: Option<Token>,
}

/// Of a batch: what each request has come to, and which one is alone now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Batch {
    pub(crate) outcomes: [Option<Outcome>; 2],
    pub(crate) alone: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) at: At,
    pub(crate) statement: Option<Statement>,
    pub(crate) authenticated_at: Instant,
    /// How many passes have seen something; from three on they are all alike.
    pub(crate) passes: u8,
    pub(crate) walk: Walk,
    pub(crate) batch: Batch,
    /// Of a login that makes room: what is still to be ended.
    pub(crate) to_end: Vec<Session>,
    /// Of a revocation with a cutoff: its instant, and the sessions that existed then. It promises to end those, and
    /// those of logins that were authenticated before.
    pub(crate) existed: Vec<Session>,
    pub(crate) cutoff: Instant,
}

impl Client {
    pub(crate) fn new(at: At) -> Self {
        Self {
            at,
            statement: None,
            authenticated_at: 0,
            passes: 0,
            walk: Walk::default(),
            batch: Batch::default(),
            to_end: Vec::new(),
            existed: Vec::new(),
            cutoff: 0,
        }
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self.at {
            At::Done(outcome) => Some(outcome),
            _ => None,
        }
    }
}

/// A client that takes a step.
pub(crate) struct Turn<'a> {
    pub(crate) algorithm: Algorithm,
    /// The tokens that there are when the first client calls.
    pub(crate) table: &'a [Row],
    pub(crate) verb: Verb,
    pub(crate) window: usize,
    pub(crate) me: Backend,
    pub(crate) client: &'a mut Client,
    pub(crate) database: &'a mut Database,
}

impl Algorithm {
    /// The first statement of a verb.
    pub(crate) fn first(self, verb: Verb) -> At {
        let shuts_gate = self.has(Cure::RevocationShutsGate);
        match verb {
            Verb::Rotate { .. } | Verb::Redeem { .. }
                if self.rotates_at_once && self.has(Cure::RotationInOneTransaction) =>
            {
                At::RotateAtOnce
            }
            Verb::Rotate { .. } | Verb::RotateInGuard { .. } | Verb::Redeem { .. } => At::LockPresented,
            Verb::RotateMany { .. } => At::RotateTogether,
            Verb::LogIn { told: true, .. } => At::Authenticate,
            Verb::LogIn { told: false, .. } => At::InsertLogin,
            Verb::LogInAlone { .. } if self.has(Cure::LimitPassesGate) => At::PassGateToLogIn,
            Verb::LogInAlone { .. } => At::CountSessions,
            Verb::Revoke(_) => At::RevokeOne,
            Verb::RevokeChain(_) | Verb::RevokeSession(_) if shuts_gate || self.has(Cure::StartReadOnce) => {
                At::ReadTarget
            }
            Verb::RevokeChain(_) | Verb::RevokeSession(_) => At::Pass,
            Verb::RevokeUser { .. } | Verb::RevokeMember(..) if shuts_gate => At::ShutGate,
            Verb::RevokeOrg(_) | Verb::RevokeEverybody if shuts_gate && !self.has(Cure::CutoffBeforeGates) => {
                At::ShutEachGate { gate: 0 }
            }
            Verb::RevokeUser { .. } | Verb::RevokeMember(..) | Verb::RevokeOrg(_) | Verb::RevokeEverybody => At::CutOff,
            Verb::CleanUp | Verb::CleanUpSpent => At::DeleteDue,
        }
    }

    /// The first statement of the answer to reuse.
    pub(crate) fn breach_response(self) -> At {
        if self.has(Cure::RevocationShutsGate) { At::ShutGate } else { At::MarkReuse }
    }
}

impl Turn<'_> {
    pub(crate) fn step(&mut self) {
        match self.client.at {
            At::Done(_) => {}
            At::RotateAtOnce => self.rotate_at_once(),
            At::AskWhyNot => self.ask_why_not(),
            At::LockPresented => self.lock_presented(),
            At::ReadWhyNot => self.read_why_not(),
            At::ReadClock => self.read_clock(),
            At::LockMade => self.lock_made(),
            At::InsertSibling => self.insert_sibling(),
            At::PassGateToSwitch => self.pass_gate_to_switch(),
            At::PassGateFirst => self.pass_gate_and_go_on(At::LockPresented),
            At::JudgeSwitch => self.judge_switch(),
            At::WriteSuccessor => self.write_successor(),
            At::InsertSuccessor => self.insert_successor(),
            At::LinkSuccessor => self.link_successor(),
            At::RotateTogether => self.rotate_together(),
            At::JudgeTogether => self.judge_together(),
            At::Authenticate => self.authenticate(),
            At::PassGateToLogIn => self.pass_gate_to_log_in(),
            At::CountSessions => self.count_sessions(),
            At::EndOldest => self.end_oldest(),
            At::InsertLogin => self.insert_login(),
            At::ReadTarget => self.read_target(),
            At::ShutGate => self.shut_gate(),
            At::CutOff => self.cut_off(),
            At::Pass => self.pass(),
            At::MarkReuse => self.mark_reuse(),
            At::ReadMarked => self.read_marked(),
            At::RevokeOne => self.revoke_one(),
            At::ShutEachGate { gate } => self.shut_each_gate(gate),
            At::RevokeWindow => self.revoke_window(),
            At::AwaitSkipped => self.await_skipped(),
            At::DeleteDue => self.delete_due(),
            At::Commit(then) => {
                self.database.commit(self.me);
                self.after(then);
            }
            At::Rollback(then) => {
                self.database.rollback(self.me);
                self.after(then);
            }
        }
    }

    pub(crate) fn fail(&mut self) {
        self.database.rollback(self.me);
        self.after(Then::Finish(Outcome::Failed));
    }

    pub(crate) fn after(&mut self, then: Then) {
        self.client.at = match then {
            Then::AskWhyNot => At::AskWhyNot,
            Then::Rest => return self.go_on_alone(),
            Then::PassGateFirst => At::PassGateFirst,
            Then::Repeat => At::LockMade,
            Then::MintSibling => At::InsertSibling,
            Then::Respond => self.algorithm.breach_response(),
            Then::ShutGates => At::ShutEachGate { gate: 0 },
            Then::Walk => At::RevokeWindow,
            Then::AwaitSkipped => At::AwaitSkipped,
            Then::Finish(outcome) => return self.finish(outcome),
        };
    }

    fn finish(&mut self, outcome: Outcome) {
        if matches!(self.verb, Verb::RotateMany { .. }) && ![Outcome::Batch, Outcome::Failed].contains(&outcome) {
            return self.note_alone(outcome);
        }
        // What nobody will look at should not tell states apart.
        let Client { existed, cutoff, batch: Batch { outcomes, .. }, .. } = self.client.clone();
        let batch = Batch { outcomes, alone: 0 };
        *self.client = Client { batch, existed, cutoff, ..Client::new(At::Done(outcome)) };
    }

    pub(crate) fn has(&self, cure: Cure) -> bool {
        self.algorithm.has(cure)
    }

    /// The gate of the user whom the verb concerns.
    pub(crate) fn gate(&self) -> usize {
        self.verb.user(self.table).map_or(0, |user| self.database.gate_of(user))
    }

    /// The next step of a statement that locks rows: first its snapshot, then one row after the other.
    ///
    /// Returns the statement when it has tried them all. A row that another has locked is skipped, unless it waits;
    /// then the step is not taken before the lock is free.
    pub(crate) fn lock_rows(
        &mut self,
        waits: bool,
        find: impl FnOnce(&Self) -> Vec<Token>,
        condition: impl Fn(&Row) -> bool,
    ) -> Option<Statement> {
        let statement = match self.client.statement.take() {
            None => {
                let to_lock = find(self);
                Statement { waits, seen: to_lock.len(), to_lock, locked: Vec::new(), skipped: None }
            }
            Some(mut begun) => {
                let token = begun.to_lock.remove(0);
                if self.database.is_locked_by_another(self.me, token) {
                    begun.skipped = begun.skipped.or(Some(token));
                } else if self.database.lock(self.me, token, condition) == Held::AsSeen {
                    begun.locked.push(token);
                }
                begun
            }
        };
        if statement.to_lock.is_empty() {
            return Some(statement);
        }
        self.client.statement = Some(statement);
        None
    }
}
