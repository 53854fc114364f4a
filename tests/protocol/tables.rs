//! Small tables to begin with.

use crate::database::{Org, Row, Session, Token, User};

pub(crate) const T0: Token = Token(0);
pub(crate) const T1: Token = Token(1);
pub(crate) const T2: Token = Token(2);
pub(crate) const S0: Session = Session(0);
pub(crate) const S1: Session = Session(1);
pub(crate) const ALICE: User = User(0);
pub(crate) const BOB: User = User(1);
pub(crate) const HERE: Org = Org(0);
pub(crate) const THERE: Org = Org(1);

/// A session of some tokens, each rotated to the next; the last one is live.
pub(crate) fn session(session: Session, user: User, org: Org, tokens: &[Token]) -> Vec<Row> {
    let row = |(generation, token): (u8, &Token)| Row {
        token: *token,
        user,
        org,
        session,
        generation,
        session_started_at: 0,
        authenticated_at: None,
        predecessor: tokens.get(usize::from(generation).wrapping_sub(1)).copied(),
        short_lived: false,
        rotated_to: tokens.get(usize::from(generation) + 1).copied(),
        revoked: false,
        reused: false,
    };
    (0..).zip(tokens).map(row).collect()
}

/// These tokens expire when time passes.
pub(crate) fn short_lived(mut table: Vec<Row>, tokens: &[Token]) -> Vec<Row> {
    for row in table.iter_mut().filter(|row| tokens.contains(&row.token)) {
        row.short_lived = true;
    }
    table
}
