//! Why a token was revoked.

use std::fmt;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;

/// Why a token was revoked: the values of the column `revoked_reason`.
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// use refresh_tokens::{RefreshTokenRepository, RevokedReason};
///
/// let mut tokens = RefreshTokenRepository::new(&mut conn);
/// let token = tokens.create(&new_token())?;
/// tokens.revoke(token.id)?;
/// let token = tokens.get_by_hash(&token.token_hash)?.expect("it exists");
/// assert_eq!(token.revoked_reason, Some(RevokedReason::TokenRevoked));
/// # Ok::<(), refresh_tokens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
#[non_exhaustive]
pub enum RevokedReason {
    /// `token_revoked`: by id or hash, as at logout (RFC 7009).
    TokenRevoked,
    /// `chain_revoked`: the breach response to reuse (RFC 9700 §4.14.2).
    ChainRevoked,
    /// `user_revoked`: all tokens of the user, as after a password change.
    UserRevoked,
    /// `others_revoked`: all tokens of the user but those of one session.
    OthersRevoked,
    /// A value that this version does not know.
    Unrecognized,
}

impl RevokedReason {
    /// The value in the column.
    ///
    /// # Example
    ///
    /// ```
    /// assert_eq!(refresh_tokens::RevokedReason::UserRevoked.as_str(), "user_revoked");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenRevoked => "token_revoked",
            Self::ChainRevoked => "chain_revoked",
            Self::UserRevoked => "user_revoked",
            Self::OthersRevoked => "others_revoked",
            Self::Unrecognized => "unrecognized",
        }
    }
}

impl fmt::Display for RevokedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ToSql<Text, Pg> for RevokedReason {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<Text, Pg>::to_sql(self.as_str(), out)
    }
}

impl FromSql<Text, Pg> for RevokedReason {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Pg>>::from_sql(bytes)?;
        let known = [Self::TokenRevoked, Self::ChainRevoked, Self::UserRevoked, Self::OthersRevoked];
        Ok(known.into_iter().find(|reason| reason.as_str() == text).unwrap_or(Self::Unrecognized))
    }
}
