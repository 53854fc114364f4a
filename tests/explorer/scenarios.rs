//! Which verbs are explored beside each other.

use crate::lab::Level;
use crate::verbs::{Verb, WRITING};

/// What a search has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Every schedule keeps every promise.
    AllKept,
    /// A known flaw breaks this one in some schedule: the explorer can see it.
    Broken(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) verbs: Vec<Verb>,
    pub(crate) expected: Expected,
    /// The most preemptions of a schedule, where all schedules would be too many.
    pub(crate) bound: Option<usize>,
    pub(crate) level: Level,
}

impl Scenario {
    pub(crate) fn name(&self) -> String {
        let names: Vec<&str> = self.verbs.iter().map(|verb| verb.name()).collect();
        let level = if self.level == Level::Serializable { "serializable:" } else { "" };
        format!("{level}{}", names.join("+"))
    }
}

const SURVIVOR: Expected = Expected::Broken("invariant 3");

const FLAWED: [(&[Verb], Expected); 5] = [
    (&[Verb::ReferenceRotate, Verb::ReferenceChain], SURVIVOR),
    (&[Verb::ReferenceRotate, Verb::ReferenceUser], SURVIVOR),
    (&[Verb::ReferenceRotateAutocommit, Verb::ReferenceRotateAutocommit], Expected::Broken("invariant 1")),
    (&[Verb::Rotate, Verb::ReferenceUser], SURVIVOR),
    (&[Verb::RotateInGuard, Verb::Revoke, Verb::UntilUnchanged], SURVIVOR),
];

const TRIPLES: [[Verb; 3]; 42] = [
    [Verb::Rotate, Verb::Rotate, Verb::Session],
    [Verb::Rotate, Verb::User, Verb::User],
    [Verb::LoginAt, Verb::User, Verb::Rotate],
    [Verb::RedeemSpent, Verb::RedeemSpent, Verb::Rotate],
    [Verb::SwitchIn, Verb::InOrg, Verb::Rotate],
    [Verb::Rotate, Verb::Chain, Verb::CleanUp],
    [Verb::Login, Verb::User, Verb::User],
    [Verb::RotateSame, Verb::RotateSame, Verb::Session],
    [Verb::RedeemLive, Verb::RedeemLive, Verb::Rotate],
    [Verb::Rotate, Verb::SwitchIn, Verb::User],
    [Verb::SwitchIn, Verb::ExceptB, Verb::InOrg],
    [Verb::Rotate, Verb::Revoke, Verb::Session],
    [Verb::RedeemSpentUser, Verb::LoginAt, Verb::SwitchIn],
    [Verb::Rotate, Verb::ExceptA, Verb::ExceptB],
    [Verb::Rotate, Verb::Revoke, Verb::ChainOfLive],
    [Verb::RotateMany, Verb::RotateManyReversed, Verb::User],
    [Verb::RotateMany, Verb::Session, Verb::Rotate],
    [Verb::RotateMany, Verb::RotateMany, Verb::Chain],
    [Verb::RotateManySame, Verb::RotateSame, Verb::Session],
    [Verb::RotateInGuard, Verb::RotateMany, Verb::Session],
    [Verb::EndSession, Verb::Rotate, Verb::Revoke],
    [Verb::EndSession, Verb::RotateMany, Verb::User],
    [Verb::EndSession, Verb::RedeemSpent, Verb::Rotate],
    [Verb::HostRotateMany, Verb::RotateMany, Verb::ExceptB],
    [Verb::HostRotateMany, Verb::HostRotateManyReversed, Verb::User],
    [Verb::HostRotateManyReversed, Verb::RedeemSpent, Verb::Rotate],
    [Verb::Refresh, Verb::Refresh, Verb::Session],
    [Verb::Refresh, Verb::Refresh, Verb::Rotate],
    [Verb::Refresh, Verb::Refresh, Verb::EndSession],
    [Verb::Refresh, Verb::Refresh, Verb::RedeemSpent],
    [Verb::Refresh, Verb::Refresh, Verb::Revoke],
    [Verb::LoginAmongTwo, Verb::LoginAmongTwo, Verb::Refresh],
    [Verb::LoginAmongTwo, Verb::User, Verb::Rotate],
    [Verb::ExceptSessionA, Verb::Rotate, Verb::ExceptB],
    [Verb::ExceptSessionA, Verb::Refresh, Verb::Refresh],
    [Verb::Rotate, Verb::Chain, Verb::CleanUpSpent],
    [Verb::Rotate, Verb::SessionByHash, Verb::CleanUpArchiving],
    [Verb::RedeemSpent, Verb::CleanUpSpent, Verb::Rotate],
    [Verb::RedeemSpent, Verb::RedeemSpent, Verb::CleanUpSpent],
    [Verb::CleanUpSpent, Verb::CleanUpArchiving, Verb::EndSession],
    [Verb::CleanUp, Verb::CleanUpArchiving, Verb::Session],
    [Verb::CleanUpSpent, Verb::CleanUpArchiving, Verb::RedeemSpent],
];

/// Batches in a transaction of the host's wait for locks while they hold some; those of clean-up wait for nobody, and
/// may go on when others have come between.
const IN_TRANSACTION: [[Verb; 2]; 14] = [
    [Verb::HostRotateMany, Verb::HostRotateMany],
    [Verb::HostRotateMany, Verb::HostRotateManyReversed],
    [Verb::HostRotateMany, Verb::RotateManyReversed],
    [Verb::HostRotateManyReversed, Verb::Rotate],
    [Verb::HostRotateManyReversed, Verb::RotateInGuard],
    [Verb::HostRotateManyReversed, Verb::User],
    [Verb::HostRotateManyReversed, Verb::Session],
    [Verb::HostRotateManyReversed, Verb::Chain],
    [Verb::HostRotateMany, Verb::InOrg],
    [Verb::HostCleanUpByOne, Verb::Chain],
    [Verb::HostCleanUpByOne, Verb::RedeemSpent],
    [Verb::HostCleanUpByOne, Verb::CleanUpArchiving],
    [Verb::CleanUpByOne, Verb::Chain],
    [Verb::CleanUpByOne, Verb::CleanUpByOne],
];

/// What has to hold while other software rotates on the same table, in transactions.
const BESIDE_REFERENCE: [Verb; 8] = [
    Verb::Rotate,
    Verb::RedeemSpent,
    Verb::Session,
    Verb::Chain,
    Verb::User,
    Verb::ExceptB,
    Verb::InOrg,
    Verb::Everyone,
];

/// Tens of thousands of schedules each.
const BOUNDED: [([Verb; 3], usize); 3] = [
    ([Verb::SwitchIn, Verb::Org, Verb::Rotate], 2),
    ([Verb::Everyone, Verb::User, Verb::Rotate], 2),
    ([Verb::CleanUpByOne, Verb::Chain, Verb::Rotate], 2),
];

/// A walk is a dozen transactions: beside another verb, all its schedules would take many minutes.
fn bound_of_pair(verbs: &[Verb]) -> Option<usize> {
    verbs.iter().any(|verb| matches!(verb, Verb::Org | Verb::Everyone)).then_some(2)
}

/// Where every transaction is SERIALIZABLE, a statement meets what others have read, too, and no order of two steps can
/// be taken for the other: all schedules with so many preemptions are run.
const BOUND_OF_SERIALIZABLE: usize = 2;

/// Every pair of writing verbs, the triples, and the flaws that have to be found.
pub(crate) fn all() -> Vec<Scenario> {
    let scenario =
        |verbs: &[Verb], expected, bound| Scenario { verbs: verbs.to_vec(), expected, bound, level: Level::AsAsked };
    let flawed = FLAWED.iter().map(|(verbs, expected)| scenario(verbs, *expected, None));
    let pairs = WRITING.iter().enumerate().flat_map(|(at, one)| WRITING[at..].iter().map(|other| [*one, *other]));
    let beside_reference = BESIDE_REFERENCE.iter().map(|verb| [Verb::ReferenceRotate, *verb]);
    let pairs: Vec<[Verb; 2]> = pairs.chain(beside_reference).chain(IN_TRANSACTION).collect();
    let serializable = pairs.iter().map(|verbs| Scenario {
        level: Level::Serializable,
        ..scenario(verbs, Expected::AllKept, Some(BOUND_OF_SERIALIZABLE))
    });
    let as_asked = pairs.iter().map(|verbs| scenario(verbs, Expected::AllKept, bound_of_pair(verbs)));
    let triples = TRIPLES.iter().map(|verbs| scenario(verbs, Expected::AllKept, None));
    let bounded = BOUNDED.iter().map(|(verbs, bound)| scenario(verbs, Expected::AllKept, Some(*bound)));
    flawed.chain(as_asked).chain(triples).chain(bounded).chain(serializable).collect()
}
