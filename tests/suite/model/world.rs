//! The table beside the model: after each step both must hold the same, and the invariants must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{RefreshToken, RevokedReason};
use refresh_tokens_support::doc::in_days;
use uuid::Uuid;

use crate::reference::eight_columns;

use super::act::{Said, act};
use super::answer::Answer;
use super::rules::{By, Model, Row};
use super::step::{Frame, Name, Pick, Step, Turn, instant};

type Table = BTreeMap<Uuid, RefreshToken>;

/// What differs, in words.
type Difference = String;

/// The answer of a step, and the model's notes on it.
pub(super) struct Told {
    pub(super) answer: Answer,
    pub(super) notes: Vec<&'static str>,
}

/// Runs the steps one after the other and tells of each.
///
/// # Errors
///
/// The first difference, after the steps that led to it.
pub(super) fn run<'a>(
    conn: &mut PgConnection,
    turns: impl Iterator<Item = &'a Turn<Pick>>,
    mut tell: impl FnMut(&Turn<Name>, &Told),
) -> Result<(), Difference> {
    let emptied = diesel::delete(dsl::refresh_tokens).execute(conn);
    emptied.map_err(|error| error.to_string())?;
    let mut world = World::new();
    let mut story = Vec::new();
    for turn in turns {
        let turn = turn.reach(&world.model);
        story.push(format!("{:?}, {:?}", turn.step, turn.frame));
        let told =
            world.take(conn, &turn).map_err(|difference| format!("{}\n    -> {difference}", story.join("\n")))?;
        story.push(format!("    -> {:?}", told.answer));
        tell(&turn, &told);
    }
    Ok(())
}

#[derive(Clone)]
struct World {
    start: DateTime<Utc>,
    model: Model,
    /// As it was after the step before.
    table: Table,
    /// The session ids that the model's sessions have in the table.
    sessions: BTreeMap<Name, Uuid>,
    /// Every token that was ever rotated, revoked, expired or deleted.
    dead: BTreeSet<Uuid>,
}

impl World {
    fn new() -> Self {
        let now = in_days(0);
        Self {
            // PostgreSQL keeps microseconds.
            start: DateTime::from_timestamp(now.timestamp(), 0).unwrap_or(now),
            model: Model::default(),
            table: Table::new(),
            sessions: BTreeMap::new(),
            dead: BTreeSet::new(),
        }
    }

    fn take(&mut self, conn: &mut PgConnection, turn: &Turn<Name>) -> Result<Told, Difference> {
        let mut after = self.clone();
        let commits = match turn.frame {
            Frame::Own => {
                let told = after.step(conn, &turn.step)?;
                *self = after;
                return Ok(told);
            }
            Frame::HostCommits => true,
            Frame::HostRollsBack => false,
        };
        let mut outcome = Err("the host could not begin".to_owned());
        let end = conn.transaction(|conn| {
            outcome = after.step(conn, &turn.step);
            if commits { Ok(()) } else { Err(DieselError::RollbackTransaction) }
        });
        let told = outcome?;
        match end {
            Ok(()) => *self = after,
            Err(DieselError::RollbackTransaction) => {
                self.compare(conn).map_err(|difference| format!("after the rollback {difference}"))?;
            }
            Err(error) => return Err(format!("the host could not commit: {error}")),
        }
        Ok(told)
    }

    /// Takes the step in the model and in the database, and compares the answers, then the whole table.
    fn step(&mut self, conn: &mut PgConnection, step: &Step<Name>) -> Result<Told, Difference> {
        let expected = self.model.apply(step);
        let notes = std::mem::take(&mut self.model.notes);
        let Said { answer, tokens, rows } = act(conn, self.start, step)?;
        same("the answer", &answer, &expected)?;
        self.compare(conn)?;
        // Whatever is answered is a row as it is after the step, to the microsecond.
        for token in &tokens {
            same("the returned row", &Some(token), &self.table.get(&token.id))?;
        }
        for row in &rows {
            let token = self.table.get(&row.id).map(eight_columns);
            same("the row that the reference reads", &Some(row), &token.as_ref())?;
        }
        Ok(Told { answer, notes })
    }

    fn compare(&mut self, conn: &mut PgConnection) -> Result<(), Difference> {
        let rows = dsl::refresh_tokens.select(RefreshToken::as_select());
        let rows: Vec<RefreshToken> = rows.load(conn).map_err(|error| error.to_string())?;
        let table: Table = rows.into_iter().map(|row| (row.id, row)).collect();
        let names: Vec<Name> = table.keys().map(|id| Name::of(*id)).collect();
        let expected: Vec<Name> = self.model.rows.keys().copied().collect();
        same("the tokens in the table", &names, &expected)?;
        for (name, row) in &self.model.rows {
            let token = &table[&name.id()];
            let expected = Columns::expected(self.start, *name, row);
            same(&format!("{name:?}"), &Columns::of(token), &expected)?;
            let session_id = *self.sessions.entry(row.session).or_insert(token.session_id);
            let subject = format!("the session of {name:?}, which is {:?}'s,", row.session);
            same(&subject, &token.session_id, &session_id)?;
        }
        let distinct: BTreeSet<&Uuid> = self.sessions.values().collect();
        same("the number of sessions", &distinct.len(), &self.sessions.len())?;
        self.nothing_changed_twice(&table)?;
        self.invariants_hold(&table)?;
        self.table = table;
        Ok(())
    }

    fn nothing_changed_twice(&self, table: &Table) -> Result<(), Difference> {
        for (id, before) in &self.table {
            let Some(after) = table.get(id) else { continue };
            let name = Name::of(*id);
            let subject = |column: &str| format!("{column} of {name:?}");
            same(&subject("created_at"), &after.created_at, &before.created_at)?;
            if before.revoked_at.is_some() {
                same(&subject("revoked_at"), &after.revoked_at, &before.revoked_at)?;
            }
            if before.rotated_at.is_some() {
                same(&subject("rotated_at"), &after.rotated_at, &before.rotated_at)?;
            }
        }
        Ok(())
    }

    /// Judged by the table alone, so that a mistake in the model cannot hide what they forbid.
    fn invariants_hold(&mut self, table: &Table) -> Result<(), Difference> {
        let deleted = self.table.keys().filter(|id| !table.contains_key(id));
        self.dead.extend(deleted);
        let mut live = BTreeSet::new();
        for (id, token) in table {
            let name = Name::of(*id);
            let is_live = token.rotated_to.is_none() && token.revoked_at.is_none();
            if is_live && !live.insert(token.session_id) {
                return Err(format!("{name:?} is the second live token of its session"));
            }
            if !is_live || token.expires_at <= self.start {
                self.dead.insert(*id);
            } else if self.dead.contains(id) {
                return Err(format!("{name:?} was dead and is valid again"));
            }
        }
        Ok(())
    }
}

fn same<T: Debug + PartialEq>(subject: &str, is: &T, should_be: &T) -> Result<(), Difference> {
    if is == should_be {
        return Ok(());
    }
    Err(format!("{subject} is\n    {is:?}\n    and should be\n    {should_be:?}"))
}

/// A row without what only the database knows: the exact instants and the session's id.
#[derive(Debug, PartialEq, Eq)]
struct Columns {
    user_id: Uuid,
    token_hash: String,
    active_org_id: Uuid,
    expires_at: DateTime<Utc>,
    is_revoked: bool,
    revoked_reason: Option<RevokedReason>,
    rotated_to: Option<Uuid>,
    has_rotated_at: bool,
    session_expires_at: Option<DateTime<Utc>>,
    generation: i32,
}

impl Columns {
    fn of(token: &RefreshToken) -> Self {
        Self {
            user_id: token.user_id,
            token_hash: token.token_hash.expose().to_owned(),
            active_org_id: token.active_org_id,
            expires_at: token.expires_at,
            is_revoked: token.revoked_at.is_some(),
            revoked_reason: token.revoked_reason,
            rotated_to: token.rotated_to,
            has_rotated_at: token.rotated_at.is_some(),
            session_expires_at: token.session_expires_at,
            generation: token.generation,
        }
    }

    fn expected(start: DateTime<Utc>, name: Name, row: &Row) -> Self {
        Self {
            user_id: row.user.id(),
            token_hash: name.text(),
            active_org_id: row.org.id(),
            expires_at: instant(start, row.days),
            is_revoked: row.revoked.is_some(),
            revoked_reason: match row.revoked {
                Some(By::Library(reason)) => Some(reason),
                Some(By::Reference) | None => None,
            },
            rotated_to: row.rotated_to.map(Name::id),
            has_rotated_at: row.rotated_to.is_some(),
            session_expires_at: row.session_days.map(|days| instant(start, days)),
            generation: row.generation,
        }
    }
}
