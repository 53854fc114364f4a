//! Whom a presented token must belong to.

use uuid::Uuid;

use crate::error::{InvalidInput, not_nil};
use crate::values::token::RefreshToken;

/// Whom a presented token must belong to.
///
/// A second line of defence: where the request already names a user or an organisation (a path, an access
/// token that has just expired), a token of somebody else is refused even though its secret is right.
///
/// # Example
///
/// ```
/// use refresh_tokens::Binding;
/// use uuid::Uuid;
///
/// let (user_id, org_id) = (Uuid::new_v4(), Uuid::new_v4());
/// let whoever_holds_it = Binding::ANY;
/// let this_user = Binding::user(user_id);
/// let this_user_in_this_org = Binding::user(user_id).org(org_id);
/// # let _ = (whoever_holds_it, this_user, this_user_in_this_org);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "its methods return the changed value"]
pub struct Binding {
    pub(crate) user_id: Option<Uuid>,
    pub(crate) org_id: Option<Uuid>,
}

impl Binding {
    /// No condition: whoever holds the secret may use it.
    ///
    /// # Example
    ///
    /// ```
    /// assert_eq!(refresh_tokens::Binding::ANY, refresh_tokens::Binding::default());
    /// ```
    pub const ANY: Self = Self { user_id: None, org_id: None };

    /// The token must belong to this user.
    ///
    /// # Example
    ///
    /// ```
    /// let binding = refresh_tokens::Binding::user(uuid::Uuid::new_v4());
    /// assert_ne!(binding, refresh_tokens::Binding::ANY);
    /// ```
    pub const fn user(user_id: Uuid) -> Self {
        Self { user_id: Some(user_id), org_id: None }
    }

    /// The token must, besides, act for this organisation now.
    ///
    /// # Example
    ///
    /// ```
    /// let binding = refresh_tokens::Binding::ANY.org(uuid::Uuid::new_v4());
    /// assert_ne!(binding, refresh_tokens::Binding::ANY);
    /// ```
    pub const fn org(mut self, org_id: Uuid) -> Self {
        self.org_id = Some(org_id);
        self
    }

    pub(crate) fn matches(&self, token: &RefreshToken) -> bool {
        self.user_id.is_none_or(|id| id == token.user_id) && self.org_id.is_none_or(|id| id == token.active_org_id)
    }

    pub(crate) fn check(&self) -> Result<(), InvalidInput> {
        if let Some(id) = self.user_id {
            not_nil("binding.user_id", id)?;
        }
        match self.org_id {
            Some(id) => not_nil("binding.org_id", id),
            None => Ok(()),
        }
    }
}
