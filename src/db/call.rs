//! What one call works with.

use diesel::PgConnection;

use crate::values::RevokedReason;

/// The connection of a call, and the reason that its caller gave for what it revokes.
pub(crate) struct Call<'conn> {
    pub(crate) conn: &'conn mut PgConnection,
    pub(crate) reason: Option<RevokedReason>,
}

impl Call<'_> {
    /// The caller's reason, or else the method's own.
    pub(crate) fn reason_or(&self, own: RevokedReason) -> RevokedReason {
        self.reason.unwrap_or(own)
    }

    /// The same call, for who is handed it on.
    pub(crate) fn reborrow(&mut self) -> Call<'_> {
        Call { conn: self.conn, reason: self.reason }
    }
}
