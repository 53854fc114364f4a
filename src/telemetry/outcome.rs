//! What came of a call: its name, how much it matters, and whom it is about.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::error::{Error, Result, Wait};
use crate::telemetry::ids::Ids;
use crate::values::{
    ArchivePartition, BreachResponse, CleanupEnd, CleanupReport, Redemption, RefreshToken, Refusal, RetentionBacklog,
    ReuseKind, RevocationReport, Rotation, SessionPage, TokenRevocation,
};

/// How much an outcome matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Done,
    /// As `Done`, and nothing was changed.
    Unchanged,
    Refused,
    Alarm,
    Transient,
    Failed,
}

impl Class {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Done | Self::Unchanged => "done",
            Self::Refused => "refused",
            Self::Alarm => "alarm",
            Self::Transient => "transient",
            Self::Failed => "failed",
        }
    }
}

/// How much there was of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figures<'a> {
    Revocation(RevocationReport),
    Cleanup(&'a CleanupReport),
    Backlog(&'a RetentionBacklog),
}

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revocation(report) => report.fmt(f),
            Self::Cleanup(report) => report.fmt(f),
            Self::Backlog(backlog) => {
                let (tokens, seconds) = (backlog.expired_counted, backlog.behind.num_seconds());
                write!(f, "{tokens} expired tokens are overdue, the oldest for {seconds} s")
            }
        }
    }
}

/// One outcome, with nothing in it that must not be printed.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    pub(crate) outcome: &'static str,
    pub(crate) class: Class,
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only events have ids"))]
    pub(crate) ids: Ids,
    pub(crate) figures: Option<Figures<'a>>,
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only events have texts"))]
    pub(crate) error: Option<&'a Error>,
}

impl<'a> Event<'a> {
    pub(crate) fn new(outcome: &'static str, class: Class) -> Self {
        Self { outcome, class, ids: Ids::NONE, figures: None, error: None }
    }

    pub(crate) fn done(outcome: &'static str) -> Self {
        Self::new(outcome, Class::Done)
    }

    pub(crate) fn unchanged(outcome: &'static str) -> Self {
        Self::new(outcome, Class::Unchanged)
    }

    pub(crate) fn refused(outcome: &'static str) -> Self {
        Self::new(outcome, Class::Refused)
    }

    pub(crate) fn about(self, token: &RefreshToken) -> Self {
        Self { ids: token.into(), ..self }
    }

    pub(crate) fn with(self, figures: Figures<'a>) -> Self {
        Self { figures: Some(figures), ..self }
    }

    pub(crate) fn of_error(error: &'a Error) -> Self {
        let class = match error {
            Error::RevokedSinceLogin | Error::TooManySessions { .. } | Error::GroupShutDown => Class::Refused,
            error if error.is_transient() => Class::Transient,
            _ => Class::Failed,
        };
        Self { error: Some(error), ..Self::new(name_of(error), class) }
    }

    pub(crate) fn of_refusal(refusal: &Refusal) -> Self {
        let class = match refusal {
            Refusal::Reused(_) | Refusal::BindingMismatch(_) => Class::Alarm,
            _ => Class::Refused,
        };
        let event = Self::new(refusal.as_str(), class);
        match refusal.token() {
            Some(token) => event.about(token),
            None => event,
        }
    }

    pub(crate) fn of_reuse(token: &RefreshToken, kind: ReuseKind, response: &BreachResponse) -> Self {
        let event = Self::new(kind.as_str(), Class::Alarm).about(token);
        match response {
            BreachResponse::Revoked(report) => event.with(Figures::Revocation(*report)),
            BreachResponse::AlreadyHandled | BreachResponse::ReportedOnly => event,
        }
    }
}

/// No variant is left out: a new one needs a name here and a line in `src/observe/metrics.md`.
fn name_of(error: &Error) -> &'static str {
    match error {
        Error::DuplicateId => "duplicate_id",
        Error::DuplicateHash => "duplicate_hash",
        Error::InvalidInput(_) => "invalid_input",
        Error::RevokedSinceLogin => "revoked_since_login",
        Error::TooManySessions { .. } => "too_many_sessions",
        Error::Busy(Wait::Lock) => "busy_lock",
        Error::Busy(Wait::Statement) => "busy_statement",
        Error::Busy(Wait::NewTokens) => "busy_new_tokens",
        Error::Busy(Wait::Queue) => "busy_queue",
        Error::Conflict => "conflict",
        Error::PoolExhausted { .. } => "pool_exhausted",
        Error::QueueFull { .. } => "queue_full",
        Error::GroupShutDown => "group_shut_down",
        #[cfg(feature = "secrets")]
        Error::RandomnessUnavailable => "randomness_unavailable",
        Error::Unreachable { .. } => "unreachable",
        Error::ConnectionLost => "connection_lost",
        Error::CommitUnknown { .. } => "commit_unknown",
        Error::ReadOnly { .. } => "read_only",
        Error::DiskFull { .. } => "disk_full",
        Error::PermissionDenied { .. } => "permission_denied",
        Error::TransactionPooler => "transaction_pooler",
        Error::MissingTimeouts(_) => "missing_timeouts",
        Error::LockedTokenSpent => "locked_token_spent",
        Error::IsolationTooHigh => "isolation_too_high",
        Error::Aborted => "aborted",
        Error::SchemaMissing => "schema_missing",
        Error::SchemaMismatch(_) => "schema_mismatch",
        Error::ArchiveNotPrepared => "archive_not_prepared",
        Error::ThreadSpawn { .. } => "thread_spawn",
        Error::InsideTransaction => "inside_transaction",
        Error::Migration { .. } => "migration",
        Error::UnreadableRow => "unreadable_row",
        Error::Database { .. } => "database",
    }
}

/// What a verb returns, as it is counted and told: mostly one outcome.
pub(crate) trait Outcome {
    fn each(&self, verb: &'static str, emit: &mut dyn FnMut(&Event<'_>));
}

impl Outcome for RefreshToken {
    fn each(&self, verb: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        let outcome = if verb == "create" { "created" } else { "rotated" };
        emit(&Event::done(outcome).about(self));
    }
}

impl Outcome for Option<RefreshToken> {
    fn each(&self, verb: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        emit(&match self {
            Some(token) if verb == "check_token_reuse" => Event::new("reused", Class::Alarm).about(token),
            Some(token) => Event::unchanged("found").about(token),
            None => Event::unchanged("none"),
        });
    }
}

/// Of the guard: the token, and the clock by which it was judged.
impl Outcome for Result<(RefreshToken, DateTime<Utc>), Refusal> {
    fn each(&self, _: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        emit(&match self {
            Ok((token, _)) => Event::unchanged("locked").about(token),
            Err(refusal) => Event::of_refusal(refusal),
        });
    }
}

impl Outcome for Rotation {
    fn each(&self, _: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        emit(&match self {
            Self::Rotated(token) => Event::done("rotated").about(token),
            Self::Repeated(token) => Event::done("repeated").about(token),
            Self::Refused(refusal) => Event::of_refusal(refusal),
        });
    }
}

/// Each request by itself.
impl Outcome for Vec<Result<Rotation>> {
    fn each(&self, verb: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        for outcome in self {
            match outcome {
                Ok(rotation) => rotation.each(verb, emit),
                Err(error) => emit(&Event::of_error(error)),
            }
        }
    }
}

impl Outcome for Redemption {
    fn each(&self, _: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        emit(&match self {
            Self::Rotated { token, .. } | Self::Repeated { token, .. } => Event::done(self.as_str()).about(token),
            Self::Reused { token, kind, response, .. } => Event::of_reuse(token, *kind, response),
            Self::Refused(refusal) => Event::of_refusal(refusal),
        });
    }
}

impl Outcome for RevocationReport {
    fn each(&self, _: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        let event = if self.tokens > 0 { Event::done("revoked") } else { Event::unchanged("nothing") };
        emit(&event.with(Figures::Revocation(*self)));
    }
}

impl Outcome for TokenRevocation {
    fn each(&self, _: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        let (event, session, sessions) = match *self {
            Self::Unchanged => return emit(&Event::unchanged("unchanged")),
            Self::SessionEnded { session_id } => (Event::done("session_ended"), session_id, 1),
            Self::SessionContinues { session_id } => (Event::done("session_continues"), session_id, 0),
        };
        let report = RevocationReport { tokens: 1, sessions, live: sessions };
        emit(&Event { ids: Ids::session(session), ..event }.with(Figures::Revocation(report)));
    }
}

impl Outcome for CleanupReport {
    fn each(&self, verb: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        if verb == "preview_cleanup" {
            return emit(&Event::unchanged("previewed"));
        }
        let outcome = match self.end {
            Some(CleanupEnd::RowBudget) => "row_budget",
            Some(CleanupEnd::TimeBudget) => "time_budget",
            Some(CleanupEnd::Interrupted) => "interrupted",
            Some(CleanupEnd::Complete) | None => "complete",
        };
        emit(&Event::done(outcome).with(Figures::Cleanup(self)));
    }
}

impl Outcome for RetentionBacklog {
    fn each(&self, _: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        emit(&Event::unchanged("read").with(Figures::Backlog(self)));
    }
}

impl Outcome for Vec<ArchivePartition> {
    fn each(&self, verb: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        emit(&match verb {
            "drop_archived_before" if self.is_empty() => Event::unchanged("nothing"),
            "drop_archived_before" => Event::done("dropped"),
            _ => Event::unchanged("listed"),
        });
    }
}

/// The names of new partitions.
impl Outcome for Vec<String> {
    fn each(&self, _: &'static str, emit: &mut dyn FnMut(&Event<'_>)) {
        emit(&if self.is_empty() { Event::unchanged("nothing") } else { Event::done("prepared") });
    }
}

/// What only reads.
/// Look-ups, whose values are told as one word.
macro_rules! read {
    ($outcome:literal: $($type:ty),*) => {
        $(
            impl $crate::telemetry::outcome::Outcome for $type {
                fn each(&self, _: &'static str, emit: &mut dyn FnMut(&$crate::telemetry::outcome::Event<'_>)) {
                    emit(&$crate::telemetry::outcome::Event::unchanged($outcome));
                }
            }
        )*
    };
}

#[cfg(feature = "secrets")]
pub(crate) use read;

read!("listed": Vec<RefreshToken>, SessionPage);
read!("read": DateTime<Utc>);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::error::InvalidInput;

    use super::*;

    /// Of every error, also of those that no test can bring about: its name and class are in the documented table.
    #[test]
    fn every_error_has_its_name_in_the_table() {
        let message = String::new;
        let errors = [
            Error::DuplicateId,
            Error::DuplicateHash,
            Error::InvalidInput(InvalidInput::EmptyTokenHash),
            Error::RevokedSinceLogin,
            Error::TooManySessions { max: 1 },
            Error::Busy(Wait::Lock),
            Error::Busy(Wait::Statement),
            Error::Busy(Wait::NewTokens),
            Error::Busy(Wait::Queue),
            Error::Conflict,
            Error::PoolExhausted { waited: Duration::ZERO },
            Error::QueueFull { max: 1 },
            Error::GroupShutDown,
            #[cfg(feature = "secrets")]
            Error::RandomnessUnavailable,
            Error::Unreachable { message: message() },
            Error::ConnectionLost,
            Error::CommitUnknown { message: message() },
            Error::ReadOnly { message: message() },
            Error::DiskFull { message: message() },
            Error::PermissionDenied { message: message() },
            Error::TransactionPooler,
            Error::MissingTimeouts(Vec::new()),
            Error::LockedTokenSpent,
            Error::IsolationTooHigh,
            Error::Aborted,
            Error::SchemaMissing,
            Error::SchemaMismatch(Vec::new()),
            Error::ArchiveNotPrepared,
            Error::UnreadableRow,
            Error::Database { message: message() },
        ];
        let (_, table) = include_str!("../observe/metrics.md").split_once("Any verb can end in an error").unwrap();
        for error in &errors {
            let event = Event::of_error(error);
            let row = table.lines().find(|line| line.contains(&format!("`{}`", event.outcome)));
            let class = row.and_then(|row| row.strip_prefix("| ")).and_then(|row| row.split(' ').next());
            assert_eq!(class, Some(event.class.as_str()), "{error:?}");
            assert_eq!(event.class == Class::Transient, error.is_transient(), "{error:?}");
        }
        let documented = table.lines().filter(|line| line.starts_with("| ")).map(|line| line.matches('`').count() / 2);
        let unwritten = usize::from(!cfg!(feature = "secrets"));
        assert_eq!(documented.sum::<usize>(), errors.len() + unwritten, "and no other");
    }
}
