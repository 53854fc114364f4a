//! What the client holds: a secret in a text that can be recognised, and refused where it is damaged.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

/// 256 bits: as many as the hash has, and more than can ever be tried (RFC 9700 §4.14, RFC 6749 §10.10).
pub(crate) const SECRET_BYTES: usize = 32;

pub(crate) type SecretBytes = Zeroizing<[u8; SECRET_BYTES]>;

const PREFIX: &str = "rtk1_";
const KEY_ID_DIGITS: usize = 5;
const SECRET_CHARS: usize = 43;
const CHECKSUM_DIGITS: usize = 8;

const SECRET_AT: usize = PREFIX.len() + KEY_ID_DIGITS + 1;
const CHECKED: usize = SECRET_AT + SECRET_CHARS;
const CHECKSUM_AT: usize = CHECKED + 1;

/// The secret of a refresh token: the text that the client is given, and presents.
///
/// It is zeroed when it is dropped, `Debug` shows its key's id alone, and [`expose`](Self::expose) is the one way to its
/// text. To the database goes its keyed hash: [`Peppers::hash`](crate::Peppers::hash).
///
/// # Format
///
/// 63 characters, of which each may stand in a URL, a header or a cookie:
///
/// | characters | are | value |
/// |---|---|---|
/// | 0 to 4 | type and version | `rtk1_` |
/// | 5 to 9 | key id, 16 bits, in decimal digits with leading zeros | `00000` to `65535` |
/// | 10 | separator | `_` |
/// | 11 to 53 | secret, 32 bytes, base64url without padding (RFC 4648 §5), unused bits zero | |
/// | 54 | separator | `_` |
/// | 55 to 62 | checksum: CRC-32 (ISO-HDLC, that of zip) of the characters 0 to 53, in lower-case hexadecimal digits | |
///
/// The checksum finds every damage to up to four characters in a row, and all but one in four thousand million others:
/// a token that was mistyped or cut short is refused before the database is asked. It proves nothing: anybody can compute
/// it. A secret scanner finds a token by
///
/// ```text
/// \brtk1_[0-9]{5}_[A-Za-z0-9_-]{43}_[0-9a-f]{8}\b
/// ```
///
/// and is sure by the checksum. Test vectors, for key id 42:
///
/// | secret bytes | text |
/// |---|---|
/// | 32 × `00` | `rtk1_00042_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_bb309474` |
/// | `00 01 02 … 1f` | `rtk1_00042_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8_58b1219b` |
///
/// # Example
///
/// ```
/// use refresh_tokens::{InvalidSecret, TokenSecret};
///
/// let text = "rtk1_00042_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8_58b1219b";
/// let secret: TokenSecret = text.parse()?;
/// assert_eq!(secret.expose(), text);
/// assert_eq!(format!("{secret:?}"), "TokenSecret { key_id: 42, .. }");
///
/// let mistyped = text.replace('w', "W");
/// assert_eq!(mistyped.parse::<TokenSecret>().unwrap_err(), InvalidSecret::Checksum);
/// # Ok::<(), InvalidSecret>(())
/// ```
#[derive(Clone)]
pub struct TokenSecret {
    text: Zeroizing<String>,
    bytes: SecretBytes,
    key_id: u16,
}

impl TokenSecret {
    /// The length of every secret's text, in characters and bytes.
    ///
    /// # Example
    ///
    /// ```
    /// assert_eq!(refresh_tokens::TokenSecret::LENGTH, 63);
    /// ```
    pub const LENGTH: usize = CHECKSUM_AT + CHECKSUM_DIGITS;

    pub(crate) fn from_bytes(key_id: u16, bytes: SecretBytes) -> Self {
        let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(&*bytes));
        // As long as it will be: one that grows leaves what it had in the memory that it gives back.
        let mut text = Zeroizing::new(String::with_capacity(Self::LENGTH));
        text.extend([PREFIX, &format!("{key_id:0KEY_ID_DIGITS$}_"), &encoded]);
        let checksum = checksum_of(&text);
        text.push_str(&checksum);
        Self { text, bytes, key_id }
    }

    /// The text for the client: the one way to see it, named so that a review can search for it.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{Pepper, Peppers};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let peppers = Peppers::new(Pepper::new(1, &[7; 32])?);
    /// let secret = peppers.generate()?;
    /// let cookie = format!("refresh_token={}; HttpOnly; Secure; SameSite=Strict; Path=/session", secret.expose());
    /// # let _ = cookie;
    /// # Ok(())
    /// # }
    /// ```
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The id of the pepper that its hash is made with.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::{Pepper, Peppers};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let peppers = Peppers::new(Pepper::new(1, &[7; 32])?);
    /// assert_eq!(peppers.generate()?.key_id(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn key_id(&self) -> u16 {
        self.key_id
    }

    pub(crate) fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.bytes
    }
}

fn checksum_of(checked: &str) -> String {
    format!("_{:0CHECKSUM_DIGITS$x}", crc32fast::hash(checked.as_bytes()))
}

/// Parses a presented text; no text panics, and none is part of the error.
impl FromStr for TokenSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        if text.len() != Self::LENGTH {
            return Err(InvalidSecret::Length);
        }
        let rest = text.strip_prefix(PREFIX).ok_or(InvalidSecret::Prefix)?;
        if !rest.is_ascii() {
            return Err(InvalidSecret::Characters);
        }
        let (checked, checksum) = text.split_at(CHECKED);
        if checksum != checksum_of(checked) {
            return Err(InvalidSecret::Checksum);
        }
        let (key_id, secret) = rest.split_at(KEY_ID_DIGITS);
        let secret = secret.strip_prefix('_').and_then(|secret| secret.get(..SECRET_CHARS));
        let mut bytes = SecretBytes::default();
        let decoded = secret.map(|secret| Base64UrlUnpadded::decode(secret, &mut *bytes));
        match (key_id.parse(), decoded) {
            // A number may also be written with a sign.
            (Ok(key_id), Some(Ok(_))) if !rest.starts_with('+') => {
                Ok(Self { text: Zeroizing::new(text.to_owned()), bytes, key_id })
            }
            _ => Err(InvalidSecret::Characters),
        }
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSecret").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Why a presented text is no secret of this kind; the database was not asked.
///
/// To the client all are `invalid_grant` (RFC 6749 §5.2). Many of them are a broken client, or somebody who guesses.
///
/// # Example
///
/// ```
/// use refresh_tokens::{InvalidSecret, TokenSecret};
///
/// assert_eq!("let me in".parse::<TokenSecret>().unwrap_err(), InvalidSecret::Length);
/// assert_eq!(InvalidSecret::Length.as_str(), "malformed");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// It has not [`TokenSecret::LENGTH`] characters: cut short, or something else.
    #[error("the refresh token has not the length of one: it was cut short, or is something else")]
    Length,
    /// It does not begin with `rtk1_`: something else, or of a later version.
    #[error("the refresh token does not begin as one")]
    Prefix,
    /// It has a character in a place where that cannot stand.
    #[error("the refresh token has a character that it cannot have")]
    Characters,
    /// It was mistyped, or made up.
    #[error("the refresh token does not have its checksum: it was damaged")]
    Checksum,
    /// No pepper has its key id: it was taken out of [`Peppers`](crate::Peppers), is not there yet, or never existed.
    #[error("no pepper has the key id {key_id} of the refresh token: was it taken out while tokens used it?")]
    UnknownKey {
        /// The id in the text.
        key_id: u16,
    },
}

impl InvalidSecret {
    /// A word for logs and metrics: `unknown_key` or `malformed`.
    ///
    /// # Example
    ///
    /// ```
    /// assert_eq!(refresh_tokens::InvalidSecret::UnknownKey { key_id: 7 }.as_str(), "unknown_key");
    /// ```
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::UnknownKey { .. } => "unknown_key",
            _ => "malformed",
        }
    }
}
