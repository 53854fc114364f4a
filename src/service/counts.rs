//! How often the service gave each answer.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Each outcome with its word.
macro_rules! outcomes {
    ($(#[$attribute:meta])* pub enum RefreshOutcome { $($(#[$doc:meta])* $outcome:ident = $word:literal,)* }) => {
        $(#[$attribute])*
        pub enum RefreshOutcome {
            $($(#[$doc])* $outcome,)*
        }

        impl RefreshOutcome {
            /// Every outcome, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$outcome),*];

            /// The word for logs and metrics.
            ///
            /// # Example
            ///
            /// ```
            /// assert_eq!(refresh_tokens::RefreshOutcome::UnknownKey.as_str(), "unknown_key");
            /// ```
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$outcome => $word,)*
                }
            }
        }
    };
}

outcomes! {
    /// What came of a refresh, without the tokens: the key of [`RefreshCounts`].
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::RefreshOutcome;
    ///
    /// assert_eq!(RefreshOutcome::NotFound.to_string(), "not_found");
    /// assert!(RefreshOutcome::ALL.contains(&RefreshOutcome::Rotated));
    /// ```
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum RefreshOutcome {
        /// The token was exchanged.
        Rotated = "rotated",
        /// The answer that was lost was given again.
        Repeated = "repeated",
        /// [`ReuseKind::SuccessorUnused`](crate::ReuseKind::SuccessorUnused).
        ReusedSuccessorUnused = "reused_successor_unused",
        /// [`ReuseKind::SuccessorUsed`](crate::ReuseKind::SuccessorUsed).
        ReusedSuccessorUsed = "reused_successor_used",
        /// [`ReuseKind::SessionEnded`](crate::ReuseKind::SessionEnded).
        ReusedSessionEnded = "reused_session_ended",
        /// [`Refusal::NotFound`](crate::Refusal::NotFound).
        NotFound = "not_found",
        /// [`Refusal::BindingMismatch`](crate::Refusal::BindingMismatch).
        BindingMismatch = "binding_mismatch",
        /// [`Refusal::Revoked`](crate::Refusal::Revoked).
        Revoked = "revoked",
        /// [`Refusal::OrgRevoked`](crate::Refusal::OrgRevoked).
        OrgRevoked = "org_revoked",
        /// [`Refusal::Expired`](crate::Refusal::Expired).
        Expired = "expired",
        /// The text is not that of a secret.
        Malformed = "malformed",
        /// No pepper has the key id of the secret.
        UnknownKey = "unknown_key",
    }
}

impl fmt::Display for RefreshOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How often each outcome was answered, by a service and its clones, since it was made.
///
/// Many `repeated` are slow networks; `reused_successor_unused` beside them, a grace period that is too short;
/// `malformed`, a client that is broken. `reused_successor_used` is where to look for an attacker.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let database = database();
/// # let service = service(&database);
/// use refresh_tokens::{Binding, RefreshOutcome};
///
/// let _ = service.refresh("let me in", Binding::ANY)?;
/// assert_eq!(service.counts().of(RefreshOutcome::Malformed), 1);
/// for (outcome, count) in service.counts().iter() {
///     println!("refresh_total{{outcome=\"{outcome}\"}} {count}");
/// }
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshCounts([u64; RefreshOutcome::ALL.len()]);

impl RefreshCounts {
    /// How often this outcome was answered.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// assert_eq!(service(&database).counts().of(refresh_tokens::RefreshOutcome::Rotated), 0);
    /// ```
    pub fn of(&self, outcome: RefreshOutcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Each outcome with its count.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let database = database();
    /// assert_eq!(service(&database).counts().iter().map(|(_, count)| count).sum::<u64>(), 0);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (RefreshOutcome, u64)> {
        RefreshOutcome::ALL.iter().copied().zip(self.0)
    }
}

/// What is counted, at the place of each outcome's declaration.
#[derive(Default)]
pub(super) struct Counters([AtomicU64; RefreshOutcome::ALL.len()]);

impl Counters {
    pub(super) fn count(&self, outcome: RefreshOutcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> RefreshCounts {
        RefreshCounts(std::array::from_fn(|place| self.0[place].load(Ordering::Relaxed)))
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_place_and_a_word_of_its_own() {
        let counters = Counters::default();
        for (place, outcome) in RefreshOutcome::ALL.iter().enumerate() {
            (0..=place).for_each(|_| counters.count(*outcome));
        }
        let counts = counters.read();
        assert!(counts.iter().eq(RefreshOutcome::ALL.iter().copied().zip(1..)), "{counts:?}");
        let words: std::collections::HashSet<_> = RefreshOutcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(words.len(), RefreshOutcome::ALL.len());
    }
}
