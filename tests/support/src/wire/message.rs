//! PostgreSQL's framing: where a message ends, which of them make up a statement, and one that refuses it.

use std::io::{self, Read};

use super::{AMBIGUOUS, Direction, Verdict};

/// Which messages make up a statement: a simple query, or all from Parse or Bind to Sync.
#[derive(Default)]
pub(super) struct Statements {
    is_inside: bool,
    instead: Option<Vec<u8>>,
}

impl Statements {
    /// Whether a statement begins, and whether one ends, with this message.
    pub(super) fn place(&mut self, message: &[u8]) -> (bool, bool) {
        let kind = message[0];
        let begins = kind == b'Q' || !self.is_inside && matches!(kind, b'P' | b'B');
        let ends = matches!(kind, b'Q' | b'S');
        self.is_inside = (self.is_inside || begins) && !ends;
        (begins, ends)
    }

    /// Keeps back all messages of a statement, and sends another one in the place of the last.
    pub(super) fn swallowing(&mut self, verdict: Verdict, ends: bool) -> Verdict {
        match verdict {
            Verdict::Instead(raise) => self.instead = Some(raise),
            verdict if self.instead.is_none() => return verdict,
            _ => {}
        }
        match self.instead.take_if(|_| ends) {
            Some(raise) => Verdict::Instead(raise),
            None => Verdict::Swallow,
        }
    }
}

/// Type, length and body; the first message of a client has no type.
pub(crate) fn read_message(from: &mut impl Read, has_type: bool) -> io::Result<Vec<u8>> {
    let mut head = vec![0; if has_type { 5 } else { 4 }];
    from.read_exact(&mut head)?;
    let length = head.last_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let start = head.len();
    head.resize(start + length.saturating_sub(4), 0);
    from.read_exact(&mut head[start..])?;
    Ok(head)
}

/// A simple query that raises the error where this statement would have been; none in the place of ROLLBACK.
pub(super) fn instead_of(message: &[u8], code: &str, why: &str) -> Option<Vec<u8>> {
    let raise = format!("DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = '{why}', ERRCODE = '{code}'; END $$");
    let query = match (message[0], &message[5..]) {
        (b'Q', text) if text.starts_with(b"ROLLBACK") => return None,
        (b'Q', text) if text.starts_with(b"COMMIT") && code == AMBIGUOUS => format!("COMMIT; {raise}"),
        (b'Q', text) if text.starts_with(b"COMMIT") => format!("ROLLBACK; {raise}"),
        _ => raise,
    };
    let length = u32::try_from(query.len() + 5).ok()?;
    Some([b"Q".as_slice(), &length.to_be_bytes(), query.as_bytes(), b"\0"].concat())
}

pub(super) fn describe(direction: Direction, number: usize, message: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(&message[5..]).chars().filter(|c| !c.is_control()).take(60).collect();
    format!("{direction:?} {number}: {} {text}", char::from(message[0]))
}
