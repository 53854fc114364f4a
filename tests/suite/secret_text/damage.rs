//! Every small damage, tried exhaustively, and every second spelling that a forger could give a checksum to.

use proptest::prelude::*;
use refresh_tokens::InvalidSecret;

use super::{CHECKED, COUNTING, DIGITS, ZEROS, check, generated, parse, sealed};

/// What is put in the place of a character: all that prints, what does not, and what is none of one byte.
fn others() -> impl Iterator<Item = char> {
    ('\0'..='\u{7f}').chain(['\u{80}', 'é', 'ſ', '\u{212a}', '０', '٠', '\u{200b}', '＿', '🔑'])
}

/// A generated one, and those whose digits are all alike or in order.
fn samples() -> [String; 3] {
    [generated(), ZEROS.to_owned(), COUNTING.to_owned()]
}

#[track_caller]
fn refused(text: &str) {
    assert!(parse(text).is_err(), "{text:?} was accepted");
}

#[test]
fn every_single_replacement_is_refused() {
    for text in samples() {
        for (place, own) in text.char_indices() {
            for other in others().filter(|other| *other != own) {
                refused(&format!("{}{other}{}", &text[..place], &text[place + 1..]));
            }
        }
    }
}

#[test]
fn every_single_insertion_and_deletion_and_every_truncation_is_refused() {
    for text in samples() {
        for place in 0..=text.len() {
            let (before, behind) = text.split_at(place);
            for other in others() {
                refused(&format!("{before}{other}{behind}"));
            }
            if !behind.is_empty() {
                refused(&format!("{before}{}", &behind[1..]));
                refused(before);
                // Cut short, and filled up again.
                for filled in [format!("{before:A<63}"), format!("{before:0<63}"), format!("{before: <63}")] {
                    // A checksum may end as it is filled up.
                    if filled != text {
                        refused(&filled);
                    }
                }
            }
            if !before.is_empty() {
                refused(behind);
            }
        }
        for place in 0..text.len() {
            // A character inserted, and another lost: of the right length again.
            for lost in (0..text.len()).filter(|lost| text[*lost..=*lost] != text[place..=place]) {
                let mut moved: Vec<u8> = text.bytes().collect();
                let byte = moved.remove(place);
                moved.insert(lost, byte);
                let moved = String::from_utf8(moved).unwrap();
                if moved != text {
                    refused(&moved);
                }
            }
        }
    }
}

#[test]
fn every_swap_of_two_characters_is_refused() {
    for text in samples() {
        for one in 0..text.len() {
            for other in one + 1..text.len() {
                let mut swapped = text.clone().into_bytes();
                swapped.swap(one, other);
                let swapped = String::from_utf8(swapped).unwrap();
                if swapped != text {
                    refused(&swapped);
                }
            }
        }
    }
}

/// Whitespace that a form or a header adds is for the host to take away.
#[test]
fn what_surrounds_a_secret_is_not_ignored() {
    for text in samples() {
        for around in [" ", "\n", "\r\n", "\t", "\0", "\"", "'", "=", ";", "\u{feff}"] {
            refused(&format!("{text}{around}"));
            refused(&format!("{around}{text}"));
            refused(&format!("{around}{text}{around}"));
        }
        refused(&text.to_uppercase());
        refused(&text.to_lowercase());
    }
}

/// As documented. Within what is checked, CRC-32 promises it, for as many characters as have 32 bits.
#[test]
fn damage_to_four_characters_in_a_row_is_refused() {
    let damage = (0..60_usize, proptest::collection::vec(proptest::char::range(' ', '~'), 4));
    check(20_000, &damage, |(place, by)| {
        let text = generated();
        let by: String = by.into_iter().collect();
        let damaged = format!("{}{by}{}", &text[..place], &text[place + 4..]);
        prop_assert!(damaged == text || parse(&damaged).is_err(), "{damaged}");
        Ok(())
    });
}

/// Across the separator CRC-32 by itself does not promise it, because the digits of a checksum stand in another order than
/// its bits: damage to the last digits of the secret must change more of the checksum than the row reaches.
#[test]
fn damage_across_the_separator_is_refused() {
    let digit = |place: usize| char::from(DIGITS[place]);
    for text in samples() {
        let own = &text[CHECKED + 1..];
        for (one, two) in (0..64).flat_map(|one| (0..64).map(move |two| (digit(one), digit(two)))) {
            let other = sealed(&format!("{}{one}{two}", &text[..CHECKED - 2]));
            assert!(other == text || other[CHECKED + 2..] != own[1..], "{text} and {other}");
        }
        for one in (0..64).map(digit) {
            let other = sealed(&format!("{}{one}", &text[..CHECKED - 1]));
            assert!(other == text || other[CHECKED + 3..] != own[2..], "{text} and {other}");
        }
    }
}

/// Each has the checksum that belongs to it.
#[test]
fn a_second_spelling_is_refused_whatever_its_checksum() {
    let text = generated();
    let (secret, checksum) = (&text[11..CHECKED], &text[CHECKED + 1..]);
    let because = |why, checked: &str| assert_eq!(parse(&sealed(checked)).unwrap_err(), why, "{checked}");
    let with_key = |key: &str| format!("rtk1_{key}_{secret}");
    assert!(parse(&sealed(&with_key("00042"))).is_ok());
    // Numbers of five characters, or of five bytes.
    for key in
        ["+0042", "-0042", "-0000", " 0042", "0042 ", "0x02a", "0_042", "42   ", "４42", "٠042", "00_42", "4.2e1"]
    {
        because(InvalidSecret::Characters, &with_key(key));
    }
    // Greater than 16 bits.
    for key in ["65536", "65578", "99999", "70000"] {
        because(InvalidSecret::Characters, &with_key(key));
    }
    for key in ["042", "42", "000042", ""] {
        because(InvalidSecret::Length, &with_key(key));
    }
    for separator in ["-", ".", " ", "A", "0", "\0"] {
        because(InvalidSecret::Characters, &format!("rtk1_00042{separator}{secret}"));
        refused(&format!("rtk1_00042_{secret}{separator}{checksum}"));
        let checked = format!("rtk1_00042_{secret}{separator}");
        refused(&format!("{checked}{:08x}", crc32fast::hash(checked.as_bytes())));
    }
    for prefix in ["rtk2_", "RTK1_", "rtk1-", "rtk_1", "rtk0_", "ptk1_", "     "] {
        because(InvalidSecret::Prefix, &format!("{prefix}00042_{secret}"));
    }
}

/// The last digit has two bits that are no part of the 32 bytes.
#[test]
fn unused_bits_that_are_not_zero_are_refused() {
    for text in samples() {
        let last = DIGITS.iter().position(|digit| *digit == text.as_bytes()[CHECKED - 1]).unwrap();
        assert_eq!(last % 4, 0);
        for unused in 1..4 {
            let checked = format!("{}{}", &text[..CHECKED - 1], char::from(DIGITS[last + unused]));
            assert_eq!(parse(&sealed(&checked)).unwrap_err(), InvalidSecret::Characters, "{checked}");
        }
    }
}

/// Also those of other alphabets of base64, in each place.
#[test]
fn a_character_that_is_no_digit_is_refused_whatever_its_checksum() {
    let text = generated();
    for place in 11..CHECKED {
        for other in ('\0'..='\u{7f}').filter(|other| !DIGITS.contains(&u8::try_from(*other).unwrap())) {
            let checked = format!("{}{other}{}", &text[..place], &text[place + 1..CHECKED]);
            assert_eq!(parse(&sealed(&checked)).unwrap_err(), InvalidSecret::Characters, "{checked:?}");
        }
    }
}

#[test]
fn a_checksum_is_spelt_in_lower_case() {
    let mut met = 0;
    for text in samples().into_iter().chain(std::iter::repeat_with(generated).take(50)) {
        let (checked, checksum) = text.split_at(CHECKED + 1);
        for (place, digit) in checksum.char_indices().filter(|(_, digit)| digit.is_ascii_alphabetic()) {
            let upper = digit.to_ascii_uppercase();
            let mixed = format!("{checked}{}{upper}{}", &checksum[..place], &checksum[place + 1..]);
            assert_eq!(parse(&mixed).unwrap_err(), InvalidSecret::Checksum, "{mixed}");
            met += 1;
        }
    }
    assert!(met > 0);
}
