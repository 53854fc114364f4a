//! The same request sent again: the answer that it had, while that is live.

use std::slice;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;

use crate::db::{Stop, now, unless_stopped};
use crate::error::Result;
use crate::schema::refresh_tokens;
use crate::values::{Binding, RefreshToken, Refusal, Rotation, Successor, TokenHash};

/// A token that was rotated to this very successor gets it again; any other refusal stays.
pub(crate) fn repeat_or_refuse(
    conn: &mut PgConnection,
    refusal: Refusal,
    successor: &Successor,
    binding: Binding,
) -> Result<Rotation> {
    match refusal {
        Refusal::Reused(token) if token.rotated_to == Some(successor.id) && binding.matches(&token) => {
            repeat_successor(conn, token, slice::from_ref(&successor.token_hash), None)
        }
        refusal => Ok(Rotation::Refused(refusal)),
    }
}

/// The successor that `token` was rotated to, if it has one of these hashes and is live and unused, and `grace` since the
/// rotation is not over.
///
/// It is locked, so that a snapshot from before its end meets a conflict and does not hand it out.
pub(crate) fn repeat_successor(
    conn: &mut PgConnection,
    token: RefreshToken,
    hashes: &[TokenHash],
    grace: Option<TimeDelta>,
) -> Result<Rotation> {
    let outcome = unless_stopped(conn, |conn, _| {
        let refused = |refusal| Err(Stop::Return(Box::new(refusal)));
        let made: Option<RefreshToken> = refresh_tokens::table
            .filter(refresh_tokens::id.nullable().eq(token.rotated_to))
            .filter(refresh_tokens::token_hash.eq_any(hashes))
            .filter(refresh_tokens::session_id.eq(token.session_id))
            .for_share()
            .select(RefreshToken::as_select())
            .first(conn)
            .optional()?;
        let now = now(conn)?;
        match made {
            None => refused(Refusal::Reused(token)),
            // The successor was used, so its secret did arrive: this is no lost answer.
            Some(made) if made.rotated_to.is_some() => refused(Refusal::Reused(token)),
            Some(_) if grace.is_some_and(|grace| is_over(grace, &token, now)) => refused(Refusal::Reused(token)),
            Some(_) if token.revoked_at.is_some() => refused(Refusal::Revoked(token)),
            Some(made) if made.revoked_at.is_some() => refused(Refusal::Revoked(made)),
            Some(made) if made.ends_at() <= now => refused(Refusal::Expired(made)),
            Some(made) => Ok(made),
        }
    })?;
    Ok(outcome.map_or_else(|refusal| Rotation::Refused(*refusal), Rotation::Repeated))
}

fn is_over(grace: TimeDelta, token: &RefreshToken, now: DateTime<Utc>) -> bool {
    let end = token.rotated_at.and_then(|rotated_at| rotated_at.checked_add_signed(grace));
    end.is_none_or(|end| end <= now)
}
