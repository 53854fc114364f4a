//! Clean-up beside whatever ends the session that it takes links of.

use super::{ALICE_EXCEPT_T1, REVOKE_ALICE, redeem, rotate};
use crate::check::Checked;
use crate::database::{Row, Token};
use crate::properties::{CLEANS_UP, EXPIRES, GONE_UNMARKED, ROTATES, THEFT_ANSWERED, THREE_PASSES, WALKS_AGAIN};
use crate::tables::{ALICE, HERE, S0, S1, T0, T1, T2, session, short_lived};
use crate::verb::{OnReuse, Verb};

/// A link in the middle is gone first, or the session ends as a whole.
#[test]
fn clean_up_beside_revocations_of_a_longer_chain() {
    let mut checked = Checked::many();
    for expire in [&[T1][..], &[T0, T1], &[T0, T1, T2]] {
        let table = short_lived(session(S0, ALICE, HERE, &[T0, T1, T2]), expire);
        for revocation in [
            Verb::RevokeChain(T0),
            Verb::RevokeChain(T1),
            Verb::RevokeSession(S0),
            ALICE_EXCEPT_T1,
            Verb::RevokeOrg(HERE),
            redeem(1, T1, OnReuse::Session),
            redeem(1, T0, OnReuse::Chain),
        ] {
            checked.check(&table, &[rotate(0, T2), revocation, Verb::CleanUp]);
            checked.check(&table, &[rotate(0, T2), revocation, Verb::CleanUp, Verb::CleanUp]);
        }
    }
    checked.report(&[ROTATES, CLEANS_UP, THREE_PASSES, EXPIRES]);
}

/// Of what is spent, all may go at any moment, and what somebody has locked is left for the next.
#[test]
fn clean_up_of_spent_tokens_beside_revocations_of_a_longer_chain() {
    let mut checked = Checked::many();
    let over = session(S1, ALICE, HERE, &[Token(3)]).into_iter().map(|row| Row { revoked: true, ..row });
    let table: Vec<Row> = session(S0, ALICE, HERE, &[T0, T1, T2]).into_iter().chain(over).collect();
    for revocation in [
        Verb::RevokeChain(T0),
        Verb::RevokeChain(T1),
        Verb::RevokeSession(S0),
        Verb::Revoke(T2),
        ALICE_EXCEPT_T1,
        REVOKE_ALICE,
        Verb::RevokeOrg(HERE),
        Verb::RevokeEverybody,
        redeem(1, T0, OnReuse::Session),
        redeem(1, T1, OnReuse::SessionAfterGrace),
        redeem(1, T0, OnReuse::Chain),
        redeem(1, T0, OnReuse::User),
    ] {
        checked.check(&table, &[rotate(0, T2), revocation, Verb::CleanUpSpent]);
        checked.check(&table, &[rotate(0, T2), revocation, Verb::CleanUpSpent, Verb::CleanUpSpent]);
        let expiring = short_lived(table.clone(), &[T1]);
        checked.check(&expiring, &[rotate(0, T2), revocation, Verb::CleanUp, Verb::CleanUpSpent]);
        checked.check(&table, &[redeem(0, T0, OnReuse::Session), revocation, Verb::CleanUpSpent]);
    }
    checked.report(&[ROTATES, CLEANS_UP, THREE_PASSES, WALKS_AGAIN, THEFT_ANSWERED, GONE_UNMARKED]);
}
