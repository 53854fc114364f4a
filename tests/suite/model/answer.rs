//! What a step answers, in the terms of the model.

use super::step::Name;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// `None`, or a step that answers nothing.
    Nothing,
    Token(Name),
    Rotated(Name),
    Refused(Why),
    Listed(Vec<Name>),
    Did(bool),
    Count(usize),
    Failed(Failure),
}

/// `Refusal`, with the token that it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    NotFound,
    Reused(Name),
    BindingMismatch(Name),
    Revoked(Name),
    Expired(Name),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    DuplicateId,
    DuplicateHash,
    /// An expiry that is past; the argument's name.
    NotInFuture(&'static str),
    /// A number of days out of range.
    Days,
}

impl Answer {
    /// The answer without names and numbers, for counting.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "None",
            Self::Token(_) => "Some",
            Self::Rotated(_) => "Rotated",
            Self::Refused(Why::NotFound) => "NotFound",
            Self::Refused(Why::Reused(_)) => "Reused",
            Self::Refused(Why::BindingMismatch(_)) => "BindingMismatch",
            Self::Refused(Why::Revoked(_)) => "Revoked",
            Self::Refused(Why::Expired(_)) => "Expired",
            Self::Listed(names) if names.len() > 1 => "several",
            Self::Listed(names) if names.is_empty() => "none",
            Self::Listed(_) => "one",
            Self::Did(true) => "true",
            Self::Did(false) => "false",
            Self::Count(0) => "0",
            Self::Count(1) => "1",
            Self::Count(_) => "more",
            Self::Failed(Failure::DuplicateId) => "DuplicateId",
            Self::Failed(Failure::DuplicateHash) => "DuplicateHash",
            Self::Failed(Failure::NotInFuture(_)) => "ExpiryNotInFuture",
            Self::Failed(Failure::Days) => "DaysOutOfRange",
        }
    }
}
