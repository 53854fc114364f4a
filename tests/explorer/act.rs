//! How each verb is run, and what it answered.

use std::sync::OnceLock;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::sql_query;
use diesel::sql_types::Uuid as SqlUuid;
use refresh_tokens::{
    Binding, BreachResponse, CleanupBudget, CleanupEnd, CleanupReport, Error, NewRefreshToken, OnReuse, Redemption,
    Refresh, RefreshToken, RefreshTokenRepository, RefreshTokenStore, Refusal, RetentionPolicy, RevocationReport,
    Rotation, RotationRequest, SessionLimit, SessionOptions, SessionPolicy, SessionService, Successor, TokenRevocation,
};
use refresh_tokens_support::doc::in_days;
use refresh_tokens_support::reference;
use uuid::Uuid;

use crate::fixture::{A0, A2, B0, ORG, OTHER_ORG, SECRET_OF_A2, SESSION_A, USER, hash_of, peppers, renamed};
use crate::verbs::Verb;

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
    /// By the guard, which does not say why.
    RefusedUnsaid,
    /// A breach response; none where it was given before.
    Responded(Option<RevocationReport>),
    LoggedIn(Uuid),
    LoginRefused,
    Revoked(RevocationReport),
    RevokedOne(TokenRevocation),
    Deleted(usize),
    /// A revocation whose count means nothing, and a rotation that found nothing.
    Unchecked,
    /// No verb of these may return an error.
    Failed {
        error: String,
    },
}

impl Outcome {
    /// Whether the server rolled the verb back in favour of another one.
    pub(crate) fn is_conflict(&self) -> bool {
        let is_one = |error: &str| error == "Conflict" || error.starts_with("DatabaseError(SerializationFailure");
        matches!(self, Self::Failed { error } if is_one(error))
    }
}

/// The id of the token that a process makes.
pub(crate) fn newborn(process: usize) -> Uuid {
    Uuid::from_u128(0x0005_0000 + process as u128)
}

/// Of the token that a batch makes for session B.
fn newborn_in_b(process: usize) -> Uuid {
    Uuid::from_u128(0x0005_0100 + process as u128)
}

/// The successor of the request that is sent twice.
pub(crate) const SAME: Uuid = Uuid::from_u128(0x0006_0000);

impl Verb {
    /// Of a batch, the outcome of each request.
    pub(crate) fn run(self, conn: &mut PgConnection, process: usize, authenticated_at: DateTime<Utc>) -> Vec<Outcome> {
        let mut tokens = RefreshTokenRepository::new(conn);
        let requests = self.requests(process);
        let answers = match self {
            Self::RotateMany | Self::RotateManyReversed | Self::RotateManySame => tokens.rotate_many(&requests),
            Self::HostRotateMany | Self::HostRotateManyReversed => tokens.transaction(|tx| tx.rotate_many(&requests)),
            _ => return vec![self.run_one(conn, process, authenticated_at)],
        };
        match answers {
            Ok(answers) => answers.into_iter().zip(self.presents()).map(|(one, of)| rotation(of, one)).collect(),
            Err(error) => vec![Outcome::Failed { error: format!("{error:?}") }],
        }
    }

    /// Of a batch, the presented tokens.
    fn presents(self) -> [Uuid; 2] {
        let is_reversed = matches!(self, Self::RotateManyReversed | Self::HostRotateManyReversed);
        if is_reversed { [B0, A2] } else { [A2, B0] }
    }

    fn requests(self, process: usize) -> [RotationRequest; 2] {
        let of_a = self.successor_id(process);
        self.presents().map(|presented| {
            let id = if presented == A2 { of_a } else { newborn_in_b(process) };
            let successor = Successor::expiring_at(id, hash_of(id), in_days(30));
            RotationRequest::new(hash_of(presented), successor).binding(Binding::user(USER))
        })
    }

    fn successor_id(self, process: usize) -> Uuid {
        if self.sends_same() { SAME } else { newborn(process) }
    }

    fn run_one(self, conn: &mut PgConnection, process: usize, authenticated_at: DateTime<Utc>) -> Outcome {
        let mut tokens = RefreshTokenRepository::new(conn);
        let id = self.successor_id(process);
        let successor = Successor::expiring_at(id, hash_of(id), in_days(30));
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
            Self::RotateInGuard => in_guard(&mut tokens, &successor),
            Self::SwitchOut => rotation(A2, tokens.rotate(&a2, &successor.active_org_id(OTHER_ORG), by)),
            Self::SwitchIn => rotation(B0, tokens.rotate(&hash_of(B0), &successor.active_org_id(ORG), by)),
            Self::RedeemLive => redemption(A2, tokens.redeem(&a2, &successor, by, OnReuse::RevokeSession)),
            Self::RedeemSpent => redemption(A0, tokens.redeem(&a0, &successor, by, OnReuse::RevokeSession)),
            Self::RedeemSpentUser => redemption(A0, tokens.redeem(&a0, &successor, by, OnReuse::RevokeUser)),
            Self::Refresh => refreshed(service().refresh_on(&mut tokens, SECRET_OF_A2, by)),
            Self::LoginAmongTwo => {
                let limit = SessionOptions::default().limit(SessionLimit::end_oldest(2));
                outcome(tokens.create(&login(limit)), |token| Outcome::LoggedIn(token.id))
            }
            Self::Login => {
                outcome(tokens.create(&login(SessionOptions::default())), |token| Outcome::LoggedIn(token.id))
            }
            Self::LoginAt => {
                match tokens.create(&login(SessionOptions::default().authenticated_at(authenticated_at))) {
                    Err(Error::RevokedSinceLogin) => Outcome::LoginRefused,
                    created => outcome(created, |token| Outcome::LoggedIn(token.id)),
                }
            }
            Self::Revoke => outcome(tokens.revoke(A2), Outcome::RevokedOne),
            Self::RevokeByHash => outcome(tokens.revoke_by_hash(&a2), Outcome::RevokedOne),
            Self::Session => outcome(tokens.revoke_session(SESSION_A), Outcome::Revoked),
            Self::SessionByHash => outcome(tokens.revoke_session_by_hash(&a0), Outcome::Revoked),
            Self::EndSession => outcome(tokens.end_session(SESSION_A), Outcome::Revoked),
            Self::Chain => outcome(tokens.revoke_token_chain(A0), Outcome::Revoked),
            Self::ChainOfLive => outcome(tokens.revoke_token_chain(A2), Outcome::Revoked),
            Self::User => outcome(tokens.revoke_all_for_user(USER), Outcome::Revoked),
            Self::ExceptA => outcome(tokens.revoke_all_for_user_except(USER, A2), Outcome::Revoked),
            Self::ExceptB => outcome(tokens.revoke_all_for_user_except(USER, B0), Outcome::Revoked),
            Self::ExceptSessionA => {
                outcome(tokens.revoke_all_for_user_except_session(USER, SESSION_A), Outcome::Revoked)
            }
            Self::InOrg => outcome(tokens.revoke_all_for_user_in_org(USER, ORG), Outcome::Revoked),
            Self::Org => outcome(tokens.revoke_all_for_org(ORG), Outcome::Revoked),
            Self::Everyone => outcome(tokens.revoke_all_for_everyone(), Outcome::Revoked),
            Self::CleanUp => outcome(tokens.cleanup_expired(30), Outcome::Deleted),
            Self::CleanUpSpent => outcome(tokens.cleanup(&policy(), &CleanupBudget::default()), taken),
            Self::CleanUpArchiving => outcome(tokens.cleanup(&policy().archive(), &CleanupBudget::default()), taken),
            Self::CleanUpByOne => outcome(tokens.cleanup(&policy(), &by_one()), taken),
            Self::HostCleanUpByOne => outcome(tokens.transaction(|tx| tx.cleanup(&policy(), &by_one())), taken),
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
    Outcome::Rotated { presented, successor: renamed(token.id), is_live }
}

fn in_guard(tokens: &mut RefreshTokenRepository<'_>, successor: &Successor) -> Outcome {
    let answer = tokens.transaction(|tx| match tx.get_valid_for_rotation(&hash_of(A2), Binding::user(USER))? {
        Some(locked) => locked.rotate_to(successor).map(Some),
        None => Ok(None),
    });
    outcome(answer, |token| token.map_or(Outcome::RefusedUnsaid, |token| rotated(A2, &token)))
}

fn rotation(presented: Uuid, answer: refresh_tokens::Result<Rotation>) -> Outcome {
    outcome(answer, |rotation| match rotation {
        Rotation::Rotated(token) | Rotation::Repeated(token) => rotated(presented, &token),
        Rotation::Refused(refusal) => Outcome::Refused(refusal),
    })
}

fn policy() -> RetentionPolicy {
    RetentionPolicy::default().keep_rotated_for(TimeDelta::days(1)).keep_revoked_for(TimeDelta::days(1))
}

fn by_one() -> CleanupBudget {
    CleanupBudget::default().batch(1)
}

fn taken(report: CleanupReport) -> Outcome {
    let taken = usize::try_from(report.tokens()).unwrap();
    if report.end == Some(CleanupEnd::Complete) {
        Outcome::Deleted(taken)
    } else {
        Outcome::Failed { error: format!("{report:?}") }
    }
}

/// Its store is never asked for a connection: the verb runs on that of the schedule.
fn service() -> &'static SessionService {
    static SERVICE: OnceLock<SessionService> = OnceLock::new();
    SERVICE.get_or_init(|| {
        let pool = Pool::builder().min_idle(Some(0)).build_unchecked(ConnectionManager::new("postgres://nowhere"));
        let store = RefreshTokenStore::from_pool(pool);
        SessionService::new(store, peppers(), SessionPolicy::default()).unwrap()
    })
}

fn refreshed(answer: refresh_tokens::Result<Refresh>) -> Outcome {
    outcome(answer, |refresh| match refresh {
        Refresh::Rotated(issued) | Refresh::Repeated(issued) => rotated(A2, &issued.token),
        Refresh::Refused(Refusal::Revoked(mut token)) => {
            token.id = renamed(token.id);
            Outcome::Refused(Refusal::Revoked(token))
        }
        Refresh::Refused(refusal) => Outcome::Refused(refusal),
        Refresh::Reused { response: BreachResponse::Revoked(receipt), .. } => Outcome::Responded(Some(receipt)),
        Refresh::Reused { .. } => Outcome::Responded(None),
        Refresh::Unrecognized(why) => Outcome::Failed { error: why.to_string() },
    })
}

fn redemption(presented: Uuid, answer: refresh_tokens::Result<Redemption>) -> Outcome {
    outcome(answer, |redemption| match redemption {
        Redemption::Rotated { token, .. } | Redemption::Repeated { token, .. } => rotated(presented, &token),
        Redemption::Refused(refusal) => Outcome::Refused(refusal),
        Redemption::Reused { response: BreachResponse::Revoked(receipt), .. } => Outcome::Responded(Some(receipt)),
        Redemption::Reused { .. } => Outcome::Responded(None),
    })
}
