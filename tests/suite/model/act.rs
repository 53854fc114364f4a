//! Runs a step on the database, and brings its answer into the terms of the model.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Error, InvalidInput, NewRefreshToken, RefreshToken, RefreshTokenRepository, Refusal, Rotation,
    SessionOptions, Successor,
};
use refresh_tokens_support::reference::{self, NewHash, NewRow};

use super::answer::{Answer, Failure, Why};
use super::step::{Actor, Bound, Name, Org, Step, User, Way, instant};

/// An answer, and the rows that came with it.
pub(super) struct Said {
    pub(super) answer: Answer,
    pub(super) tokens: Vec<RefreshToken>,
    pub(super) rows: Vec<reference::Row>,
}

impl From<Answer> for Said {
    fn from(answer: Answer) -> Self {
        Self { answer, tokens: Vec::new(), rows: Vec::new() }
    }
}

/// Why a step could not be answered in the terms of the model.
type Unforeseen = String;

pub(super) fn act(conn: &mut PgConnection, start: DateTime<Utc>, step: &Step<Name>) -> Result<Said, Unforeseen> {
    if let Step::Age(token, days) = *step {
        return age(conn, token, instant(start, days));
    }
    match by_whom(step) {
        Some(Actor::Library) => library(conn, start, step).or_else(failed),
        Some(Actor::Reference) => {
            conn.transaction(|conn| reference(conn, start, step)).or_else(|error| refused_by_constraint(&error))
        }
        // Both read, and must read the same.
        None => {
            let mut said = library(conn, start, step).or_else(failed)?;
            let again = reference(conn, start, step).or_else(|error| refused_by_constraint(&error))?;
            if again.answer != said.answer {
                let (ours, theirs) = (said.answer, again.answer);
                return Err(format!("{ours:?}, but the reference reads {theirs:?}"));
            }
            said.rows = again.rows;
            Ok(said)
        }
    }
}

fn age(conn: &mut PgConnection, token: Name, expires_at: DateTime<Utc>) -> Result<Said, Unforeseen> {
    diesel::update(dsl::refresh_tokens.find(token.id()))
        .filter(dsl::expires_at.gt(expires_at))
        .set(dsl::expires_at.eq(expires_at))
        .execute(conn)
        .map_err(|error| error.to_string())?;
    Ok(Answer::Nothing.into())
}

fn by_whom(step: &Step<Name>) -> Option<Actor> {
    match *step {
        Step::Create { by, .. }
        | Step::RevokeTokenChain(by, _)
        | Step::Revoke(by, _)
        | Step::RevokeByHash(by, _)
        | Step::RevokeAllForUser(by, _)
        | Step::RevokeAllForUserExcept(by, ..)
        | Step::CleanupExpired(by, _) => Some(by),
        Step::Rotate { by: Way::Reference, .. } => Some(Actor::Reference),
        Step::Rotate { .. } => Some(Actor::Library),
        Step::GetValidByHash(..)
        | Step::GetByHash(_)
        | Step::CheckTokenReuse(_)
        | Step::GetActiveTokensForUser(_)
        | Step::Age(..) => None,
    }
}

fn library(conn: &mut PgConnection, start: DateTime<Utc>, step: &Step<Name>) -> Result<Said, Error> {
    let mut tokens = RefreshTokenRepository::new(conn);
    Ok(match *step {
        Step::Create { id, hash, user, org, days, session_days, .. } => {
            let session = SessionOptions::default();
            found(Some(tokens.create(&NewRefreshToken {
                id: id.id(),
                user_id: user.id(),
                token_hash: hash.hash(),
                active_org_id: org.id(),
                expires_at: instant(start, days),
                session: match session_days {
                    Some(days) => session.expires_at(instant(start, days)),
                    None => session,
                },
            })?))
        }
        Step::GetByHash(token) => found(tokens.get_by_hash(&token.hash())?),
        Step::GetValidByHash(token, bound) => found(tokens.get_valid_by_hash(&token.hash(), binding(bound))?),
        Step::CheckTokenReuse(token) => found(tokens.check_token_reuse(&token.hash())?),
        Step::Rotate { by, presented, id, hash, days, org, bound } => {
            let successor = Successor::expiring_at(id.id(), hash.hash(), instant(start, days));
            let successor = match org {
                Some(org) => successor.active_org_id(org.id()),
                None => successor,
            };
            if by == Way::Verb {
                rotation(tokens.rotate(&presented.hash(), &successor, binding(bound))?)
            } else {
                guarded(&mut tokens, presented, &successor, bound)?
            }
        }
        Step::RevokeTokenChain(_, token) => Answer::Count(tokens.revoke_token_chain(token.id())?.tokens).into(),
        Step::Revoke(_, token) => Answer::Did(tokens.revoke(token.id())?.is_revoked()).into(),
        Step::RevokeByHash(_, token) => Answer::Did(tokens.revoke_by_hash(&token.hash())?.is_revoked()).into(),
        Step::RevokeAllForUser(_, user) => Answer::Count(tokens.revoke_all_for_user(user.id())?.tokens).into(),
        Step::RevokeAllForUserExcept(_, user, keep) => {
            Answer::Count(tokens.revoke_all_for_user_except(user.id(), keep.id())?.tokens).into()
        }
        Step::GetActiveTokensForUser(user) => {
            let tokens = tokens.get_active_tokens_for_user(user.id())?;
            Said {
                answer: Answer::Listed(tokens.iter().map(|token| Name::of(token.id)).collect()),
                tokens,
                rows: Vec::new(),
            }
        }
        Step::CleanupExpired(_, days) => Answer::Count(tokens.cleanup_expired(days)?).into(),
        Step::Age(..) => Answer::Nothing.into(),
    })
}

fn guarded(
    tokens: &mut RefreshTokenRepository<'_>,
    presented: Name,
    successor: &Successor,
    bound: Bound,
) -> Result<Said, Error> {
    let rotated = tokens.transaction(|tx| match tx.get_valid_for_rotation(&presented.hash(), binding(bound))? {
        Some(locked) => locked.rotate_to(successor).map(Some),
        None => Ok(None),
    })?;
    Ok(match rotated {
        Some(token) => rotation(Rotation::Rotated(token)),
        None => Answer::Nothing.into(),
    })
}

fn binding(bound: Bound) -> Binding {
    let binding = match bound.user {
        Some(user) => Binding::user(user.id()),
        None => Binding::ANY,
    };
    match bound.org {
        Some(org) => binding.org(org.id()),
        None => binding,
    }
}

fn found(token: Option<RefreshToken>) -> Said {
    let answer = match &token {
        Some(token) => Answer::Token(Name::of(token.id)),
        None => Answer::Nothing,
    };
    Said { answer, tokens: token.into_iter().collect(), rows: Vec::new() }
}

fn rotation(rotation: Rotation) -> Said {
    let (answer, token) = match rotation {
        Rotation::Rotated(token) | Rotation::Repeated(token) => (Answer::Rotated(Name::of(token.id)), Some(token)),
        Rotation::Refused(refusal) => {
            let (why, token): (fn(Name) -> Why, _) = match refusal {
                Refusal::NotFound => (|_| Why::NotFound, None),
                Refusal::Reused(token) => (Why::Reused, Some(token)),
                Refusal::BindingMismatch(token) => (Why::BindingMismatch, Some(token)),
                Refusal::Revoked(token) => (Why::Revoked, Some(token)),
                Refusal::Expired(token) => (Why::Expired, Some(token)),
                other => panic!("{other:?}"),
            };
            let name = token.as_ref().map_or(Name::NOBODY, |token| Name::of(token.id));
            (Answer::Refused(why(name)), token)
        }
    };
    Said { answer, tokens: token.into_iter().collect(), rows: Vec::new() }
}

fn failed(error: Error) -> Result<Said, Unforeseen> {
    let failure = match error {
        Error::DuplicateId => Failure::DuplicateId,
        Error::DuplicateHash => Failure::DuplicateHash,
        Error::InvalidInput(InvalidInput::ExpiryNotInFuture { field }) => Failure::NotInFuture(field),
        Error::InvalidInput(InvalidInput::DaysOutOfRange { .. }) => Failure::Days,
        other => return Err(format!("{other:?}")),
    };
    Ok(Answer::Failed(failure).into())
}

fn reference(conn: &mut PgConnection, start: DateTime<Utc>, step: &Step<Name>) -> QueryResult<Said> {
    Ok(match *step {
        Step::Create { id, hash, user, org, days, .. } => {
            let new = NewRow {
                id: id.id(),
                user_id: user.id(),
                token_hash: hash.text(),
                active_org_id: org.id(),
                expires_at: instant(start, days),
            };
            row_found(Some(reference::create(conn, &new)?))
        }
        Step::GetByHash(token) => row_found(reference::get_by_hash(conn, &token.text())?),
        Step::GetValidByHash(token, Bound { user, org }) => {
            let (user, org) = (user.map(User::id), org.map(Org::id));
            row_found(reference::get_valid_by_hash(conn, &token.text(), user, org)?)
        }
        Step::CheckTokenReuse(token) => row_found(reference::check_token_reuse(conn, &token.text())?),
        Step::Rotate { presented, id, hash, days, org, bound, .. } => {
            let new = NewHash {
                id: id.id(),
                token_hash: hash.text(),
                expires_at: instant(start, days),
                active_org_id: org.map(Org::id),
            };
            let user = bound.user.map(User::id);
            // The row that it returns is from before the trigger: the table's is compared instead.
            match reference::rotate(conn, &presented.text(), &new, user)? {
                Some(row) => Answer::Rotated(Name::of(row.id)).into(),
                None => Answer::Nothing.into(),
            }
        }
        Step::RevokeTokenChain(_, token) => Answer::Count(reference::revoke_token_chain(conn, token.id())?).into(),
        Step::Revoke(_, token) => Answer::Did(reference::revoke(conn, token.id())?).into(),
        Step::RevokeByHash(_, token) => Answer::Did(reference::revoke_by_hash(conn, &token.text())?).into(),
        Step::RevokeAllForUser(_, user) => Answer::Count(reference::revoke_all_for_user(conn, user.id())?).into(),
        Step::RevokeAllForUserExcept(_, user, keep) => {
            Answer::Count(reference::revoke_all_for_user_except(conn, user.id(), keep.id())?).into()
        }
        Step::GetActiveTokensForUser(user) => {
            let rows = reference::get_active_tokens_for_user(conn, user.id())?;
            Said { answer: Answer::Listed(rows.iter().map(|row| Name::of(row.id)).collect()), tokens: Vec::new(), rows }
        }
        Step::CleanupExpired(_, days) => Answer::Count(reference::cleanup_expired(conn, days)?).into(),
        Step::Age(..) => Answer::Nothing.into(),
    })
}

fn row_found(row: Option<reference::Row>) -> Said {
    let answer = match &row {
        Some(row) => Answer::Token(Name::of(row.id)),
        None => Answer::Nothing,
    };
    Said { answer, tokens: Vec::new(), rows: row.into_iter().collect() }
}

fn refused_by_constraint(error: &DieselError) -> Result<Said, Unforeseen> {
    if let DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info) = error {
        match info.constraint_name() {
            Some("refresh_tokens_pkey") => return Ok(Answer::Failed(Failure::DuplicateId).into()),
            Some("refresh_tokens_token_hash_key") => {
                return Ok(Answer::Failed(Failure::DuplicateHash).into());
            }
            _ => {}
        }
    }
    Err(format!("{error:?}"))
}
