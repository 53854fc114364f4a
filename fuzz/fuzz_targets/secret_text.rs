//! Any text is refused or is the one spelling of what it says, and nothing panics.
//!
//! The input is taken twice: as the text itself, and as the description of a text that is nearly right, because by
//! itself no input has the checksum of its characters.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use base64ct::{Base64UrlUnpadded, Encoding};
use libfuzzer_sys::fuzz_target;
use refresh_tokens::{InvalidSecret, Pepper, Peppers, TokenSecret};

/// What stands before the checksum.
const CHECKED: usize = 54;

#[derive(Debug, Arbitrary)]
struct Draw {
    key_id: u16,
    bytes: [u8; 32],
    edits: Vec<Edit>,
}

/// In numbers that are taken modulo what there is.
#[derive(Debug, Arbitrary)]
enum Edit {
    Replace(u8, char),
    Insert(u8, char),
    Delete(u8),
    /// With the one behind it.
    Swap(u8),
    Cut(u8),
    /// As a key id could be written otherwise.
    KeyId([char; 5]),
    /// The checksum is made to fit.
    Seal,
}

fuzz_target!(|data: &[u8]| {
    stays_itself(&String::from_utf8_lossy(data));
    if let Ok(draw) = Draw::arbitrary_take_rest(Unstructured::new(data)) {
        near(&draw);
    }
});

fn near(draw: &Draw) {
    let digits = Base64UrlUnpadded::encode_string(&draw.bytes);
    let text = sealed(&format!("rtk1_{:05}_{digits}", draw.key_id));
    let secret: TokenSecret = text.parse().expect("it is as documented");
    assert_eq!((secret.expose(), secret.key_id()), (text.as_str(), draw.key_id));
    let damaged = draw.edits.iter().fold(text.clone(), edited);
    stays_itself(&damaged);
    let unsealed = !matches!(draw.edits.as_slice(), [.., Edit::Seal]);
    if draw.edits.len() == 1 && unsealed && damaged != text && !is_key_id(&draw.edits[0]) {
        assert!(damaged.parse::<TokenSecret>().is_err(), "{damaged:?} was {text:?}");
    }
}

/// Five characters are more than the checksum promises to notice.
fn is_key_id(edit: &Edit) -> bool {
    matches!(edit, Edit::KeyId(_))
}

fn edited(text: String, edit: &Edit) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    if chars.is_empty() {
        return text;
    }
    let place = |number: &u8| usize::from(*number) % chars.len();
    match edit {
        Edit::Replace(at, char) => {
            let at = place(at);
            chars[at] = *char;
        }
        Edit::Insert(at, char) => chars.insert(place(at), *char),
        Edit::Delete(at) => drop(chars.remove(place(at))),
        Edit::Swap(at) => {
            let at = place(at);
            chars.swap(at, (at + 1) % text.chars().count());
        }
        Edit::Cut(at) => chars.truncate(place(at)),
        Edit::KeyId(key_id) => {
            if let Some(digits) = chars.get_mut(5..10) {
                digits.copy_from_slice(key_id);
            }
        }
        Edit::Seal => return sealed(&chars.into_iter().take(CHECKED).collect::<String>()),
    }
    chars.into_iter().collect()
}

fn sealed(checked: &str) -> String {
    format!("{checked}_{:08x}", crc32fast::hash(checked.as_bytes()))
}

fn stays_itself(text: &str) {
    let secret = match text.parse::<TokenSecret>() {
        Ok(secret) => secret,
        Err(why) => {
            assert_eq!(why.as_str(), "malformed");
            return;
        }
    };
    assert_eq!(secret.expose(), text);
    // Written again from what it says, it is the same.
    let mut bytes = [0; 32];
    Base64UrlUnpadded::decode(&text[11..CHECKED], &mut bytes).expect("it was decoded before");
    let digits = Base64UrlUnpadded::encode_string(&bytes);
    assert_eq!(sealed(&format!("rtk1_{:05}_{digits}", secret.key_id())), text);
    let hash_under = |key_id| Peppers::new(Pepper::new(key_id, &[7; 32]).expect("it is long enough")).hash(&secret);
    let hash = hash_under(secret.key_id()).expect("the pepper has its key id");
    assert!(hash.expose().len() == 70 && hash.expose().starts_with(&format!("{}k", &text[5..10])));
    let other = hash_under(secret.key_id().wrapping_add(1));
    assert_eq!(other, Err(InvalidSecret::UnknownKey { key_id: secret.key_id() }));
    let printed = format!("{secret:?} {hash:?}");
    assert!(!printed.contains(&text[11..CHECKED]) && !printed.contains(&hash.expose()[6..]));
}
