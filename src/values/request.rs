//! What a rotation asks for.

use crate::error::Result;
use crate::values::binding::Binding;
use crate::values::successor::Successor;
use crate::values::token_hash::TokenHash;

/// A request of [`rotate_many`](crate::RefreshTokenRepository::rotate_many): what
/// [`rotate`](crate::RefreshTokenRepository::rotate) takes.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let (presented, user_id) = (fresh_hash(), uuid::Uuid::new_v4());
/// use refresh_tokens::{Binding, RotationRequest};
///
/// let request = RotationRequest::new(presented, successor()).binding(Binding::user(user_id));
/// # let _ = request;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "its methods return the changed value"]
pub struct RotationRequest {
    pub(crate) presented: TokenHash,
    pub(crate) successor: Successor,
    pub(crate) binding: Binding,
}

impl RotationRequest {
    /// Rotation of a presented token, whosever it is ([`Binding::ANY`]).
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// let request = refresh_tokens::RotationRequest::new(fresh_hash(), successor());
    /// # let _ = request;
    /// ```
    pub fn new(presented: TokenHash, successor: Successor) -> Self {
        Self { presented, successor, binding: Binding::ANY }
    }

    /// Whom the presented token must belong to.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens_support::doc::*;
    /// # let user_id = uuid::Uuid::new_v4();
    /// use refresh_tokens::{Binding, RotationRequest};
    ///
    /// let bound = RotationRequest::new(fresh_hash(), successor()).binding(Binding::user(user_id));
    /// # let _ = bound;
    /// ```
    pub fn binding(mut self, binding: Binding) -> Self {
        self.binding = binding;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.successor.check()?;
        Ok(self.binding.check()?)
    }
}
