//! Many rotations in one transaction, each with an outcome of its own.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use crate::db::{Prepared, RotateMany, Scope, atomically, clock_timestamp, unspent};
use crate::error::{Error, Result};
use crate::protocol::rotate::{refusal_if_dead, rotate};
use crate::schema::refresh_tokens;
use crate::telemetry::locking;
use crate::values::{RefreshToken, Refusal, Rotation, RotationRequest, TokenHash};

/// Each request's outcome, in the order of the requests.
pub(crate) fn rotate_many(conn: &mut PgConnection, requests: &[RotationRequest]) -> Result<Vec<Result<Rotation>>> {
    let answers = rotate_together(conn, requests)?;
    let mut alone = |RotationRequest { presented, successor, binding }: &RotationRequest| {
        rotate(conn, presented, successor, *binding).map(|(rotation, _)| rotation)
    };
    let outcome = |(answer, request): (Option<_>, _)| answer.unwrap_or_else(|| alone(request));
    Ok(answers.into_iter().zip(requests).map(outcome).collect())
}

/// One transaction for as many as possible: `None` is for those that have to be made alone. It waits for nobody's row
/// lock, except in a transaction of the host's, which keeps what it has: there, only waiting in the one order of locks
/// ends.
pub(crate) fn rotate_together(
    conn: &mut PgConnection,
    requests: &[RotationRequest],
) -> Result<Vec<Option<Result<Rotation>>>> {
    let mut batch = Batch::new(requests);
    let mut outcome = batch.run(conn);
    if matches!(outcome, Err(Error::DuplicateId | Error::DuplicateHash)) {
        batch = Batch::new(requests);
        batch.set_taken_apart(conn)?;
        outcome = batch.run(conn);
    }
    match outcome {
        Ok(()) => {}
        // One of them is not to the liking of a constraint or a trigger of the host's.
        Err(
            Error::Database { .. }
            | Error::PermissionDenied { .. }
            | Error::DuplicateId
            | Error::DuplicateHash
            | Error::UnreadableRow,
        ) => {
            batch = Batch::new(requests);
            batch.steps.iter_mut().for_each(Step::set_apart);
        }
        Err(error) => return Err(error),
    }
    let answer = |step| match step {
        Step::Done(outcome) => Some(outcome),
        Step::Pending | Step::Alone => None,
    };
    Ok(batch.steps.into_iter().map(answer).collect())
}

/// Requests, and how far each has come.
struct Batch<'a> {
    requests: &'a [RotationRequest],
    steps: Vec<Step>,
}

#[expect(clippy::large_enum_variant, reason = "nearly every step becomes the large one")]
enum Step {
    Pending,
    /// What one statement for many cannot do: wait for a lock or for a gate, tell what is wrong with a successor, send
    /// an answer again.
    Alone,
    Done(Result<Rotation>),
}

impl Step {
    fn set_apart(&mut self) {
        if matches!(self, Self::Pending) {
            *self = Self::Alone;
        }
    }
}

impl<'a> Batch<'a> {
    fn new(requests: &'a [RotationRequest]) -> Self {
        let first = |request: &RotationRequest| match request.check() {
            Ok(()) => Step::Pending,
            Err(error) => Step::Done(Err(error)),
        };
        Self { requests, steps: requests.iter().map(first).collect() }
    }

    /// One transaction, or none where there is nothing to do.
    fn run(&mut self, conn: &mut PgConnection) -> Result<()> {
        if self.pending().next().is_none() {
            return Ok(());
        }
        atomically(conn, |conn, scope| {
            loop {
                let wave = self.next_wave();
                if wave.is_empty() {
                    return Ok(());
                }
                self.write(conn, scope, &wave)?;
                self.judge(conn)?;
                for index in wave {
                    self.steps[index].set_apart();
                }
            }
        })
    }

    /// A successor with the id or the hash of a token that exists would fail the statement, and with it everybody.
    fn set_taken_apart(&mut self, conn: &mut PgConnection) -> Result<()> {
        let successors = || self.requests.iter().map(|request| &request.successor);
        let taken: Vec<(Uuid, TokenHash)> = refresh_tokens::table
            .filter(refresh_tokens::id.eq_any(successors().map(|successor| successor.id)))
            .or_filter(refresh_tokens::token_hash.eq_any(successors().map(|successor| &successor.token_hash)))
            .select((refresh_tokens::id, refresh_tokens::token_hash))
            .load(conn)?;
        let (ids, hashes): (HashSet<Uuid>, HashSet<TokenHash>) = taken.into_iter().unzip();
        for (request, step) in self.requests.iter().zip(&mut self.steps) {
            if ids.contains(&request.successor.id) || hashes.contains(&request.successor.token_hash) {
                step.set_apart();
            }
        }
        Ok(())
    }

    fn pending(&self) -> impl Iterator<Item = usize> {
        let pending = |(index, step): (usize, &Step)| matches!(step, Step::Pending).then_some(index);
        self.steps.iter().enumerate().filter_map(pending)
    }

    /// Pending requests that have nothing in common with one before them that is not done: a later one waits for that.
    fn next_wave(&self) -> Vec<usize> {
        let (mut hashes, mut ids) = (HashSet::new(), HashSet::new());
        let mut wave = Vec::with_capacity(self.requests.len());
        for (index, (request, step)) in self.requests.iter().zip(&self.steps).enumerate() {
            if matches!(step, Step::Done(_)) {
                continue;
            }
            let is_first = !hashes.contains(&request.presented)
                && !hashes.contains(&request.successor.token_hash)
                && !ids.contains(&request.successor.id);
            if is_first && matches!(step, Step::Pending) {
                wave.push(index);
            }
            hashes.extend([&request.presented, &request.successor.token_hash]);
            ids.insert(request.successor.id);
        }
        wave
    }

    fn write(&mut self, conn: &mut PgConnection, scope: Scope, wave: &[usize]) -> Result<()> {
        let requests: Vec<&RotationRequest> = wave.iter().map(|index| &self.requests[*index]).collect();
        let lock = refresh_tokens::table
            .filter(refresh_tokens::token_hash.eq_any(requests.iter().map(|request| &request.presented)))
            .filter(unspent())
            .select((
                refresh_tokens::id,
                refresh_tokens::token_hash,
                refresh_tokens::user_id,
                refresh_tokens::active_org_id,
                refresh_tokens::expires_at,
                refresh_tokens::session_expires_at,
            ))
            .for_update();
        let in_order =
            (refresh_tokens::created_at, refresh_tokens::session_id, refresh_tokens::generation, refresh_tokens::id);
        let made: Vec<RefreshToken> = match scope {
            Scope::Own => Prepared(RotateMany::new(lock.skip_locked(), &requests)).load(conn)?,
            // The order in which revocations lock.
            Scope::Host => locking("token", || Prepared(RotateMany::new(lock.order(in_order), &requests)).load(conn))?,
        };
        let mut indices: HashMap<Uuid, usize> =
            wave.iter().map(|index| (self.requests[*index].successor.id, *index)).collect();
        for token in made {
            if let Some(index) = indices.remove(&token.id) {
                self.steps[index] = Step::Done(Ok(Rotation::Rotated(token)));
            }
        }
        Ok(())
    }

    /// Refuses those whose token nothing can make valid again.
    fn judge(&mut self, conn: &mut PgConnection) -> Result<()> {
        let pending: Vec<usize> = self.pending().collect();
        if pending.is_empty() {
            return Ok(());
        }
        let presented = pending.iter().map(|index| &self.requests[*index].presented);
        let found: Vec<(RefreshToken, DateTime<Utc>)> = refresh_tokens::table
            .filter(refresh_tokens::token_hash.eq_any(presented))
            .select((RefreshToken::as_select(), clock_timestamp()))
            .load(conn)?;
        let found: HashMap<&str, &(RefreshToken, DateTime<Utc>)> =
            found.iter().map(|row| (row.0.token_hash.expose(), row)).collect();
        // What requests that are not done present, and what they would make: those behind them are judged after them.
        let (mut undecided, mut to_be_born) = (HashSet::new(), HashSet::new());
        for (request, step) in self.requests.iter().zip(&mut self.steps) {
            let RotationRequest { presented, successor, binding } = request;
            let refusal = match (&*step, found.get(presented.expose())) {
                (Step::Done(_), _) => continue,
                (Step::Alone, _) => None,
                (Step::Pending, None) => (!to_be_born.contains(presented)).then_some(Refusal::NotFound),
                (Step::Pending, Some((token, _))) if token.rotated_to == Some(successor.id) => None,
                (Step::Pending, Some((token, now))) => refusal_if_dead(token, *now, successor, *binding)
                    .map(|refuse| refuse(token.clone()))
                    // The one refusal that turns into another, if the token is rotated.
                    .filter(|refusal| {
                        !(matches!(refusal, Refusal::BindingMismatch(_)) && undecided.contains(presented))
                    }),
            };
            if let Some(refusal) = refusal {
                *step = Step::Done(Ok(Rotation::Refused(refusal)));
            } else {
                undecided.insert(presented);
                to_be_born.insert(&successor.token_hash);
            }
        }
        Ok(())
    }
}
