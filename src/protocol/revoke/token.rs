//! Revocation of one token: of the row, not of what descends from it.

use diesel::prelude::*;
use uuid::Uuid;

use crate::db::{Scope, atomically, clock_timestamp, require_read_committed};
use crate::error::Result;
use crate::protocol::revoke::Which;
use crate::schema::refresh_tokens;
use crate::telemetry::locking;
use crate::values::{RevokedReason, TokenHash, TokenRevocation};

pub(crate) fn by_id(conn: &mut PgConnection, token_id: Uuid, reason: RevokedReason) -> Result<TokenRevocation> {
    revoke(conn, || Box::new(refresh_tokens::id.eq(token_id)), reason)
}

pub(crate) fn by_hash(conn: &mut PgConnection, hash: &TokenHash, reason: RevokedReason) -> Result<TokenRevocation> {
    revoke(conn, || Box::new(refresh_tokens::token_hash.eq(hash)), reason)
}

fn revoke<'a>(
    conn: &mut PgConnection,
    which: impl Fn() -> Which<'a>,
    reason: RevokedReason,
) -> Result<TokenRevocation> {
    atomically(conn, |conn, scope| {
        let revoked = diesel::update(refresh_tokens::table.filter(which()))
            .filter(refresh_tokens::revoked_at.is_null())
            .set((
                refresh_tokens::revoked_at.eq(clock_timestamp().nullable()),
                refresh_tokens::revoked_reason.eq(reason),
            ))
            .returning((refresh_tokens::rotated_to, refresh_tokens::session_id));
        let revoked: Option<(Option<Uuid>, Uuid)> = locking("rows", || revoked.get_result(conn).optional())?;
        Ok(match revoked {
            Some((None, session_id)) => TokenRevocation::SessionEnded { session_id },
            Some((Some(_), session_id)) => TokenRevocation::SessionContinues { session_id },
            None => {
                let seen = refresh_tokens::table.filter(which()).select(refresh_tokens::id);
                if scope == Scope::Host && seen.first::<Uuid>(conn).optional()?.is_none() {
                    // It may have been committed since the host's snapshot.
                    require_read_committed(conn)?;
                }
                TokenRevocation::Unchanged
            }
        })
    })
}
