//! One exchange: the presented secret, the successor that is derived from it, and the same successor again.

use chrono::TimeDelta;
use diesel::prelude::*;
use uuid::Uuid;

use crate::db::Call;
use crate::error::{Error, Result};
use crate::protocol::redeem::redeem;
use crate::protocol::repeat::repeat_successor;
use crate::service::outcome::Refresh;
use crate::service::pepper::Peppers;
use crate::service::policy::SessionPolicy;
use crate::values::{
    Binding, InvalidSecret, OnReuse, RefreshToken, Refusal, Rotation, Successor, TokenHash, TokenSecret,
};

/// A presented secret with the successor that it shall have: may be sent more than once.
pub(super) struct Exchange<'a> {
    peppers: &'a Peppers,
    presented: TokenSecret,
    presented_hash: TokenHash,
    successor: Successor,
    successor_secret: TokenSecret,
    binding: Binding,
    grace: TimeDelta,
    on_reuse: OnReuse,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        peppers: &'a Peppers,
        policy: &SessionPolicy,
        presented: &str,
        successor_id: Uuid,
        binding: Binding,
    ) -> Result<Self, InvalidSecret> {
        let presented: TokenSecret = presented.parse()?;
        let presented_hash = peppers.hash(&presented)?;
        let (successor_secret, hash) = peppers.derive(&presented, successor_id);
        let successor = Successor::with_lifetime(successor_id, hash, policy.idle_lifetime);
        let (grace, on_reuse) = (policy.grace, policy.on_reuse);
        Ok(Self { peppers, presented, presented_hash, successor, successor_secret, binding, grace, on_reuse })
    }

    pub(super) fn switching_to(self, org_id: Uuid) -> Self {
        Self { successor: self.successor.active_org_id(org_id), ..self }
    }

    pub(super) fn run(&self, call: &mut Call<'_>) -> Result<Refresh> {
        let Self { presented_hash, successor, binding, on_reuse, .. } = self;
        let mut secret = self.successor_secret.clone();
        let redemption = redeem(call, presented_hash, successor, *binding, *on_reuse, |conn, token| {
            self.within_grace(conn, token, &mut secret)
        })?;
        Ok(Refresh::of(redemption, secret))
    }

    /// The successor that another exchange of this very secret has made, with its secret.
    fn within_grace(&self, conn: &mut PgConnection, token: RefreshToken, secret: &mut TokenSecret) -> Result<Rotation> {
        let made_as = token.rotated_to.filter(|_| !self.grace.is_zero() && self.binding.matches(&token));
        let Some(successor_id) = made_as else { return Ok(Rotation::Refused(Refusal::Reused(token))) };
        let (secrets, hashes): (Vec<_>, Vec<_>) =
            self.peppers.derive_by_each(&self.presented, successor_id).into_iter().unzip();
        let rotation = repeat_successor(conn, token, &hashes, Some(self.grace))?;
        if let Rotation::Repeated(made) = &rotation {
            let place = hashes.iter().position(|hash| *hash == made.token_hash);
            *secret = place.and_then(|place| secrets.into_iter().nth(place)).ok_or(Error::UnreadableRow)?;
        }
        Ok(rotation)
    }
}
