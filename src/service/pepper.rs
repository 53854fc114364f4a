//! The keys outside the database: what is stored is hashed with them, and successors are derived with them.

use std::fmt;

use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::values::{InvalidSecret, SecretBytes, TokenHash, TokenSecret};

/// Between them no input is the other's: each is followed by parts of fixed length.
const HASH: &[u8] = b"refresh-tokens/1/hash\0";
const SUCCESSOR: &[u8] = b"refresh-tokens/1/successor\0";

/// A key outside the database, with an id.
///
/// 32 bytes or more from a generator, kept where the host keeps its other keys: who has it together with a dump of the
/// table can tell which secrets are in it, but still not find one. Its `Debug` shows the id alone, and it is zeroed when
/// it is dropped.
///
/// # Example
///
/// ```
/// use refresh_tokens::{InvalidPepper, Pepper};
///
/// # let from_the_key_store = [7; 32];
/// let pepper = Pepper::new(1, &from_the_key_store)?;
/// assert_eq!(format!("{pepper:?}"), "Pepper { id: 1, .. }");
/// assert_eq!(Pepper::new(1, b"hunter2").unwrap_err(), InvalidPepper::TooShort { length: 7, min: 32 });
/// # Ok::<(), InvalidPepper>(())
/// ```
#[derive(Clone)]
pub struct Pepper {
    id: u16,
    /// Keyed once; each use begins with a copy.
    mac: Hmac<Sha256>,
}

impl Pepper {
    /// The fewest bytes that are accepted.
    ///
    /// # Example
    ///
    /// ```
    /// assert_eq!(refresh_tokens::Pepper::MIN_LENGTH, 32);
    /// ```
    pub const MIN_LENGTH: usize = 32;

    /// A pepper of these bytes, with an id that no other one ever had.
    ///
    /// # Errors
    ///
    /// [`InvalidPepper::TooShort`] below [`Self::MIN_LENGTH`] bytes.
    ///
    /// # Example
    ///
    /// ```
    /// # let key = [7; 32];
    /// let pepper = refresh_tokens::Pepper::new(1, &key)?;
    /// assert_eq!(pepper.id(), 1);
    /// # Ok::<(), refresh_tokens::InvalidPepper>(())
    /// ```
    pub fn new(id: u16, key: &[u8]) -> Result<Self, InvalidPepper> {
        let too_short = InvalidPepper::TooShort { length: key.len(), min: Self::MIN_LENGTH };
        if key.len() < Self::MIN_LENGTH {
            return Err(too_short);
        }
        // HMAC takes a key of any length.
        let mac = Hmac::new_from_slice(key).map_err(|_| too_short)?;
        Ok(Self { id, mac })
    }

    /// Its id, which is part of each secret and hash made with it.
    ///
    /// # Example
    ///
    /// ```
    /// assert_eq!(refresh_tokens::Pepper::new(3, &[7; 32])?.id(), 3);
    /// # Ok::<(), refresh_tokens::InvalidPepper>(())
    /// ```
    pub fn id(&self) -> u16 {
        self.id
    }

    fn mac(&self, parts: &[&[u8]]) -> SecretBytes {
        let mut mac = self.mac.clone();
        for part in parts {
            mac.update(part);
        }
        let mut bytes = SecretBytes::default();
        // Into its place, so that there is no other copy to be zeroed.
        mac.finalize_into((&mut *bytes).into());
        bytes
    }

    fn hash(&self, secret: &TokenSecret) -> TokenHash {
        let mut text = hash_prefix(self.id);
        for byte in *self.mac(&[HASH, secret.bytes()]) {
            text.extend([byte >> 4, byte & 0xf].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        }
        TokenHash::of_digits(text)
    }

    fn successor(&self, presented: &TokenSecret, successor_id: Uuid) -> (TokenSecret, TokenHash) {
        let bytes = self.mac(&[SUCCESSOR, presented.bytes(), successor_id.as_bytes()]);
        let secret = TokenSecret::from_bytes(self.id, bytes);
        let hash = self.hash(&secret);
        (secret, hash)
    }
}

/// The letter ends the number in every collation, so that hashes of a key id are neighbours in the index.
pub(crate) fn hash_prefix(key_id: u16) -> String {
    format!("{key_id:05}k")
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pepper").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a pepper was refused.
///
/// # Example
///
/// ```
/// use refresh_tokens::{InvalidPepper, Pepper};
///
/// assert_eq!(
///     Pepper::new(1, &[0; 16]).unwrap_err().to_string(),
///     "the pepper has 16 bytes, fewer than 32: take them from a random generator",
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPepper {
    /// It is too short to be a key.
    #[error("the pepper has {length} bytes, fewer than {min}: take them from a random generator")]
    TooShort {
        /// Its length in bytes.
        length: usize,
        /// The least in bytes.
        min: usize,
    },
    /// Another pepper has this id.
    #[error("two peppers have the id {id}: give each new one an id that was never used")]
    DuplicateId {
        /// The id.
        id: u16,
    },
}

/// The peppers of a host: the newest, by which tokens are made, and those by which tokens are still found.
///
/// # How to change a pepper
///
/// 1. On every node, let the new one be [accepted](Self::accepting), beside the old one.
/// 2. On every node, make it the newest, and accept the old one. From now on each refresh moves its session to the new
///    pepper.
/// 3. When [`SessionService::pepper_usage`](crate::SessionService::pepper_usage) shows no live token of the old one, at the
///    latest after the idle lifetime, take it out. Spent tokens of it are then refused as
///    [`InvalidSecret::UnknownKey`] and no longer noticed as reuse; to notice them, wait until clean-up has deleted
///    them, too.
///
/// If it was stolen, together with the table, skip the waiting: take it out at once, and everybody logs in again.
///
/// # Example
///
/// ```
/// use refresh_tokens::{Pepper, Peppers};
///
/// # let (new, old) = ([2; 32], [1; 32]);
/// let peppers = Peppers::new(Pepper::new(2, &new)?).accepting(Pepper::new(1, &old)?)?;
/// assert_eq!(format!("{peppers:?}"), "Peppers { newest: 2, accepted: [1] }");
/// # Ok::<(), refresh_tokens::InvalidPepper>(())
/// ```
#[derive(Clone)]
pub struct Peppers {
    newest: Pepper,
    accepted: Vec<Pepper>,
}

impl Peppers {
    /// The pepper that new tokens are made with.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{Pepper, Peppers};
    ///
    /// # let key = [7; 32];
    /// let peppers = Peppers::new(Pepper::new(1, &key)?);
    /// # let _ = peppers;
    /// # Ok::<(), refresh_tokens::InvalidPepper>(())
    /// ```
    pub fn new(newest: Pepper) -> Self {
        Self { newest, accepted: Vec::new() }
    }

    /// Another pepper, older or yet to come, by which tokens are found.
    ///
    /// # Errors
    ///
    /// [`InvalidPepper::DuplicateId`] if one of its id is there.
    ///
    /// # Example
    ///
    /// ```
    /// use refresh_tokens::{InvalidPepper, Pepper, Peppers};
    ///
    /// # let (new, old) = ([2; 32], [1; 32]);
    /// let same_id = Peppers::new(Pepper::new(2, &new)?).accepting(Pepper::new(2, &old)?);
    /// assert_eq!(same_id.unwrap_err(), InvalidPepper::DuplicateId { id: 2 });
    /// # Ok::<(), InvalidPepper>(())
    /// ```
    pub fn accepting(mut self, other: Pepper) -> Result<Self, InvalidPepper> {
        if self.find(other.id).is_some() {
            return Err(InvalidPepper::DuplicateId { id: other.id });
        }
        self.accepted.push(other);
        Ok(self)
    }

    /// A fresh secret: 256 bits of the operating system's generator, under the newest pepper.
    ///
    /// # Errors
    ///
    /// [`Error::RandomnessUnavailable`] if the operating system has none to give.
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::{Pepper, Peppers};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let peppers = Peppers::new(Pepper::new(1, &[7; 32])?);
    /// assert_ne!(peppers.generate()?.expose(), peppers.generate()?.expose());
    /// # Ok(())
    /// # }
    /// ```
    pub fn generate(&self) -> Result<TokenSecret> {
        let mut bytes = SecretBytes::default();
        getrandom::fill(&mut *bytes).map_err(|_| Error::RandomnessUnavailable)?;
        Ok(TokenSecret::from_bytes(self.newest.id, bytes))
    }

    /// The hash that the table has for a secret: HMAC-SHA-256 (RFC 2104) under the pepper that the secret names.
    ///
    /// Byte by byte: the key id in 5 decimal digits, `k`, and in 64 lower-case hexadecimal digits
    /// HMAC(pepper, `refresh-tokens/1/hash` · NUL · the 32 bytes of the secret). Test vector: pepper 42 of 32 bytes
    /// `0b`, secret `00 01 02 … 1f`: the example.
    ///
    /// # Errors
    ///
    /// [`InvalidSecret::UnknownKey`].
    ///
    /// # Example
    ///
    /// ```
    /// # use refresh_tokens::{Pepper, Peppers, TokenSecret};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let peppers = Peppers::new(Pepper::new(42, &[0x0b; 32])?);
    /// let secret: TokenSecret = "rtk1_00042_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8_58b1219b".parse()?;
    /// assert_eq!(peppers.hash(&secret)?.expose(), "00042kcec6961de1ec5c9d8d5fccc0cbe7f7a478e1bf67b1994fda1143937bef44a05c");
    /// # Ok(())
    /// # }
    /// ```
    pub fn hash(&self, secret: &TokenSecret) -> Result<TokenHash, InvalidSecret> {
        let key_id = secret.key_id();
        self.find(key_id).map(|pepper| pepper.hash(secret)).ok_or(InvalidSecret::UnknownKey { key_id })
    }

    /// The secret of a successor, and its hash: HMAC-SHA-256 under the newest pepper of the presented secret and the
    /// successor's id.
    pub(crate) fn derive(&self, presented: &TokenSecret, successor_id: Uuid) -> (TokenSecret, TokenHash) {
        self.newest.successor(presented, successor_id)
    }

    /// [`derive`](Self::derive) by each pepper: the newest may have been another when the successor was made.
    pub(crate) fn derive_by_each(&self, presented: &TokenSecret, successor_id: Uuid) -> Vec<(TokenSecret, TokenHash)> {
        self.all().map(|pepper| pepper.successor(presented, successor_id)).collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Pepper> {
        std::iter::once(&self.newest).chain(&self.accepted)
    }

    fn find(&self, id: u16) -> Option<&Pepper> {
        self.all().find(|pepper| pepper.id == id)
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accepted: Vec<u16> = self.accepted.iter().map(|pepper| pepper.id).collect();
        f.debug_struct("Peppers").field("newest", &self.newest.id).field("accepted", &accepted).finish()
    }
}
