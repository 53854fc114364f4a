//! Why a token was revoked.

use std::fmt;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;

/// One list for the enum, its text, and the way back.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a token was revoked: the values of the column `revoked_reason`.
        ///
        /// Each verb has a reason of its own; [`with_reason`](crate::RefreshTokenRepository::with_reason) gives another.
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
        /// tokens.with_reason(RevokedReason::PasswordChanged).revoke_all_for_user(token.user_id)?;
        /// let token = tokens.get_by_hash(&token.token_hash)?.expect("it exists");
        /// assert_eq!(token.revoked_reason, Some(RevokedReason::PasswordChanged));
        /// # Ok::<(), refresh_tokens::Error>(())
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
        #[diesel(sql_type = Text)]
        #[non_exhaustive]
        pub enum RevokedReason {
            $($(#[$doc])* $variant,)*
        }

        impl RevokedReason {
            const ALL: &[Self] = &[$(Self::$variant),*];

            /// The value in the column.
            ///
            /// # Example
            ///
            /// ```
            /// assert_eq!(refresh_tokens::RevokedReason::UserRevoked.as_str(), "user_revoked");
            /// ```
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// `token_revoked`: by id or hash.
    TokenRevoked = "token_revoked",
    /// `chain_revoked`: a token and all that descends from it.
    ChainRevoked = "chain_revoked",
    /// `session_revoked`: all tokens of the session.
    SessionRevoked = "session_revoked",
    /// `reuse_detected`: the breach response of [`redeem`](crate::RefreshTokenRepository::redeem) (RFC 9700 §4.14.2).
    ReuseDetected = "reuse_detected",
    /// `user_revoked`: all tokens of the user.
    UserRevoked = "user_revoked",
    /// `others_revoked`: all tokens of the user but those of one session.
    OthersRevoked = "others_revoked",
    /// `member_revoked`: all tokens of the user in one organisation.
    MemberRevoked = "member_revoked",
    /// `org_revoked`: all tokens of the organisation.
    OrgRevoked = "org_revoked",
    /// `everyone_revoked`: all tokens there were.
    EveryoneRevoked = "everyone_revoked",
    /// `session_limit`: the user began one session more than [`SessionLimit`](crate::SessionLimit) allows.
    SessionLimit = "session_limit",
    /// `logged_out`: the user asked for it (RFC 7009). Never a verb's own.
    LoggedOut = "logged_out",
    /// `password_changed`: the credentials are others now. Never a verb's own.
    PasswordChanged = "password_changed",
    /// `account_compromised`: somebody else had access. Never a verb's own.
    AccountCompromised = "account_compromised",
    /// `account_disabled`: suspended or deleted. Never a verb's own.
    AccountDisabled = "account_disabled",
    /// `administrator`: an operator ended it by hand. Never a verb's own.
    Administrator = "administrator",
    /// A value that this version does not know; written as `unrecognized`.
    Unrecognized = "unrecognized",
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
        Ok(Self::ALL.iter().copied().find(|reason| reason.as_str() == text).unwrap_or(Self::Unrecognized))
    }
}
