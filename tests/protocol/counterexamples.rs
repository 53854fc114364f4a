//! The model sees what it is for: the reference breaks as it is known to, and so does the protocol without any one of
//! its cures.

use crate::algorithm::{Algorithm, Cure};
use crate::check::{breaks, protocol_breaks};
use crate::database::{Row, Session, Token};
use crate::model::Protocol;
use crate::properties::{
    ANSWER_IS_TRUE, DEAD_STAY_DEAD, LIMIT_IS_EXACT, MARK_IS_TRUE, NO_DEADLOCK, ONE_LIVE_TOKEN, REVOCATION_WINS,
    SINGLE_USE,
};
use crate::tables::{ALICE, BOB, HERE, S0, S1, T0, T1, T2, THERE, session, short_lived};
use crate::verb::{OnReuse, Verb};

fn rotate(presented: Token, client: u8) -> Verb {
    Verb::Rotate { presented, successor: Token(10 + client), org: None }
}

fn switch(presented: Token, client: u8) -> Verb {
    Verb::Rotate { presented, successor: Token(10 + client), org: Some(THERE) }
}

fn log_in(told: bool) -> Verb {
    Verb::LogIn { token: Token(20), session: Session(20), user: ALICE, org: HERE, told }
}

/// Of the tokens in this order.
fn batch(first: Token, second: Token, client: u8, hosted: bool) -> Verb {
    Verb::RotateMany { requests: [(first, Token(30 + client)), (second, Token(40 + client))], hosted }
}

fn log_in_alone(client: u8) -> Verb {
    Verb::LogInAlone { token: Token(10 + client), session: Session(10 + client), user: ALICE, org: HERE }
}

const REVOKE_ALICE: Verb = Verb::RevokeUser { user: ALICE, keep: None };

/// A spent token and a live one.
fn chain() -> Vec<Row> {
    session(S0, ALICE, HERE, &[T0, T1])
}

#[test]
fn flaw_1_a_chain_revocation_of_the_reference_misses_the_unborn_successor() {
    breaks(Algorithm::REFERENCE, REVOCATION_WINS, &chain(), &[rotate(T1, 0), Verb::RevokeChain(T0)]);
}

#[test]
fn flaw_2_a_user_revocation_of_the_reference_misses_the_unborn_successor() {
    breaks(Algorithm::REFERENCE, REVOCATION_WINS, &chain(), &[rotate(T1, 0), REVOKE_ALICE]);
}

#[test]
fn flaw_2_a_login_authenticated_before_survives_the_reference() {
    breaks(Algorithm::REFERENCE, REVOCATION_WINS, &chain(), &[log_in(true), REVOKE_ALICE]);
}

#[test]
fn flaw_4_two_rotations_of_the_reference_in_autocommit_both_succeed() {
    for invariant in [SINGLE_USE, ONE_LIVE_TOKEN] {
        breaks(Algorithm::REFERENCE_IN_AUTOCOMMIT, invariant, &chain(), &[rotate(T1, 0), rotate(T1, 1)]);
    }
}

#[test]
fn flaw_9_clean_up_cuts_the_chain_of_the_reference() {
    let table = short_lived(session(S0, ALICE, HERE, &[T0, T1, T2]), &[T1]);
    breaks(Algorithm::REFERENCE, REVOCATION_WINS, &table, &[Verb::CleanUp, Verb::RevokeChain(T0)]);
}

#[test]
fn flaw_13_clean_up_of_the_reference_deadlocks_with_a_revocation() {
    let table = short_lived(chain(), &[T0, T1]);
    breaks(Algorithm::REFERENCE, NO_DEADLOCK, &table, &[Verb::CleanUp, Verb::RevokeChain(T0)]);
}

#[test]
fn without_the_transaction_of_a_rotation() {
    let algorithm = Algorithm::without(&[Cure::RotationInOneTransaction]);
    breaks(algorithm, SINGLE_USE, &chain(), &[rotate(T1, 0), rotate(T1, 1)]);
}

#[test]
fn without_the_rollback_of_a_refusal() {
    let algorithm = Algorithm::without(&[Cure::RefusalRollsBack]);
    let redeem = Verb::Redeem { presented: T1, successor: Token(12), on_reuse: OnReuse::Session };
    breaks(algorithm, NO_DEADLOCK, &chain(), &[rotate(T1, 0), redeem, REVOKE_ALICE]);
}

#[test]
fn without_a_second_pass() {
    let algorithm = Algorithm::without(&[Cure::RepeatedPasses]);
    breaks(algorithm, REVOCATION_WINS, &chain(), &[rotate(T1, 0), Verb::RevokeSession(S0)]);
}

#[test]
fn with_passes_until_none_is_changed() {
    let algorithm = Algorithm::without(&[Cure::UntilNoneIsSeen]);
    let table = session(S0, ALICE, HERE, &[T0]);
    let guard = Verb::RotateInGuard { presented: T0, successor: Token(10) };
    for rotation in [rotate(T0, 0), guard] {
        breaks(algorithm, REVOCATION_WINS, &table, &[rotation, Verb::RevokeSession(S0), Verb::Revoke(T0)]);
    }
}

#[test]
fn with_a_chain_of_links() {
    let algorithm = Algorithm::without(&[Cure::ChainByGeneration]);
    let table = short_lived(session(S0, ALICE, HERE, &[T0, T1, T2]), &[T1]);
    breaks(algorithm, REVOCATION_WINS, &table, &[Verb::CleanUp, Verb::RevokeChain(T0)]);
    breaks(algorithm, REVOCATION_WINS, &table, &[Verb::CleanUpSpent, Verb::RevokeChain(T0)]);
}

#[test]
fn with_the_start_of_the_chain_read_in_each_pass() {
    let algorithm = Algorithm::without(&[Cure::StartReadOnce]);
    let table = short_lived(chain(), &[T0]);
    breaks(algorithm, REVOCATION_WINS, &table, &[Verb::CleanUp, Verb::RevokeChain(T0)]);
    breaks(algorithm, REVOCATION_WINS, &chain(), &[Verb::CleanUpSpent, Verb::RevokeChain(T0)]);
}

#[test]
fn without_cutoffs_at_login() {
    let algorithm = Algorithm::without(&[Cure::LoginJudged]);
    breaks(algorithm, REVOCATION_WINS, &chain(), &[log_in(true), REVOKE_ALICE]);
}

#[test]
fn without_the_gate_at_login() {
    let algorithm = Algorithm::without(&[Cure::LoginPassesGate]);
    for revocation in [REVOKE_ALICE, Verb::RevokeMember(ALICE, HERE), Verb::RevokeOrg(HERE), Verb::RevokeEverybody] {
        breaks(algorithm, REVOCATION_WINS, &chain(), &[log_in(true), revocation]);
    }
}

#[test]
fn without_the_gate_at_a_switch() {
    let algorithm = Algorithm::without(&[Cure::SwitchPassesGate]);
    for revocation in [Verb::RevokeOrg(THERE), Verb::RevokeMember(ALICE, THERE)] {
        breaks(algorithm, REVOCATION_WINS, &chain(), &[switch(T1, 0), revocation]);
    }
}

#[test]
fn without_cutoffs_at_a_switch() {
    let algorithm = Algorithm::without(&[Cure::SwitchJudged]);
    breaks(algorithm, REVOCATION_WINS, &chain(), &[switch(T1, 0), Verb::RevokeOrg(THERE)]);
}

#[test]
fn with_a_switch_that_waits_for_the_gate() {
    let algorithm = Algorithm::without(&[Cure::SwitchDoesNotWait]);
    breaks(algorithm, NO_DEADLOCK, &chain(), &[switch(T1, 0), Verb::RevokeSession(S0)]);
}

#[test]
fn without_the_gate_in_revocations_a_login_escapes() {
    let algorithm = Algorithm::without(&[Cure::RevocationShutsGate]);
    breaks(algorithm, REVOCATION_WINS, &chain(), &[log_in(true), REVOKE_ALICE]);
}

/// The login is older than what the first pass of one has locked, and younger than what that of the other has.
#[test]
fn without_the_gate_in_revocations_two_of_them_deadlock() {
    let algorithm = Algorithm::without(&[Cure::RevocationShutsGate]);
    let older = log_in(false);
    let younger = Verb::LogIn { token: Token(21), session: Session(21), user: ALICE, org: HERE, told: false };
    breaks(algorithm, NO_DEADLOCK, &[], &[older, younger, REVOKE_ALICE, REVOKE_ALICE]);
}

/// A login passes its gate between the two.
#[test]
fn with_the_gates_shut_before_the_cutoff() {
    let algorithm = Algorithm::without(&[Cure::CutoffBeforeGates]);
    breaks(algorithm, REVOCATION_WINS, &chain(), &[log_in(true), Verb::RevokeEverybody]);
}

#[test]
fn with_a_walk_that_meets_successors_first() {
    let algorithm = Algorithm::without(&[Cure::PredecessorFirst]);
    let table = [session(S0, ALICE, HERE, &[T0]), session(S1, BOB, THERE, &[T1])].concat();
    breaks(algorithm, REVOCATION_WINS, &table, &[rotate(T0, 0), Verb::RevokeOrg(HERE)]);
}

#[test]
fn with_a_walk_that_forgets_what_it_skipped() {
    let algorithm = Algorithm::without(&[Cure::WalkCountsSkipped]);
    breaks(algorithm, REVOCATION_WINS, &chain(), &[rotate(T1, 0), Verb::RevokeEverybody]);
}

#[test]
fn with_a_clean_up_that_waits() {
    let algorithm = Algorithm::without(&[Cure::CleanUpSkipsLocked]);
    let table = short_lived(chain(), &[T0, T1]);
    breaks(algorithm, NO_DEADLOCK, &table, &[Verb::CleanUp, Verb::RevokeSession(S0)]);
    let table = session(S0, ALICE, HERE, &[T0, T1, T2]);
    breaks(algorithm, NO_DEADLOCK, &table, &[Verb::CleanUpSpent, Verb::RevokeSession(S0)]);
}

/// Nobody has answered the reuse, and whoever presented the token is told that somebody had.
#[test]
fn with_a_breach_response_that_takes_a_token_that_is_gone_for_a_marked_one() {
    let algorithm = Algorithm::without(&[Cure::GoneIsNotAnswered]);
    let redeem = Verb::Redeem { presented: T0, successor: Token(12), on_reuse: OnReuse::Session };
    breaks(algorithm, ANSWER_IS_TRUE, &chain(), &[redeem, Verb::CleanUpSpent]);
    breaks(algorithm, ANSWER_IS_TRUE, &short_lived(chain(), &[T0]), &[redeem, Verb::CleanUp]);
}

/// One login is committed late: it is older than what the first pass has locked, and the batch begins with it.
#[test]
fn with_batches_that_wait() {
    let older = log_in(false);
    let younger = Verb::LogIn { token: Token(21), session: Session(21), user: ALICE, org: HERE, told: false };
    let verbs = [older, younger, batch(Token(20), Token(21), 0, false), REVOKE_ALICE];
    breaks(Algorithm::without(&[Cure::BatchSkipsLocked]), NO_DEADLOCK, &[], &verbs);
}

/// The same; but a host's transaction keeps its locks, and waits. Only the server ends this.
#[test]
fn a_batch_of_a_host_beside_a_login_that_is_committed_late() {
    let older = log_in(false);
    let younger = Verb::LogIn { token: Token(21), session: Session(21), user: ALICE, org: HERE, told: false };
    let verbs = [older, younger, batch(Token(20), Token(21), 0, true), REVOKE_ALICE];
    breaks(Algorithm::COMPLETE, NO_DEADLOCK, &[], &verbs);
}

#[test]
fn with_batches_that_wait_in_the_order_of_their_requests() {
    let table = [session(S0, ALICE, HERE, &[T0]), session(S1, BOB, HERE, &[T1])].concat();
    let verbs = |hosted| [batch(T0, T1, 0, hosted), batch(T1, T0, 1, hosted)];
    breaks(Algorithm::without(&[Cure::BatchInOrder]), NO_DEADLOCK, &table, &verbs(true));
    breaks(Algorithm::without(&[Cure::BatchInOrder, Cure::BatchSkipsLocked]), NO_DEADLOCK, &table, &verbs(false));
}

#[test]
fn with_batches_that_wait_for_the_rest_before_they_commit() {
    let table = [session(S0, ALICE, HERE, &[T0]), session(S1, BOB, HERE, &[T1])].concat();
    let algorithm = Algorithm::without(&[Cure::RestAfterCommit, Cure::BatchInOrder]);
    breaks(algorithm, NO_DEADLOCK, &table, &[batch(T0, T1, 0, false), batch(T1, T0, 1, false)]);
}

/// What others answer a late repeat with: two live tokens, of which one is the thief's and nobody will notice.
#[test]
fn with_a_grace_period_that_mints_siblings() {
    let algorithm = Algorithm::without(&[Cure::GraceRepeats]);
    let redeem = |client: u8| Verb::Redeem {
        presented: T1,
        successor: Token(10 + client),
        on_reuse: OnReuse::SessionAfterGrace,
    };
    for invariant in [ONE_LIVE_TOKEN, SINGLE_USE] {
        breaks(algorithm, invariant, &chain(), &[redeem(0), redeem(1)]);
    }
}

#[test]
fn with_a_grace_period_that_outlives_the_successors_first_use() {
    let algorithm = Algorithm::without(&[Cure::GraceEndsWithUse]);
    let late = Verb::Redeem { presented: T0, successor: Token(12), on_reuse: OnReuse::SessionAfterGrace };
    breaks(algorithm, DEAD_STAY_DEAD, &chain(), &[rotate(T1, 0), late]);
}

#[test]
fn with_a_limit_that_counts_before_the_gate() {
    let algorithm = Algorithm::without(&[Cure::LimitPassesGate]);
    breaks(algorithm, LIMIT_IS_EXACT, &chain(), &[log_in_alone(0), log_in_alone(1)]);
}

#[test]
fn with_a_limit_that_misses_the_unborn_successor() {
    let algorithm = Algorithm::without(&[Cure::LimitEndsTheUnborn]);
    breaks(algorithm, LIMIT_IS_EXACT, &chain(), &[rotate(T1, 0), log_in_alone(1)]);
}

#[test]
fn with_a_foreign_key_that_sets_null() {
    let algorithm = Algorithm::without(&[Cure::NoForeignKey]);
    let table = short_lived(chain(), &[T1]);
    breaks(algorithm, DEAD_STAY_DEAD, &table, &[Verb::CleanUp]);
}

#[test]
fn a_mark_of_reuse_would_lie_after_one_pass() {
    let algorithm = Algorithm::without(&[Cure::RepeatedPasses]);
    let redeem = Verb::Redeem { presented: T0, successor: Token(12), on_reuse: OnReuse::Session };
    breaks(algorithm, MARK_IS_TRUE, &chain(), &[rotate(T1, 0), redeem]);
}

/// It logs in elsewhere, where nobody was revoked, and then comes over.
#[test]
fn with_sessions_that_begin_when_they_are_inserted() {
    let algorithm = Algorithm::without(&[Cure::SessionBeginsAtAuthentication]);
    for revocation in [Verb::RevokeOrg(THERE), Verb::RevokeMember(ALICE, THERE)] {
        breaks(algorithm, REVOCATION_WINS, &[], &[log_in(true), switch(Token(20), 0), revocation]);
    }
}

/// It knows no gate: of what the reference rotates, a switch is not covered by the promise for organisations.
#[test]
fn a_switch_by_the_reference_escapes_the_revocation_of_an_organisation() {
    for revocation in [Verb::RevokeOrg(THERE), Verb::RevokeMember(ALICE, THERE)] {
        let mut protocol = Protocol::new(Algorithm::COMPLETE, &chain(), &[switch(T1, 0), revocation]);
        protocol.calls[0].algorithm = Algorithm::REFERENCE;
        protocol_breaks(protocol, REVOCATION_WINS);
    }
}
