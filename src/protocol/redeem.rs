//! The whole exchange in one call: rotate, and answer reuse.

use diesel::prelude::*;

use crate::db::{Call, clock_timestamp, read_committed_step};
use crate::error::Result;
use crate::protocol::revoke::{OfUser, chain_passes, end_session_passes, session_passes, user_passes};
use crate::protocol::rotate::rotate;
use crate::protocol::{gate, reuse};
use crate::schema::refresh_tokens;
use crate::values::{
    Binding, BreachResponse, Durability, OnReuse, Redemption, RefreshToken, Refusal, ReuseKind, RevokedReason,
    Rotation, Successor, TokenHash,
};

/// Rotates, and where the token was rotated before asks `repeat` whether this is a lost answer; if not, it responds.
pub(crate) fn redeem(
    call: &mut Call<'_>,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
    on_reuse: OnReuse,
    repeat: impl FnOnce(&mut PgConnection, RefreshToken) -> Result<Rotation>,
) -> Result<Redemption> {
    let (rotation, scope) = rotate(call.conn, presented, successor, binding)?;
    let rotation = match rotation {
        Rotation::Refused(Refusal::Reused(token)) => repeat(call.conn, token)?,
        rotation => rotation,
    };
    answer_reuse(rotation, scope.into(), |token| respond(call, token, on_reuse))
}

/// What becomes of a rotation: where it was refused as reuse, the response is given.
pub(crate) fn answer_reuse(
    rotation: Rotation,
    durability: Durability,
    respond: impl FnOnce(&RefreshToken) -> Result<(ReuseKind, BreachResponse)>,
) -> Result<Redemption> {
    Ok(match rotation {
        Rotation::Rotated(token) => Redemption::Rotated { token, durability },
        Rotation::Repeated(token) => Redemption::Repeated { token, durability },
        Rotation::Refused(Refusal::Reused(token)) => {
            let (kind, response) = respond(&token)?;
            Redemption::Reused { token, kind, response, durability }
        }
        Rotation::Refused(refusal) => Redemption::Refused(refusal),
    })
}

/// What the reuse of `token` looks like, and what is done about it.
pub(crate) fn respond(
    call: &mut Call<'_>,
    token: &RefreshToken,
    on_reuse: OnReuse,
) -> Result<(ReuseKind, BreachResponse)> {
    // Before the response, which ends the session.
    let kind = reuse::classify(call.conn, token)?;
    Ok((kind, breach_response(call, token, on_reuse)?))
}

fn breach_response(call: &mut Call<'_>, token: &RefreshToken, on_reuse: OnReuse) -> Result<BreachResponse> {
    if on_reuse == OnReuse::ReportOnly {
        return Ok(BreachResponse::ReportedOnly);
    }
    if token.reused_at.is_some() {
        return Ok(BreachResponse::AlreadyHandled);
    }
    let reason = call.reason_or(RevokedReason::ReuseDetected);
    // Made again by itself after a conflict: presented anew, the token may be gone.
    read_committed_step(call.conn, |conn, _| {
        gate::hold(conn, token.user_id)?;
        if !mark_reused(conn, token)? {
            return Ok(BreachResponse::AlreadyHandled);
        }
        let report = match on_reuse {
            OnReuse::RevokeChain => chain_passes(conn, token.id, token.session_id, token.generation, reason),
            OnReuse::RevokeUser => user_passes(conn, token.user_id, OfUser::All, reason),
            OnReuse::EndSession => end_session_passes(conn, Some(token.session_id), None, reason),
            OnReuse::RevokeSession | OnReuse::ReportOnly => session_passes(conn, token.session_id, reason),
        }?;
        Ok(BreachResponse::Revoked(report))
    })
}

/// False where another presentation was first, so that replays of a dead token cost no walk over its session.
fn mark_reused(conn: &mut PgConnection, token: &RefreshToken) -> Result<bool> {
    let marked = diesel::update(refresh_tokens::table.find(token.id))
        .filter(refresh_tokens::reused_at.is_null())
        .set(refresh_tokens::reused_at.eq(clock_timestamp().nullable()))
        .execute(conn)?;
    // Clean-up may have deleted it meanwhile: then nobody was first.
    Ok(marked > 0 || !diesel::select(diesel::dsl::exists(refresh_tokens::table.find(token.id))).get_result(conn)?)
}
