//! The hash of a token's secret: validated on the way in, never printed on the way out.

use std::fmt;
use std::str::FromStr;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;

use crate::error::InvalidInput;

/// The hash of a refresh token's secret, as it is stored.
///
/// The secret itself never reaches this crate: hash it first, with a function that suits secrets of high
/// entropy (SHA-256, or better HMAC-SHA-256 under a key kept outside the database), and encode the digest as
/// text. `Debug` is redacted and there is no `Display`, so that neither your logs nor Diesel's query log
/// shows a hash. See RFC 9700 §4.14 on protecting refresh tokens.
///
/// Two hashes are compared as ordinary text. That leaks nothing that helps an attacker: what they choose is
/// the secret, and they cannot steer its hash.
///
/// # Example
///
/// ```
/// use refresh_tokens::TokenHash;
///
/// let hash = TokenHash::new("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")?;
/// assert_eq!(format!("{hash:?}"), "TokenHash(<redacted>)");
/// assert_eq!(hash.expose().len(), 64);
/// # Ok::<(), refresh_tokens::InvalidInput>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct TokenHash(String);

impl TokenHash {
    /// The longest hash that is accepted, in bytes: four times a hex-encoded SHA-512.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::TokenHash;
    ///
    /// assert!(TokenHash::new("f".repeat(TokenHash::MAX_LEN)).is_ok());
    /// assert!(TokenHash::new("f".repeat(TokenHash::MAX_LEN + 1)).is_err());
    /// ```
    pub const MAX_LEN: usize = 512;

    /// Accepts the text of a hash.
    ///
    /// Any text will do, so that a table which other software filled can be read; hex and base64 are usual.
    ///
    /// # Errors
    ///
    /// [`InvalidInput::EmptyTokenHash`], [`InvalidInput::TokenHashTooLong`] above [`Self::MAX_LEN`] bytes, and
    /// [`InvalidInput::TokenHashContainsNul`], which PostgreSQL's `text` cannot hold.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{InvalidInput, TokenHash};
    ///
    /// assert!(TokenHash::new("5e884898da28047151d0e56f8dc62927").is_ok());
    /// assert_eq!(TokenHash::new(""), Err(InvalidInput::EmptyTokenHash));
    /// ```
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidInput> {
        let text = text.into();
        if text.is_empty() {
            return Err(InvalidInput::EmptyTokenHash);
        }
        if text.len() > Self::MAX_LEN {
            return Err(InvalidInput::TokenHashTooLong { length: text.len(), max: Self::MAX_LEN });
        }
        if text.contains('\0') {
            return Err(InvalidInput::TokenHashContainsNul);
        }
        Ok(Self(text))
    }

    /// Of digits of the crate's own making.
    #[cfg(feature = "secrets")]
    pub(crate) fn of_digits(text: String) -> Self {
        Self(text)
    }

    /// The text of the hash: the one way to see it, named so that a review can search for it.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::TokenHash;
    ///
    /// assert_eq!(TokenHash::new("5e884898")?.expose(), "5e884898");
    /// # Ok::<(), refresh_tokens::InvalidInput>(())
    /// ```
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenHash {
    type Err = InvalidInput;

    fn from_str(text: &str) -> Result<Self, InvalidInput> {
        Self::new(text)
    }
}

impl TryFrom<String> for TokenHash {
    type Error = InvalidInput;

    fn try_from(text: String) -> Result<Self, InvalidInput> {
        Self::new(text)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(<redacted>)")
    }
}

impl ToSql<Text, Pg> for TokenHash {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<Text, Pg>::to_sql(&self.0, out)
    }
}

/// Reads any text: a row that other software wrote is not ours to refuse.
impl FromSql<Text, Pg> for TokenHash {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        <String as FromSql<Text, Pg>>::from_sql(bytes).map(Self)
    }
}
