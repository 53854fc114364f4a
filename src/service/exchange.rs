//! One exchange: the presented secret, the successor that is derived from it, and the same successor again.

use chrono::TimeDelta;
use diesel::prelude::*;
use uuid::Uuid;

use crate::binding::Binding;
use crate::error::{Error, Result};
use crate::models::RefreshToken;
use crate::outcome::{Refusal, Rotation};
use crate::pepper::Peppers;
use crate::redemption::{OnReuse, answer_reuse, respond};
use crate::repository::RefreshTokenRepository;
use crate::rotation;
use crate::secret::{InvalidSecret, TokenSecret};
use crate::service::outcome::Refresh;
use crate::service::policy::SessionPolicy;
use crate::successor::Successor;
use crate::token_hash::TokenHash;

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

    pub(super) fn run(&self, tokens: &mut RefreshTokenRepository<'_>) -> Result<Refresh> {
        let reason = tokens.reason();
        let conn = tokens.connection();
        let (rotation, scope) = rotation::rotate(conn, &self.presented_hash, &self.successor, self.binding)?;
        let (rotation, secret) = match rotation {
            Rotation::Refused(Refusal::Reused(token)) => self.within_grace(conn, token)?,
            rotation => (rotation, self.successor_secret.clone()),
        };
        let respond = |token: &RefreshToken| respond(conn, token, self.on_reuse, reason);
        Ok(Refresh::of(answer_reuse(rotation, scope.into(), respond)?, secret))
    }

    /// The successor that another exchange of this very secret has made, with its secret.
    fn within_grace(&self, conn: &mut PgConnection, token: RefreshToken) -> Result<(Rotation, TokenSecret)> {
        let made_as = token.rotated_to.filter(|_| !self.grace.is_zero() && self.binding.matches(&token));
        let Some(successor_id) = made_as else {
            return Ok((Rotation::Refused(Refusal::Reused(token)), self.successor_secret.clone()));
        };
        let (secrets, hashes): (Vec<_>, Vec<_>) =
            self.peppers.derive_by_each(&self.presented, successor_id).into_iter().unzip();
        let rotation = rotation::answer_again(conn, token, &hashes, Some(self.grace))?;
        let place = match &rotation {
            Rotation::Repeated(made) => hashes.iter().position(|hash| *hash == made.token_hash),
            _ => Some(0),
        };
        let secret = place.and_then(|place| secrets.into_iter().nth(place)).ok_or(Error::UnreadableRow)?;
        Ok((rotation, secret))
    }
}
