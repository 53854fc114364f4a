//! Calls whose answer was lost with the connection. What they did is settled when they end, for the process that did it
//! is gone by then; whether they did it, the table tells.

use std::collections::{HashMap, HashSet};

use refresh_tokens::OnReuse;
use uuid::Uuid;

use super::facts::{Begin, Birth, Ending, Facts, Spent};
use super::history::{By, Call, History, Op, Request, Row, Stamp, Target};

impl<'a> Facts<'a> {
    /// Adds the births and rotations that the table shows and a lost answer may have told. Where another answer told
    /// them, too, they may have been earlier.
    pub(super) fn note_unknown(&mut self, history: &'a History) {
        let rows: HashMap<Uuid, &Row> = history.table.iter().map(|row| (row.id, row)).collect();
        let told: HashSet<Uuid> = self.births.keys().copied().collect();
        for call in history.calls.iter().filter(|call| call.is_unknown()) {
            match &call.op {
                Op::Create(login) => {
                    let Some(row) = rows.get(&login.token) else { continue };
                    self.note_unknown_birth(row, call, told.contains(&row.id));
                    let Birth { start, end, .. } = self.births[&row.id];
                    self.sessions.insert(row.session, Begin { login, start, end });
                }
                Op::Rotate { by, request, .. } => {
                    if let Some(row) = made_by(request, &rows) {
                        self.note_unknown_birth(row, call, told.contains(&row.id));
                        let Birth { start, end, .. } = self.births[&row.id];
                        self.spent.insert(request.presented, Spent { successor: row.id, start, end });
                    }
                    if let By::Redeem(on_reuse) = by
                        && *on_reuse != OnReuse::ReportOnly
                    {
                        let first: &mut Stamp = self.unknown_responses.entry(request.presented).or_insert(call.start);
                        *first = call.start.min(*first);
                    }
                }
                _ => {}
            }
        }
    }

    fn note_unknown_birth(&mut self, row: &Row, call: &Call, is_told: bool) {
        let Call { start, end, .. } = *call;
        let birth = self.births.entry(row.id).or_insert(Birth {
            user: row.user,
            org: row.org,
            session: row.session,
            generation: row.generation,
            start,
            end,
        });
        birth.start = birth.start.min(start);
        if !is_told {
            birth.end = birth.end.max(end);
        }
    }

    /// The revocation that a lost answer may have told of.
    pub(super) fn unknown_ending(&self, call: &Call) -> Option<Ending> {
        if !call.is_unknown() {
            return None;
        }
        let target = match &call.op {
            Op::Revoke { target, .. } => *target,
            Op::Rotate { by: By::Redeem(on_reuse), request, .. } => match on_reuse {
                OnReuse::ReportOnly => return None,
                OnReuse::RevokeUser => Target::User(self.births.get(&request.presented)?.user),
                OnReuse::RevokeChain => Target::Chain(request.presented),
                _ => Target::SessionOf(request.presented),
            },
            _ => return None,
        };
        Some(Ending { target, start: call.start, end: call.end, is_whole: false, ended: 0 })
    }
}

/// The successor in the table, if it is the one that this request asked for and the presented token's.
fn made_by<'a>(request: &Request, rows: &HashMap<Uuid, &'a Row>) -> Option<&'a Row> {
    let presented = rows.get(&request.presented)?;
    (presented.rotated_to == Some(request.successor)).then(|| rows.get(&request.successor).copied())?
}
