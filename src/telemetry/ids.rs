//! Whom a call or an outcome is about.

use uuid::Uuid;

use crate::values::{Binding, RefreshToken};

/// What a call or an outcome is about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ids {
    pub(super) token: Option<Uuid>,
    pub(super) session: Option<Uuid>,
    pub(super) user: Option<Uuid>,
    pub(super) org: Option<Uuid>,
}

impl Ids {
    pub(crate) const NONE: Self = Self { token: None, session: None, user: None, org: None };

    pub(crate) const fn token(id: Uuid) -> Self {
        Self { token: Some(id), ..Self::NONE }
    }

    pub(crate) const fn session(id: Uuid) -> Self {
        Self { session: Some(id), ..Self::NONE }
    }

    pub(crate) const fn user(id: Uuid) -> Self {
        Self { user: Some(id), ..Self::NONE }
    }

    pub(crate) const fn org(id: Uuid) -> Self {
        Self { org: Some(id), ..Self::NONE }
    }

    pub(crate) const fn bound(binding: Binding) -> Self {
        Self { user: binding.user_id, org: binding.org_id, ..Self::NONE }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            token: self.token.or(other.token),
            session: self.session.or(other.session),
            user: self.user.or(other.user),
            org: self.org.or(other.org),
        }
    }
}

impl From<&RefreshToken> for Ids {
    fn from(token: &RefreshToken) -> Self {
        Self {
            token: Some(token.id),
            session: Some(token.session_id),
            user: Some(token.user_id),
            org: Some(token.active_org_id),
        }
    }
}
