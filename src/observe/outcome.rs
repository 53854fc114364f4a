//! What came of a call: its name, how much it matters, and whom it is about.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::error::{Error, Result, Wait};
use crate::models::RefreshToken;
use crate::observe::Ids;
use crate::outcome::{Refusal, Rotation};
use crate::receipt::{RevocationReport, TokenRevocation};
use crate::redemption::{BreachResponse, Redemption};
use crate::retention::{ArchivePartition, CleanupEnd, CleanupReport, RetentionBacklog};
use crate::reuse::ReuseKind;
#[cfg(feature = "secrets")]
use crate::service::{PepperUsage, Refresh};
use crate::sessions::SessionPage;
use crate::transaction::LockedToken;

/// How much an outcome matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Done,
    /// As `Done`, and nothing was changed.
    Unchanged,
    Refused,
    Alarm,
    Transient,
    Failed,
}

impl Class {
    pub(super) fn as_str(self) -> &'static str {
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
pub(super) enum Figures<'a> {
    RevocationReport(RevocationReport),
    Cleanup(&'a CleanupReport),
    Backlog(&'a RetentionBacklog),
}

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RevocationReport(receipt) => receipt.fmt(f),
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
pub(crate) struct Seen<'a> {
    pub(super) outcome: &'static str,
    pub(super) class: Class,
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only events have ids"))]
    pub(super) ids: Ids,
    pub(super) figures: Option<Figures<'a>>,
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only events have texts"))]
    pub(super) error: Option<&'a Error>,
}

impl<'a> Seen<'a> {
    fn new(outcome: &'static str, class: Class) -> Self {
        Self { outcome, class, ids: Ids::NONE, figures: None, error: None }
    }

    fn done(outcome: &'static str) -> Self {
        Self::new(outcome, Class::Done)
    }

    pub(super) fn unchanged(outcome: &'static str) -> Self {
        Self::new(outcome, Class::Unchanged)
    }

    pub(super) fn refused(outcome: &'static str) -> Self {
        Self::new(outcome, Class::Refused)
    }

    fn about(self, token: &RefreshToken) -> Self {
        Self { ids: token.into(), ..self }
    }

    fn with(self, figures: Figures<'a>) -> Self {
        Self { figures: Some(figures), ..self }
    }

    pub(super) fn of_error(error: &'a Error) -> Self {
        let class = match error {
            Error::RevokedSinceLogin | Error::TooManySessions { .. } | Error::GroupShutDown => Class::Refused,
            error if error.is_transient() => Class::Transient,
            _ => Class::Failed,
        };
        Self { error: Some(error), ..Self::new(name_of(error), class) }
    }

    fn of_refusal(refusal: &Refusal) -> Self {
        let class = match refusal {
            Refusal::Reused(_) | Refusal::BindingMismatch(_) => Class::Alarm,
            _ => Class::Refused,
        };
        let seen = Self::new(refusal.as_str(), class);
        match refusal.token() {
            Some(token) => seen.about(token),
            None => seen,
        }
    }

    fn of_reuse(token: &RefreshToken, kind: ReuseKind, response: &BreachResponse) -> Self {
        let seen = Self::new(kind.as_str(), Class::Alarm).about(token);
        match response {
            BreachResponse::Revoked(receipt) => seen.with(Figures::RevocationReport(*receipt)),
            BreachResponse::AlreadyHandled | BreachResponse::ReportedOnly => seen,
        }
    }
}

/// No variant is left out: a new one needs a name here and a line in `metrics.md`.
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
        Error::Migration { .. } => "migration",
        Error::UnreadableRow => "unreadable_row",
        Error::Database { .. } => "database",
    }
}

/// What a verb returns, as it is counted and told: mostly one outcome.
pub(crate) trait Outcome {
    fn each(&self, verb: &'static str, tell: &mut dyn FnMut(&Seen<'_>));
}

impl Outcome for RefreshToken {
    fn each(&self, verb: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        let outcome = if verb == "create" { "created" } else { "rotated" };
        tell(&Seen::done(outcome).about(self));
    }
}

impl Outcome for Option<RefreshToken> {
    fn each(&self, verb: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        tell(&match self {
            Some(token) if verb == "check_token_reuse" => Seen::new("reused", Class::Alarm).about(token),
            Some(token) => Seen::unchanged("found").about(token),
            None => Seen::unchanged("none"),
        });
    }
}

impl Outcome for Result<LockedToken<'_>, Refusal> {
    fn each(&self, _: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        tell(&match self {
            Ok(locked) => Seen::unchanged("locked").about(locked.token()),
            Err(refusal) => Seen::of_refusal(refusal),
        });
    }
}

impl Outcome for Rotation {
    fn each(&self, _: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        tell(&match self {
            Self::Rotated(token) => Seen::done("rotated").about(token),
            Self::Repeated(token) => Seen::done("repeated").about(token),
            Self::Refused(refusal) => Seen::of_refusal(refusal),
        });
    }
}

/// Each request by itself.
impl Outcome for Vec<Result<Rotation>> {
    fn each(&self, verb: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        for outcome in self {
            match outcome {
                Ok(rotation) => rotation.each(verb, tell),
                Err(error) => tell(&Seen::of_error(error)),
            }
        }
    }
}

impl Outcome for Redemption {
    fn each(&self, _: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        tell(&match self {
            Self::Rotated { token, .. } | Self::Repeated { token, .. } => Seen::done(self.as_str()).about(token),
            Self::Reused { token, kind, response, .. } => Seen::of_reuse(token, *kind, response),
            Self::Refused(refusal) => Seen::of_refusal(refusal),
        });
    }
}

#[cfg(feature = "secrets")]
impl Outcome for Refresh {
    fn each(&self, _: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        tell(&match self {
            Self::Rotated(issued) | Self::Repeated(issued) => Seen::done(self.as_str()).about(&issued.token),
            Self::Reused { token, kind, response } => Seen::of_reuse(token, *kind, response),
            Self::Refused(refusal) => Seen::of_refusal(refusal),
            Self::Unrecognized(_) => Seen::refused(self.as_str()),
        });
    }
}

impl Outcome for RevocationReport {
    fn each(&self, _: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        let seen = if self.tokens > 0 { Seen::done("revoked") } else { Seen::unchanged("nothing") };
        tell(&seen.with(Figures::RevocationReport(*self)));
    }
}

impl Outcome for TokenRevocation {
    fn each(&self, _: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        let (seen, session, sessions) = match *self {
            Self::Unchanged => return tell(&Seen::unchanged("unchanged")),
            Self::SessionEnded { session_id } => (Seen::done("session_ended"), session_id, 1),
            Self::SessionContinues { session_id } => (Seen::done("session_continues"), session_id, 0),
        };
        let receipt = RevocationReport { tokens: 1, sessions, live: sessions };
        tell(&Seen { ids: Ids::session(session), ..seen }.with(Figures::RevocationReport(receipt)));
    }
}

impl Outcome for CleanupReport {
    fn each(&self, verb: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        if verb == "preview_cleanup" {
            return tell(&Seen::unchanged("previewed"));
        }
        let outcome = match self.end {
            Some(CleanupEnd::RowBudget) => "row_budget",
            Some(CleanupEnd::TimeBudget) => "time_budget",
            Some(CleanupEnd::Interrupted) => "interrupted",
            Some(CleanupEnd::Complete) | None => "complete",
        };
        tell(&Seen::done(outcome).with(Figures::Cleanup(self)));
    }
}

impl Outcome for RetentionBacklog {
    fn each(&self, _: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        tell(&Seen::unchanged("read").with(Figures::Backlog(self)));
    }
}

impl Outcome for Vec<ArchivePartition> {
    fn each(&self, verb: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        tell(&match verb {
            "drop_archived_before" if self.is_empty() => Seen::unchanged("nothing"),
            "drop_archived_before" => Seen::done("dropped"),
            _ => Seen::unchanged("listed"),
        });
    }
}

/// The names of new partitions.
impl Outcome for Vec<String> {
    fn each(&self, _: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
        tell(&if self.is_empty() { Seen::unchanged("nothing") } else { Seen::done("prepared") });
    }
}

/// What only reads.
macro_rules! read {
    ($outcome:literal: $($type:ty),*) => {
        $(
            impl Outcome for $type {
                fn each(&self, _: &'static str, tell: &mut dyn FnMut(&Seen<'_>)) {
                    tell(&Seen::unchanged($outcome));
                }
            }
        )*
    };
}

read!("listed": Vec<RefreshToken>, SessionPage);
read!("read": DateTime<Utc>);
#[cfg(feature = "secrets")]
read!("read": Vec<PepperUsage>);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::input::InvalidInput;

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
        let (_, table) = include_str!("metrics.md").split_once("Any verb can end in an error").unwrap();
        for error in &errors {
            let seen = Seen::of_error(error);
            let row = table.lines().find(|line| line.contains(&format!("`{}`", seen.outcome)));
            let class = row.and_then(|row| row.strip_prefix("| ")).and_then(|row| row.split(' ').next());
            assert_eq!(class, Some(seen.class.as_str()), "{error:?}");
            assert_eq!(seen.class == Class::Transient, error.is_transient(), "{error:?}");
        }
        let documented = table.lines().filter(|line| line.starts_with("| ")).map(|line| line.matches('`').count() / 2);
        let unwritten = usize::from(!cfg!(feature = "secrets"));
        assert_eq!(documented.sum::<usize>(), errors.len() + unwritten, "and no other");
    }
}
