//! The verbs of a schedule, and what each aims at.

use uuid::Uuid;

use crate::fixture::{A0, A1, A2, ORG, OVER, Row, SESSION_A, SESSION_B, USER};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Rotate,
    /// Two of them send the same request.
    RotateSame,
    /// By the guard, which locks in one statement and writes in another.
    RotateInGuard,
    /// A batch of the live tokens of sessions A and B.
    RotateMany,
    /// The same tokens the other way round, for other successors.
    RotateManyReversed,
    /// A batch of the request that is sent twice, and of session B's.
    RotateManySame,
    /// Session A leaves the organisation that revocations aim at.
    SwitchOut,
    /// Session B enters it.
    SwitchIn,
    RedeemLive,
    RedeemSpent,
    /// Its breach response is for the user.
    RedeemSpentUser,
    /// By the secret, and the service: within the grace period, who comes second gets what the first one made.
    Refresh,
    Login,
    /// At most two sessions: the oldest makes room.
    LoginAmongTwo,
    /// It says that the user was authenticated before the schedule began.
    LoginAt,
    Revoke,
    RevokeByHash,
    Session,
    SessionByHash,
    /// By its live token alone, and without the gate.
    EndSession,
    Chain,
    /// From the live token on.
    ChainOfLive,
    User,
    /// Keeps session A, by the token that was live.
    ExceptA,
    /// Keeps session B.
    ExceptB,
    /// Keeps session A as it is.
    ExceptSessionA,
    InOrg,
    Org,
    Everyone,
    CleanUp,
    /// By a policy that takes what was rotated or revoked more than a day ago.
    CleanUpSpent,
    /// The same, into the archive.
    CleanUpArchiving,
    /// A row in each batch: others come between.
    CleanUpByOne,
    /// All its batches are one transaction.
    HostCleanUpByOne,
    /// Batches in a transaction of the host's, which wait for locks.
    HostRotateMany,
    HostRotateManyReversed,
    /// The reference's, each in a transaction.
    ReferenceRotate,
    ReferenceChain,
    ReferenceUser,
    /// As the reference is run by many: each statement commits by itself.
    ReferenceRotateAutocommit,
    /// A cure that is none: repeats the UPDATE until it changes nothing.
    UntilUnchanged,
}

pub(crate) const WRITING: [Verb; 31] = [
    Verb::Rotate,
    Verb::RotateSame,
    Verb::RotateInGuard,
    Verb::SwitchOut,
    Verb::SwitchIn,
    Verb::RedeemLive,
    Verb::RedeemSpent,
    Verb::RedeemSpentUser,
    Verb::Refresh,
    Verb::Login,
    Verb::LoginAmongTwo,
    Verb::LoginAt,
    Verb::Revoke,
    Verb::RevokeByHash,
    Verb::Session,
    Verb::SessionByHash,
    Verb::EndSession,
    Verb::Chain,
    Verb::User,
    Verb::ExceptA,
    Verb::ExceptB,
    Verb::ExceptSessionA,
    Verb::InOrg,
    Verb::Org,
    Verb::Everyone,
    Verb::CleanUp,
    Verb::CleanUpSpent,
    Verb::CleanUpArchiving,
    Verb::RotateMany,
    Verb::RotateManyReversed,
    Verb::RotateManySame,
];

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rotate => "rotate",
            Self::RotateSame => "rotate_same_request",
            Self::RotateInGuard => "rotate_in_guard",
            Self::RotateMany => "rotate_many",
            Self::RotateManyReversed => "rotate_many_reversed",
            Self::RotateManySame => "rotate_many_same_request",
            Self::HostRotateMany => "rotate_many_in_transaction",
            Self::HostRotateManyReversed => "rotate_many_reversed_in_transaction",
            Self::SwitchOut => "rotate_out_of_org",
            Self::SwitchIn => "rotate_into_org",
            Self::RedeemLive => "redeem_live",
            Self::RedeemSpent => "redeem_spent",
            Self::RedeemSpentUser => "redeem_spent_revoke_user",
            Self::Refresh => "service_refresh",
            Self::Login => "create",
            Self::LoginAmongTwo => "create_with_limit",
            Self::LoginAt => "create_with_instant",
            Self::Revoke => "revoke",
            Self::RevokeByHash => "revoke_by_hash",
            Self::Session => "revoke_session",
            Self::SessionByHash => "revoke_session_by_hash",
            Self::EndSession => "end_session",
            Self::Chain => "revoke_token_chain",
            Self::ChainOfLive => "revoke_token_chain_of_live",
            Self::User => "revoke_all_for_user",
            Self::ExceptA => "revoke_all_for_user_except_a",
            Self::ExceptB => "revoke_all_for_user_except_b",
            Self::ExceptSessionA => "revoke_all_for_user_except_session_a",
            Self::InOrg => "revoke_all_for_user_in_org",
            Self::Org => "revoke_all_for_org",
            Self::Everyone => "revoke_all_for_everyone",
            Self::CleanUp => "cleanup_expired",
            Self::CleanUpSpent => "cleanup_of_spent",
            Self::CleanUpArchiving => "cleanup_into_archive",
            Self::CleanUpByOne => "cleanup_in_small_batches",
            Self::HostCleanUpByOne => "cleanup_in_small_batches_in_transaction",
            Self::ReferenceRotate => "reference_rotate",
            Self::ReferenceChain => "reference_revoke_token_chain",
            Self::ReferenceUser => "reference_revoke_all_for_user",
            Self::ReferenceRotateAutocommit => "reference_rotate_in_autocommit",
            Self::UntilUnchanged => "revoke_until_nothing_changes",
        }
    }

    /// Whether no live token like this one may be left once it has returned.
    pub(crate) fn ends(self, row: &Row) -> bool {
        let of_user = row.user_id == USER;
        match self {
            Self::Session
            | Self::SessionByHash
            | Self::EndSession
            | Self::Chain
            | Self::ChainOfLive
            | Self::RedeemLive
            | Self::Refresh
            | Self::RedeemSpent
            | Self::ReferenceChain
            | Self::UntilUnchanged => row.session_id == SESSION_A,
            Self::User | Self::RedeemSpentUser | Self::ReferenceUser => of_user,
            Self::ExceptA | Self::ExceptSessionA => of_user && row.session_id != SESSION_A,
            Self::ExceptB => of_user && row.session_id != SESSION_B,
            Self::InOrg => of_user && row.org_id == ORG,
            Self::Org => row.org_id == ORG,
            Self::Everyone => true,
            Self::Revoke | Self::RevokeByHash => row.id == A2,
            _ => false,
        }
    }

    /// Whether it may revoke this row, as it was before.
    pub(crate) fn may_end(self, row: &Row) -> bool {
        match self {
            Self::EndSession | Self::Org | Self::Everyone => self.ends(row) && row.is_live(),
            Self::LoginAmongTwo => row.user_id == USER && row.is_live(),
            Self::ChainOfLive => self.ends(row) && ![A0, A1].contains(&row.id),
            Self::ExceptA => row.user_id == USER && !(row.is_live() && row.session_id == SESSION_A),
            Self::ExceptB => row.user_id == USER && !(row.is_live() && row.session_id == SESSION_B),
            _ => self.ends(row),
        }
    }

    /// The tokens that clean-up may take: whatever else has happened to them, these were dead long before.
    pub(crate) fn takes(self) -> &'static [Uuid] {
        match self {
            Self::CleanUp => &[A1],
            Self::CleanUpSpent | Self::CleanUpArchiving | Self::CleanUpByOne | Self::HostCleanUpByOne => {
                &[A0, A1, OVER]
            }
            _ => &[],
        }
    }

    /// The token that it is called with, if that is one that clean-up may take.
    pub(crate) fn stale(self) -> Option<Uuid> {
        let is_called_with_a0 =
            matches!(self, Self::RedeemSpent | Self::RedeemSpentUser | Self::SessionByHash | Self::Chain);
        is_called_with_a0.then_some(A0)
    }

    /// Whether a login that was authenticated before may be refused because of it.
    pub(crate) fn cuts_off(self) -> bool {
        use Verb::{Everyone, ExceptA, ExceptB, ExceptSessionA, InOrg, Org, RedeemSpentUser, User};
        matches!(self, User | RedeemSpentUser | ExceptA | ExceptB | ExceptSessionA | InOrg | Org | Everyone)
    }

    /// Whether it sends the one request that others send, too.
    pub(crate) fn sends_same(self) -> bool {
        matches!(self, Self::RotateSame | Self::RotateManySame)
    }
}
