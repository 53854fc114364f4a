//! The verbs of a schedule, what each aims at, and what it answered.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Uuid as SqlUuid;
use refresh_tokens::{
    Binding, BreachResponse, Error, NewRefreshToken, NewSession, OnReuse, Receipt, Redemption, RefreshToken,
    RefreshTokenRepository, Refusal, Rotation, Successor, TokenRevocation,
};
use refresh_tokens_support::doc::in_days;
use refresh_tokens_support::reference;
use uuid::Uuid;

use crate::fixture::{A0, A1, A2, B0, ORG, OTHER_ORG, Row, SESSION_A, SESSION_B, USER, hash_of};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Rotate,
    /// Two of them send the same request.
    RotateSame,
    /// Session A leaves the organisation that revocations aim at.
    SwitchOut,
    /// Session B enters it.
    SwitchIn,
    RedeemLive,
    RedeemSpent,
    /// Its breach response is for the user.
    RedeemSpentUser,
    Login,
    /// It says that the user was authenticated before the schedule began.
    LoginAt,
    Revoke,
    RevokeByHash,
    Session,
    SessionByHash,
    Chain,
    /// From the live token on.
    ChainOfLive,
    User,
    /// Keeps session A, by the token that was live.
    ExceptA,
    /// Keeps session B.
    ExceptB,
    InOrg,
    Org,
    Everyone,
    CleanUp,
    /// The reference's, each in a transaction.
    ReferenceRotate,
    ReferenceChain,
    ReferenceUser,
    /// As the reference is run by many: each statement commits by itself.
    ReferenceRotateAutocommit,
    /// A cure that is none: repeats the UPDATE until it changes nothing.
    UntilUnchanged,
}

pub(crate) const WRITING: [Verb; 21] = [
    Verb::Rotate,
    Verb::RotateSame,
    Verb::SwitchOut,
    Verb::SwitchIn,
    Verb::RedeemLive,
    Verb::RedeemSpent,
    Verb::RedeemSpentUser,
    Verb::Login,
    Verb::LoginAt,
    Verb::Revoke,
    Verb::RevokeByHash,
    Verb::Session,
    Verb::SessionByHash,
    Verb::Chain,
    Verb::User,
    Verb::ExceptA,
    Verb::ExceptB,
    Verb::InOrg,
    Verb::Org,
    Verb::Everyone,
    Verb::CleanUp,
];

/// What a verb answered, as the checks need it.
#[derive(Debug)]
pub(crate) enum Outcome {
    Rotated {
        /// By the answer itself.
        is_live: bool,
        presented: Uuid,
        successor: Uuid,
    },
    Refused(Refusal),
    /// A breach response; none where it was given before.
    Responded(Option<Receipt>),
    LoggedIn(Uuid),
    LoginRefused,
    Revoked(Receipt),
    RevokedOne(TokenRevocation),
    Deleted(usize),
    /// A revocation whose count means nothing, and a rotation that found nothing.
    Unchecked,
    /// No verb of these may return an error.
    Failed {
        error: String,
    },
}

/// The id of the token that a process makes.
pub(crate) fn newborn(process: usize) -> Uuid {
    Uuid::from_u128(0x0005_0000 + process as u128)
}

const SAME: Uuid = Uuid::from_u128(0x0006_0000);

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rotate => "rotate",
            Self::RotateSame => "rotate_same_request",
            Self::SwitchOut => "rotate_out_of_org",
            Self::SwitchIn => "rotate_into_org",
            Self::RedeemLive => "redeem_live",
            Self::RedeemSpent => "redeem_spent",
            Self::RedeemSpentUser => "redeem_spent_revoke_user",
            Self::Login => "create",
            Self::LoginAt => "create_with_instant",
            Self::Revoke => "revoke",
            Self::RevokeByHash => "revoke_by_hash",
            Self::Session => "revoke_session",
            Self::SessionByHash => "revoke_session_by_hash",
            Self::Chain => "revoke_token_chain",
            Self::ChainOfLive => "revoke_token_chain_of_live",
            Self::User => "revoke_all_for_user",
            Self::ExceptA => "revoke_all_for_user_except_a",
            Self::ExceptB => "revoke_all_for_user_except_b",
            Self::InOrg => "revoke_all_for_user_in_org",
            Self::Org => "revoke_all_for_org",
            Self::Everyone => "revoke_all_for_everyone",
            Self::CleanUp => "cleanup_expired",
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
            | Self::Chain
            | Self::ChainOfLive
            | Self::RedeemLive
            | Self::RedeemSpent
            | Self::ReferenceChain
            | Self::UntilUnchanged => row.session_id == SESSION_A,
            Self::User | Self::RedeemSpentUser | Self::ReferenceUser => of_user,
            Self::ExceptA => of_user && row.session_id != SESSION_A,
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
            Self::Org | Self::Everyone => self.ends(row) && row.is_live(),
            Self::ChainOfLive => self.ends(row) && ![A0, A1].contains(&row.id),
            Self::ExceptA => row.user_id == USER && !(row.is_live() && row.session_id == SESSION_A),
            Self::ExceptB => row.user_id == USER && !(row.is_live() && row.session_id == SESSION_B),
            _ => self.ends(row),
        }
    }

    /// Whether a login that was authenticated before may be refused because of it.
    pub(crate) fn cuts_off(self) -> bool {
        use Verb::{Everyone, ExceptA, ExceptB, InOrg, Org, RedeemSpentUser, User};
        matches!(self, User | RedeemSpentUser | ExceptA | ExceptB | InOrg | Org | Everyone)
    }

    pub(crate) fn run(self, conn: &mut PgConnection, process: usize, authenticated_at: DateTime<Utc>) -> Outcome {
        let mut tokens = RefreshTokenRepository::new(conn);
        let id = if self == Self::RotateSame { SAME } else { newborn(process) };
        let successor = Successor::new(id, hash_of(id), in_days(30));
        let login = |session| NewRefreshToken {
            id,
            user_id: USER,
            token_hash: hash_of(id),
            active_org_id: ORG,
            expires_at: in_days(30),
            session,
        };
        let (a0, a2, by) = (hash_of(A0), hash_of(A2), Binding::user(USER));
        match self {
            Self::Rotate | Self::RotateSame => rotation(A2, tokens.rotate(&a2, &successor, by)),
            Self::SwitchOut => rotation(A2, tokens.rotate(&a2, &successor.active_org_id(OTHER_ORG), by)),
            Self::SwitchIn => rotation(B0, tokens.rotate(&hash_of(B0), &successor.active_org_id(ORG), by)),
            Self::RedeemLive => redemption(A2, tokens.redeem(&a2, &successor, by, OnReuse::RevokeSession)),
            Self::RedeemSpent => redemption(A0, tokens.redeem(&a0, &successor, by, OnReuse::RevokeSession)),
            Self::RedeemSpentUser => redemption(A0, tokens.redeem(&a0, &successor, by, OnReuse::RevokeUser)),
            Self::Login => outcome(tokens.create(&login(NewSession::default())), |token| Outcome::LoggedIn(token.id)),
            Self::LoginAt => match tokens.create(&login(NewSession::default().authenticated_at(authenticated_at))) {
                Err(Error::RevokedSinceLogin) => Outcome::LoginRefused,
                created => outcome(created, |token| Outcome::LoggedIn(token.id)),
            },
            Self::Revoke => outcome(tokens.revoke(A2), Outcome::RevokedOne),
            Self::RevokeByHash => outcome(tokens.revoke_by_hash(&a2), Outcome::RevokedOne),
            Self::Session => outcome(tokens.revoke_session(SESSION_A), Outcome::Revoked),
            Self::SessionByHash => outcome(tokens.revoke_session_by_hash(&a0), Outcome::Revoked),
            Self::Chain => outcome(tokens.revoke_token_chain(A0), Outcome::Revoked),
            Self::ChainOfLive => outcome(tokens.revoke_token_chain(A2), Outcome::Revoked),
            Self::User => outcome(tokens.revoke_all_for_user(USER), Outcome::Revoked),
            Self::ExceptA => outcome(tokens.revoke_all_for_user_except(USER, A2), Outcome::Revoked),
            Self::ExceptB => outcome(tokens.revoke_all_for_user_except(USER, B0), Outcome::Revoked),
            Self::InOrg => outcome(tokens.revoke_all_for_user_in_org(USER, ORG), Outcome::Revoked),
            Self::Org => outcome(tokens.revoke_all_for_org(ORG), Outcome::Revoked),
            Self::Everyone => outcome(tokens.revoke_all_for_everyone(), Outcome::Revoked),
            Self::CleanUp => outcome(tokens.cleanup_expired(30), Outcome::Deleted),
            _ => self.run_flawed(conn, id),
        }
    }

    fn run_flawed(self, conn: &mut PgConnection, id: Uuid) -> Outcome {
        let new = reference::NewHash {
            id,
            token_hash: hash_of(id).expose().to_owned(),
            expires_at: in_days(30),
            active_org_id: None,
        };
        let rotate = |conn: &mut PgConnection| reference::rotate(conn, hash_of(A2).expose(), &new, Some(USER));
        let rotated = |row: Option<reference::Row>| match row {
            Some(row) => Outcome::Rotated { presented: A2, successor: row.id, is_live: row.revoked_at.is_none() },
            None => Outcome::Unchecked,
        };
        match self {
            Self::ReferenceRotate => outcome(conn.transaction(rotate), rotated),
            Self::ReferenceRotateAutocommit => outcome(rotate(conn), rotated),
            Self::ReferenceChain => {
                outcome(conn.transaction(|conn| reference::revoke_token_chain(conn, A0)), |_| Outcome::Unchecked)
            }
            Self::ReferenceUser => {
                outcome(conn.transaction(|conn| reference::revoke_all_for_user(conn, USER)), |_| Outcome::Unchecked)
            }
            _ => outcome(conn.transaction(until_unchanged), |()| Outcome::Unchecked),
        }
    }
}

/// A session that is revoked from its second generation on, in the library's order of locks, so that it differs from
/// a right revocation in nothing but its end.
fn until_unchanged(conn: &mut PgConnection) -> QueryResult<()> {
    let pass = "WITH locked AS MATERIALIZED (
            SELECT id FROM refresh_tokens
            WHERE session_id = $1 AND generation >= 2 AND revoked_at IS NULL ORDER BY created_at FOR UPDATE
        )
        UPDATE refresh_tokens SET revoked_at = clock_timestamp()
        WHERE id IN (SELECT id FROM locked) AND revoked_at IS NULL";
    while sql_query(pass).bind::<SqlUuid, _>(SESSION_A).execute(conn)? > 0 {}
    Ok(())
}

fn outcome<T, E: std::fmt::Debug>(answer: Result<T, E>, told: impl FnOnce(T) -> Outcome) -> Outcome {
    match answer {
        Ok(value) => told(value),
        Err(error) => Outcome::Failed { error: format!("{error:?}") },
    }
}

fn rotated(presented: Uuid, token: &RefreshToken) -> Outcome {
    let is_live = token.revoked_at.is_none() && token.rotated_to.is_none();
    Outcome::Rotated { presented, successor: token.id, is_live }
}

fn rotation(presented: Uuid, answer: refresh_tokens::Result<Rotation>) -> Outcome {
    outcome(answer, |rotation| match rotation {
        Rotation::Rotated(token) => rotated(presented, &token),
        Rotation::Refused(refusal) => Outcome::Refused(refusal),
    })
}

fn redemption(presented: Uuid, answer: refresh_tokens::Result<Redemption>) -> Outcome {
    outcome(answer, |redemption| match redemption {
        Redemption::Rotated { token, .. } => rotated(presented, &token),
        Redemption::Refused(refusal) => Outcome::Refused(refusal),
        Redemption::Reused { response: BreachResponse::Given(receipt), .. } => Outcome::Responded(Some(receipt)),
        Redemption::Reused { .. } => Outcome::Responded(None),
    })
}
