//! The text of a secret: one spelling, no damage unnoticed, and nothing of it in what anybody could log.

mod damage;
mod printed;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use refresh_tokens::{InvalidPepper, InvalidSecret, Pepper, Peppers, TokenSecret};

/// Of the documentation, under key id 42: 32 bytes 0, and 0 to 31.
const ZEROS: &str = "rtk1_00042_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_bb309474";
const COUNTING: &str = "rtk1_00042_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8_58b1219b";

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Where the checksum's separator stands, behind all that it is the checksum of.
const CHECKED: usize = 54;

fn peppers(id: u16) -> Peppers {
    Peppers::new(Pepper::new(id, &[0x0b; 32]).unwrap())
}

fn generated() -> String {
    peppers(42).generate().unwrap().expose().to_owned()
}

fn parse(text: &str) -> Result<TokenSecret, InvalidSecret> {
    text.parse()
}

/// With the checksum that it would have.
fn sealed(checked: &str) -> String {
    format!("{checked}_{:08x}", crc32fast::hash(checked.as_bytes()))
}

/// The 32 bytes in a text, decoded by hand: the last of the 43 digits has four bits of them.
fn bytes_of(text: &str) -> Vec<u8> {
    let values = text.bytes().skip(11).take(43).map(|digit| DIGITS.iter().position(|known| *known == digit).unwrap());
    let bits: Vec<bool> = values.flat_map(|value| (0..6).rev().map(move |bit| value >> bit & 1 == 1)).collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
}

fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner.run(strategy, test).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_documented_texts_are_those_of_their_bytes() {
    let counting: Vec<u8> = (0..32).collect();
    for (text, bytes) in [(ZEROS, vec![0; 32]), (COUNTING, counting)] {
        let secret = parse(text).unwrap();
        assert_eq!((secret.expose(), secret.key_id()), (text, 42));
        assert_eq!(bytes_of(text), bytes);
        assert_eq!(sealed(&text[..CHECKED]), text);
        assert_eq!(text.len(), TokenSecret::LENGTH);
    }
}

/// Whoever writes another implementation goes by these; they were made with Python's `hmac`.
#[test]
fn the_hash_is_as_documented() {
    for (key, text, hash) in [
        (vec![0x0b; 32], COUNTING, "00042kcec6961de1ec5c9d8d5fccc0cbe7f7a478e1bf67b1994fda1143937bef44a05c"),
        (vec![0x0b; 32], ZEROS, "00042k0a7b157b4461c3626de6e16e619ee88032cde98ef460a49d6d207b2967be454c"),
        // Longer than a block of SHA-256: HMAC hashes the key first.
        (vec![0xaa; 131], COUNTING, "00042k7a3e7e35e0bbef8fc333b46222eb2b760d35aa8973c8e716410fc5ba0eedb0c6"),
    ] {
        let peppers = Peppers::new(Pepper::new(42, &key).unwrap());
        assert_eq!(peppers.hash(&parse(text).unwrap()).unwrap().expose(), hash);
    }
}

#[test]
fn the_hash_is_that_of_the_pepper_which_the_secret_names() {
    let [one, two] = [1, 2].map(|id| Pepper::new(id, &[id.to_le_bytes()[0]; 32]).unwrap());
    let old = Peppers::new(one.clone());
    let both = Peppers::new(two.clone()).accepting(one).unwrap();
    let secret = old.generate().unwrap();
    assert_eq!(both.hash(&secret).unwrap(), old.hash(&secret).unwrap());
    assert!(both.hash(&secret).unwrap().expose().starts_with("00001k"));
    assert_eq!(Peppers::new(two).hash(&secret).unwrap_err(), InvalidSecret::UnknownKey { key_id: 1 });
}

/// Of any key id, also the least and the greatest.
#[test]
fn a_parsed_secret_is_the_one_that_was_exposed() {
    let ids = prop_oneof![any::<u16>(), Just(0), Just(u16::MAX)];
    check(2_000, &(ids, any::<[u8; 32]>()), |(id, key)| {
        let peppers = Peppers::new(Pepper::new(id, &key).unwrap());
        let secret = peppers.generate().unwrap();
        let parsed = parse(secret.expose()).unwrap();
        prop_assert_eq!(parsed.expose(), secret.expose());
        prop_assert_eq!((parsed.key_id(), secret.key_id()), (id, id));
        let hash = peppers.hash(&secret).unwrap();
        prop_assert_eq!(hash.expose().split_at(6).0, format!("{id:05}k"));
        prop_assert_eq!(hash.expose().len(), 70);
        prop_assert_eq!(peppers.hash(&parsed).unwrap(), hash);
        prop_assert_eq!(sealed(&secret.expose()[..CHECKED]), secret.expose());
        Ok(())
    });
}

/// Bytes of every value in every place, and not those of a generator alone.
#[test]
fn any_bytes_have_one_text_that_parses() {
    check(2_000, &(any::<u16>(), any::<[u8; 32]>()), |(id, bytes)| {
        let bits: Vec<bool> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
        let digit =
            |bits: &[bool]| bits.iter().fold(0, |value, bit| value << 1 | usize::from(*bit)) << (6 - bits.len());
        let digits: String = bits.chunks(6).map(|bits| char::from(DIGITS[digit(bits)])).collect();
        let text = sealed(&format!("rtk1_{id:05}_{digits}"));
        let parsed = parse(&text).unwrap();
        prop_assert_eq!((parsed.expose(), parsed.key_id()), (text.as_str(), id));
        prop_assert_eq!(bytes_of(&text), bytes);
        Ok(())
    });
}

/// What may be done to a text, in numbers that are taken modulo what there is.
#[derive(Debug, Clone)]
enum Edit {
    Replace(Index, char),
    Insert(Index, char),
    Delete(Index),
    Cut(Index),
    Twice,
    /// The checksum is made to fit.
    Seal,
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = any::<Index>;
    // Of one, two, three and four bytes in UTF-8, and what a text is made of.
    let any_char = || prop_oneof![any::<char>(), proptest::char::range(' ', '~'), Just('ß'), Just('０'), Just('🔑')];
    prop_oneof![
        4 => (place(), any_char()).prop_map(|(place, char)| Edit::Replace(place, char)),
        2 => (place(), any_char()).prop_map(|(place, char)| Edit::Insert(place, char)),
        2 => place().prop_map(Edit::Delete),
        1 => place().prop_map(Edit::Cut),
        1 => Just(Edit::Twice),
        2 => Just(Edit::Seal),
    ]
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for edit in edits {
        match edit {
            Edit::Insert(place, char) => chars.insert(place.index(chars.len() + 1), *char),
            Edit::Cut(place) => chars.truncate(place.index(chars.len() + 1)),
            Edit::Twice => chars.extend_from_within(..),
            Edit::Seal => {
                let checked: String = chars.iter().take(CHECKED).collect();
                chars = sealed(&checked).chars().collect();
            }
            Edit::Replace(..) | Edit::Delete(_) if chars.is_empty() => {}
            Edit::Replace(place, char) => *place.get_mut(&mut chars) = *char,
            Edit::Delete(place) => drop(chars.remove(place.index(chars.len()))),
        }
    }
    chars.into_iter().collect()
}

/// And a text that is refused is no part of what is said about it.
fn is_refused_or_stays_itself(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Ok(secret) => {
            prop_assert_eq!(secret.expose(), text);
            prop_assert_eq!(format!("{:05}", secret.key_id()), &text[5..10]);
            prop_assert!(peppers(secret.key_id()).hash(&secret).is_ok());
        }
        Err(why) => prop_assert_eq!(why.as_str(), "malformed"),
    }
    Ok(())
}

#[test]
fn no_text_panics_and_none_has_a_second_spelling() {
    check(10_000, &any::<String>(), |text| is_refused_or_stays_itself(&text));
    let bytes = proptest::collection::vec(any::<u8>(), 63..64);
    check(10_000, &bytes, |bytes| is_refused_or_stays_itself(&String::from_utf8_lossy(&bytes)));
}

#[test]
fn no_text_near_a_secret_panics_and_none_has_a_second_spelling() {
    let edits = proptest::collection::vec(edit(), 1..6);
    check(20_000, &edits, |edits| is_refused_or_stays_itself(&edited(&generated(), &edits)));
}

#[test]
fn a_pepper_is_refused_if_it_is_short_or_its_id_is_taken() {
    for length in [0, 1, 31] {
        let refused = Pepper::new(1, &vec![7; length]).unwrap_err();
        assert_eq!(refused, InvalidPepper::TooShort { length, min: 32 });
    }
    for length in [32, 33, 64, 65, 1_000] {
        assert_eq!(Pepper::new(1, &vec![7; length]).unwrap().id(), 1);
    }
    let pepper = |id, byte| Pepper::new(id, &[byte; 32]).unwrap();
    let two = Peppers::new(pepper(2, 2)).accepting(pepper(1, 1)).unwrap();
    for (id, byte) in [(2, 2), (2, 3), (1, 1), (1, 3)] {
        let refused = two.clone().accepting(pepper(id, byte)).unwrap_err();
        assert_eq!(refused, InvalidPepper::DuplicateId { id });
    }
    assert!(two.accepting(pepper(3, 1)).is_ok(), "the same key under another id is the host's affair");
}
