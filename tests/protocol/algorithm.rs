//! The protocol as a set of cures, each of which can be taken out to see what it is for.

/// Something that the protocol does, and that it would be wrong without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    /// A rotation locks its predecessor and writes in one transaction, only if the predecessor is still fresh.
    RotationInOneTransaction,
    /// A refused rotation gives back the lock that a failed re-check left behind.
    RefusalRollsBack,
    /// A revocation makes more than one pass.
    RepeatedPasses,
    /// A revocation ends with a pass that saw nothing, not with one that changed nothing.
    UntilNoneIsSeen,
    /// A chain is a session from a generation on, not what links lead to.
    ChainByGeneration,
    /// Where a chain starts is read before the first pass, not in each.
    StartReadOnce,
    /// A login that says when its user was authenticated is compared with the cutoffs.
    LoginJudged,
    /// Such a login passes the gate first.
    LoginPassesGate,
    /// A switch of organisation passes the gate.
    SwitchPassesGate,
    /// It does not wait for the gate, because it has locked a token.
    SwitchDoesNotWait,
    /// It is compared with the cutoffs.
    SwitchJudged,
    /// A session began when its user was authenticated, where the login told that, and not when it was inserted.
    SessionBeginsAtAuthentication,
    /// A revocation of many tokens shuts the gate before anything else.
    RevocationShutsGate,
    /// Who shuts all gates has committed the cutoff before.
    CutoffBeforeGates,
    /// The walk over the table meets a predecessor before its successor.
    PredecessorFirst,
    /// A walk counts what it saw, not what it could lock.
    WalkCountsSkipped,
    /// A batch of rotations does not wait for tokens that somebody has locked, unless it is in a host's transaction.
    BatchSkipsLocked,
    /// There it waits in the one order in which revocations lock.
    BatchInOrder,
    /// Within the grace period the answer is the successor that there is, and not another one.
    GraceRepeats,
    /// It closes at the successor's first use.
    GraceEndsWithUse,
    /// A login with a limit of sessions passes the gate before it counts.
    LimitPassesGate,
    /// It ends a session by what the lock holds, again until that was its live token.
    LimitEndsTheUnborn,
    /// What a batch could not do is done after its COMMIT.
    RestAfterCommit,
    /// Clean-up does not wait for tokens that somebody has locked.
    CleanUpSkipsLocked,
    /// A breach response that finds no token to mark asks whether there is one: clean-up may have taken it.
    GoneIsNotAnswered,
    /// `rotated_to` has no foreign key with ON DELETE SET NULL.
    NoForeignKey,
}

/// The protocol, without the cures that are named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Algorithm {
    missing: &'static [Cure],
    /// A rotation is one statement between BEGIN and COMMIT. No cure: it is only faster.
    pub(crate) rotates_at_once: bool,
}

impl Algorithm {
    pub(crate) const COMPLETE: Self = Self::without(&[]);

    /// The reference inside a transaction of its caller's, which its docstrings ask for.
    pub(crate) const REFERENCE: Self = Self::in_steps(REFERENCE_IN_AUTOCOMMIT.split_at(1).1);

    /// The reference in autocommit, which its code allows.
    pub(crate) const REFERENCE_IN_AUTOCOMMIT: Self = Self::in_steps(REFERENCE_IN_AUTOCOMMIT);

    pub(crate) const fn without(missing: &'static [Cure]) -> Self {
        Self { missing, rotates_at_once: true }
    }

    const fn in_steps(missing: &'static [Cure]) -> Self {
        Self { missing, rotates_at_once: false }
    }

    pub(crate) fn has(self, cure: Cure) -> bool {
        !self.missing.contains(&cure)
    }
}

const REFERENCE_IN_AUTOCOMMIT: &[Cure] = &[
    Cure::RotationInOneTransaction,
    Cure::RepeatedPasses,
    Cure::ChainByGeneration,
    Cure::StartReadOnce,
    Cure::LoginJudged,
    Cure::LoginPassesGate,
    Cure::SwitchPassesGate,
    Cure::SwitchJudged,
    Cure::SessionBeginsAtAuthentication,
    Cure::RevocationShutsGate,
    Cure::CleanUpSkipsLocked,
];
