//! The verbs, each as one request that can be sent again unchanged.

mod exchanges;
mod reads;
mod revocations;
mod schema;
mod upkeep;

use diesel::PgConnection;
use refresh_tokens::{Error, Redemption, Refresh, Result, RevocationReport, Rotation};
use uuid::Uuid;

use crate::fixture::Fixture;
use crate::lab::Host;

pub(crate) use exchanges::exchanges;
pub(crate) use reads::reads;
pub(crate) use revocations::revocations;
pub(crate) use schema::schema;
pub(crate) use upkeep::upkeep;

/// What is there before the verb is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begins {
    /// The tables, and the rows of the [`Fixture`].
    Rows,
    /// The tables as the migrations make them.
    Tables,
    /// An empty schema.
    Nothing,
}

/// Who makes it again after a conflict.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// As often as it is configured to.
    Store,
    /// However the store is configured.
    Itself,
    /// It is told of the conflict.
    Caller,
}

/// How it comes by what somebody else may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// It waits for it, within its bounds.
    Waited,
    /// It is refused at once.
    Tried,
}

type Call = fn(&Host, &Fixture) -> Result<String>;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) begins: Begins,
    /// Whether it leaves anything behind.
    pub(crate) writes: bool,
    /// Whether it is one transaction, so that all of it is done or nothing.
    pub(crate) is_atomic: bool,
    pub(crate) again: Again,
    pub(crate) lock: Lock,
    /// Whether it opens connections itself, so that its error may be that there is none.
    pub(crate) connects: bool,
    pub(crate) prepare: fn(&mut PgConnection),
    /// The same answer, in the same words, whether it was done now or when the request came first.
    pub(crate) call: Call,
    /// What it says, sent again, where it had been done: an error that means just that.
    pub(crate) was_done: Option<Error>,
    /// Whose tokens it is about.
    pub(crate) user: fn(&Fixture) -> Uuid,
}

impl Case {
    fn new(name: &'static str, call: Call) -> Self {
        Self {
            name,
            begins: Begins::Rows,
            writes: true,
            is_atomic: true,
            again: Again::Store,
            lock: Lock::Waited,
            connects: false,
            prepare: |_| {},
            call,
            was_done: None,
            user: |f| f.live.user_id,
        }
    }

    fn reads(name: &'static str, call: Call) -> Self {
        Self { writes: false, ..Self::new(name, call) }
    }

    fn in_steps(name: &'static str, call: Call) -> Self {
        Self { is_atomic: false, again: Again::Itself, ..Self::new(name, call) }
    }

    /// Which keeps what it has read of a token that may be gone by then.
    fn again_by_itself(self) -> Self {
        Self { again: Again::Itself, ..self }
    }

    fn again_by_the_caller(self) -> Self {
        Self { again: Again::Caller, ..self }
    }

    /// About the session that the service began.
    fn of_service(self) -> Self {
        Self { user: |f| f.issued.token.user_id, ..self }
    }
}

pub(crate) fn all() -> Vec<Case> {
    [exchanges(), revocations(), reads(), upkeep(), schema()].into_iter().flatten().collect()
}

/// A successor is told by its id, which the request names: the same, whether it was made now or then.
fn said(f: &Fixture, rotation: Rotation) -> String {
    match rotation {
        Rotation::Refused(refusal) => refusal.as_str().to_owned(),
        Rotation::Rotated(token) | Rotation::Repeated(token) => format!("successor {}", f.name(token.id)),
    }
}

fn redeemed(f: &Fixture, redemption: Redemption) -> String {
    match redemption {
        Redemption::Reused { .. } => "reused".to_owned(),
        Redemption::Refused(refusal) => refusal.as_str().to_owned(),
        redemption => redemption.successor().map_or_else(String::new, |t| format!("successor {}", f.name(t.id))),
    }
}

fn refreshed(refresh: Refresh) -> String {
    match refresh {
        Refresh::Rotated(issued) | Refresh::Repeated(issued) => format!("secret of {}", issued.token.generation),
        other => other.as_str().to_owned(),
    }
}

fn revoked(_: RevocationReport) -> String {
    "revoked".to_owned()
}

fn some<T>(value: Option<&T>) -> String {
    format!("some {}", value.is_some())
}
