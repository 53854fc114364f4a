//! The checker can fail: small histories made by hand, each of which breaks one rule, and one that breaks none.

use chrono::{DateTime, TimeDelta};
use refresh_tokens::{BreachResponse, OnReuse, RevocationReport, RevokedReason, TokenRevocation};
use uuid::Uuid;

use super::check::{Rule, check};
use super::history::{Answer, Authenticated, By, Call, Frame, History, Login, Op, Request, Row, Stamp, Target, Why};

const USER: Uuid = Uuid::from_u128(1);
const ORG: Uuid = Uuid::from_u128(2);
const OTHER_ORG: Uuid = Uuid::from_u128(3);
const SESSION: Uuid = Uuid::from_u128(4);
const A: Uuid = Uuid::from_u128(10);
const B: Uuid = Uuid::from_u128(11);
const C: Uuid = Uuid::from_u128(12);

/// A token of the session, of this generation.
fn row(id: Uuid, generation: i32) -> Row {
    Row {
        id,
        user: USER,
        org: ORG,
        session: SESSION,
        generation,
        rotated_to: None,
        rotated_at: None,
        is_revoked: false,
        reason: None,
        is_reused: false,
        created_at: DateTime::UNIX_EPOCH,
        session_started_at: DateTime::UNIX_EPOCH,
        expires_at: DateTime::<chrono::Utc>::MAX_UTC,
    }
}

fn spent(id: Uuid, generation: i32, successor: Uuid) -> Row {
    Row { rotated_to: Some(successor), ..row(id, generation) }
}

fn revoked(mut row: Row) -> Row {
    row.is_revoked = true;
    row
}

/// From a stamp to the next but one, so that calls at 10, 20, 30 follow each other.
fn call(start: Stamp, op: Op, answer: Answer) -> Call {
    Call { thread: 0, start, end: start + 2, op, answer }
}

fn login(authenticated: Option<Stamp>) -> Op {
    let authenticated = authenticated.map(|at| Authenticated { start: at, end: at + 1, at: DateTime::UNIX_EPOCH });
    Op::Create(Login { token: A, user: USER, org: ORG, authenticated, is_short: false })
}

fn created(start: Stamp) -> Call {
    call(start, login(None), Answer::Born(row(A, 0)))
}

fn rotation(by: By, presented: Uuid, successor: Uuid) -> Op {
    let request = Request { presented, successor, org: None, binding: None };
    Op::Rotate { by, request, frame: Frame::Own }
}

fn rotated(start: Stamp, presented: Uuid, successor: Row) -> Call {
    call(start, rotation(By::Rotate, presented, successor.id), Answer::Born(successor))
}

fn revocation(start: Stamp, target: Target, tokens: usize) -> Call {
    let mut receipt = RevocationReport::default();
    (receipt.tokens, receipt.live, receipt.sessions) = (tokens, tokens.min(1), tokens.min(1));
    call(start, Op::Revoke { target, frame: Frame::Own }, Answer::Ended(receipt))
}

/// The rules that a history breaks, each once.
fn objections<const N: usize>(calls: [Call; N], table: &[Row]) -> Vec<Rule> {
    objections_with(0, calls, table, &[])
}

fn objections_after<const N: usize>(kills: usize, calls: [Call; N], table: &[Row]) -> Vec<Rule> {
    objections_with(kills, calls, table, &[])
}

fn objections_with<const N: usize>(kills: usize, calls: [Call; N], table: &[Row], archive: &[Row]) -> Vec<Rule> {
    let history = History {
        calls: calls.into(),
        table: table.to_vec(),
        archive: archive.to_vec(),
        read_at: DateTime::UNIX_EPOCH,
        kills,
    };
    let mut rules: Vec<Rule> = check(&history).into_iter().map(|broken| broken.rule).collect();
    rules.sort();
    rules.dedup();
    rules
}

#[test]
fn nothing_is_wrong_with_an_honest_history() {
    let calls = [
        created(10),
        rotated(20, A, row(B, 1)),
        rotated(30, A, row(B, 1)),
        call(40, rotation(By::Rotate, A, C), Answer::Reused(spent(A, 0, B), None)),
        call(50, Op::GetActive { user: USER }, Answer::Found(vec![row(B, 1)])),
        revocation(60, Target::Session(SESSION), 2),
        call(70, Op::GetValid(B), Answer::Found(vec![])),
        call(80, rotation(By::Rotate, B, C), Answer::Refused(Why::Revoked, Some(revoked(row(B, 1))))),
    ];
    assert_eq!(objections(calls, &[revoked(spent(A, 0, B)), revoked(row(B, 1))]), []);
}

#[test]
fn two_live_tokens_of_a_session() {
    let listed = call(40, Op::ListSessions { user: USER }, Answer::Sessions(vec![SESSION, SESSION]));
    assert_eq!(objections([created(10), listed], &[row(A, 0)]), [Rule::OneLiveToken]);
    let active = call(30, Op::GetActive { user: USER }, Answer::Found(vec![row(A, 0), row(B, 1)]));
    assert!(objections([created(10), active], &[row(A, 0)]).contains(&Rule::OneLiveToken));
    assert!(objections([created(10)], &[row(A, 0), row(B, 1)]).contains(&Rule::OneLiveToken));
}

#[test]
fn two_successors_of_a_token() {
    let calls = [created(10), rotated(20, A, row(B, 1)), rotated(21, A, row(C, 1))];
    let table = [spent(A, 0, B), row(B, 1), revoked(row(C, 1))];
    assert!(objections(calls, &table).contains(&Rule::SingleUse));
}

#[test]
fn a_successor_that_a_revocation_missed() {
    // It was being born when the revocation was called, and is live at the end; or used; or listed.
    let revocation = || revocation(21, Target::User(USER), 1);
    let born = || Call { end: 25, ..rotated(20, A, row(B, 1)) };
    let missed = [revoked(spent(A, 0, B)), row(B, 1)];
    assert!(objections([created(10), born(), revocation()], &missed).contains(&Rule::RevocationWins));
    let used = rotated(30, B, row(C, 2));
    let table = [revoked(spent(A, 0, B)), spent(B, 1, C), row(C, 2)];
    assert!(objections([created(10), born(), revocation(), used], &table).contains(&Rule::RevocationWins));
    let listed = call(30, Op::ListSessions { user: USER }, Answer::Sessions(vec![SESSION]));
    let table = [revoked(spent(A, 0, B)), revoked(row(B, 1))];
    assert!(objections([created(10), born(), revocation(), listed], &table).contains(&Rule::RevocationWins));
}

#[test]
fn a_login_that_was_authenticated_before_a_revocation() {
    for target in [Target::User(USER), Target::Member { user: USER, org: ORG }, Target::Org(ORG), Target::Everyone] {
        let late = call(30, login(Some(5)), Answer::Born(row(A, 0)));
        assert_eq!(objections([revocation(10, target, 0), late], &[row(A, 0)]), [Rule::RevocationWins]);
        let refused = call(30, login(Some(20)), Answer::Refused(Why::RevokedSinceLogin, None));
        assert_eq!(objections([revocation(10, target, 0), refused], &[]), [Rule::HasReason]);
    }
}

#[test]
fn a_switch_to_an_organisation_that_was_revoked() {
    let request = Request { presented: A, successor: B, org: Some(OTHER_ORG), binding: None };
    let op = Op::Rotate { by: By::Rotate, request, frame: Frame::Own };
    let successor = Row { org: OTHER_ORG, ..row(B, 1) };
    let switched = call(30, op.clone(), Answer::Born(successor.clone()));
    let calls = [created(10), revocation(20, Target::Org(OTHER_ORG), 0), switched];
    assert_eq!(objections(calls, &[spent(A, 0, B), successor]), [Rule::RevocationWins]);
    let refused = call(30, op, Answer::Refused(Why::OrgRevoked, Some(row(A, 0))));
    assert_eq!(objections([created(10), refused], &[row(A, 0)]), [Rule::HasReason]);
}

#[test]
fn a_refusal_or_a_rollback_that_leaves_something_behind() {
    let request = Request { presented: A, successor: B, org: None, binding: None };
    let op = Op::Rotate { by: By::Guard, request, frame: Frame::RolledBack };
    let undone = call(20, op, Answer::Born(row(B, 1)));
    let calls = [created(10), undone];
    assert_eq!(objections(calls, &[spent(A, 0, B), row(B, 1)]), [Rule::NothingDone]);
    assert_eq!(objections([created(10)], &[]), [Rule::NothingDone], "a row is gone");
}

#[test]
fn a_dead_token_that_comes_back() {
    let is_reused = call(30, rotation(By::Rotate, A, C), Answer::Reused(spent(A, 0, B), None));
    let valid = call(40, Op::GetValid(A), Answer::Found(vec![row(A, 0)]));
    let calls = [created(10), rotated(20, A, row(B, 1)), is_reused, valid];
    assert_eq!(objections(calls, &[spent(A, 0, B), row(B, 1)]), [Rule::DeadStayDead]);
    // What is not listed is dead.
    let listed = call(20, Op::GetActive { user: USER }, Answer::Found(vec![]));
    let rules = objections([created(10), listed, rotated(30, A, row(B, 1))], &[spent(A, 0, B), row(B, 1)]);
    assert_eq!(rules, [Rule::DeadStayDead, Rule::HasReason]);
}

/// It expired while it was being rotated, and a list from before the COMMIT is without its session.
#[test]
fn a_session_that_outlives_its_first_token() {
    let Call { op: Op::Create(login), answer, .. } = created(10) else { unreachable!() };
    let short = || call(10, Op::Create(Login { is_short: true, ..login.clone() }), answer.clone());
    let missing = || call(21, Op::ListSessions { user: USER }, Answer::Sessions(Vec::new()));
    let active = || call(40, Op::GetActive { user: USER }, Answer::Found(vec![row(B, 1)]));
    let table = [spent(A, 0, B), row(B, 1)];
    let meanwhile = Call { end: 25, ..rotated(20, A, row(B, 1)) };
    assert_eq!(objections([short(), meanwhile, missing(), active()], &table), []);
    let afterwards = rotated(30, A, row(B, 1));
    assert_eq!(objections([short(), missing(), afterwards, active()], &table), [Rule::DeadStayDead]);
}

#[test]
fn the_same_request_that_is_called_reuse() {
    let again = call(30, rotation(By::Rotate, A, B), Answer::Reused(spent(A, 0, B), None));
    let calls = [created(10), rotated(20, A, row(B, 1)), again];
    assert_eq!(objections(calls, &[spent(A, 0, B), row(B, 1)]), [Rule::SameAnswer]);
}

#[test]
fn a_refusal_and_a_revocation_without_a_reason() {
    let refused = call(20, rotation(By::Guard, A, B), Answer::Refused(Why::NotSaid, None));
    assert!(objections([created(10), refused], &[row(A, 0)]).contains(&Rule::HasReason));
    let gone = call(20, rotation(By::Rotate, A, B), Answer::Refused(Why::NotFound, None));
    assert!(objections([created(10), gone], &[row(A, 0)]).contains(&Rule::HasReason));
    assert!(objections([created(10)], &[revoked(row(A, 0))]).contains(&Rule::HasReason));
    // The one session that was to be kept.
    let kept = Row { reason: Some(RevokedReason::OthersRevoked), ..revoked(row(A, 0)) };
    let calls = [created(10), revocation(20, Target::Except { user: USER, keep: A }, 1)];
    assert_eq!(objections(calls, std::slice::from_ref(&kept)), [Rule::HasReason]);
    let calls = [created(10), revocation(20, Target::ExceptSession { user: USER, session: SESSION }, 1)];
    assert!(objections(calls, &[kept]).contains(&Rule::HasReason));
}

#[test]
fn a_breach_response_that_is_given_twice() {
    let reuse = |start, response| {
        let op = rotation(By::Redeem(OnReuse::RevokeSession), A, C);
        call(start, op, Answer::Reused(spent(A, 0, B), Some(response)))
    };
    let mut receipt = RevocationReport::default();
    (receipt.tokens, receipt.live, receipt.sessions) = (2, 1, 1);
    let given = || reuse(30, BreachResponse::Revoked(receipt));
    let twice = reuse(40, BreachResponse::Revoked(RevocationReport::default()));
    let table = [Row { is_reused: true, ..revoked(spent(A, 0, B)) }, revoked(row(B, 1))];
    let calls = [created(10), rotated(20, A, row(B, 1)), given(), twice];
    assert_eq!(objections(calls, &table), [Rule::GivenOnce]);
    let calls = [created(10), rotated(20, A, row(B, 1)), reuse(30, BreachResponse::AlreadyHandled)];
    assert_eq!(objections(calls, &[spent(A, 0, B), row(B, 1)]), [Rule::GivenOnce]);
    // It is not marked.
    let table = [revoked(spent(A, 0, B)), revoked(row(B, 1))];
    assert_eq!(objections([created(10), rotated(20, A, row(B, 1)), given()], &table), [Rule::GivenOnce]);
}

#[test]
fn receipts_that_do_not_add_up() {
    let calls = [created(10), revocation(20, Target::User(USER), 2)];
    assert_eq!(objections(calls, &[revoked(row(A, 0))]), [Rule::Receipts]);
    let op = Op::Revoke { target: Target::Token(A), frame: Frame::Own };
    let goes_on = call(20, op, Answer::EndedOne(TokenRevocation::SessionContinues { session_id: SESSION }));
    assert_eq!(objections([created(10), goes_on], &[revoked(row(A, 0))]), [Rule::Receipts]);
}

#[test]
fn a_successor_that_is_not_its_predecessors() {
    let strange = Row { session: Uuid::from_u128(99), ..row(B, 1) };
    let calls = [created(10), rotated(20, A, strange.clone())];
    assert_eq!(objections(calls, &[spent(A, 0, B), strange]), [Rule::Inheritance]);
}

#[test]
fn an_error_that_is_not_documented() {
    let failed = |error: &str| call(20, Op::GetValid(A), Answer::Failed(error.to_owned()));
    assert_eq!(objections([created(10), failed("Conflict")], &[row(A, 0)]), [Rule::Errors]);
    assert_eq!(objections([created(10), failed("Busy(Lock)")], &[row(A, 0)]), []);
}

/// Rotated so long ago that it is due.
fn long_spent() -> Row {
    Row { rotated_at: Some(DateTime::UNIX_EPOCH - TimeDelta::hours(2)), ..spent(A, 0, B) }
}

fn aged(start: Stamp) -> Call {
    call(start, Op::Age(A), Answer::Rows(1))
}

fn cleaned(start: Stamp, archives: bool, rows: usize) -> Call {
    call(start, Op::CleanUpBy { archives, batch: 100 }, Answer::Rows(rows))
}

#[test]
fn nothing_is_wrong_with_an_honest_clean_up() {
    let unknown = || call(50, rotation(By::Rotate, A, C), Answer::Refused(Why::NotFound, None));
    let calls = |archives| [created(10), rotated(20, A, row(B, 1)), aged(30), cleaned(40, archives, 1), unknown()];
    assert_eq!(objections(calls(false), &[row(B, 1)]), []);
    assert_eq!(objections_with(0, calls(true), &[row(B, 1)], &[long_spent()]), []);
    let calls = [created(10), revocation(20, Target::Token(A), 1), cleaned(30, false, 1)];
    assert_eq!(objections(calls, &[]), []);
}

#[test]
fn a_clean_up_that_takes_what_is_not_due() {
    assert_eq!(objections([created(10), cleaned(20, false, 1)], &[]), [Rule::CleanUp]);
    // Aged or not, it was live.
    assert_eq!(objections([created(10), aged(20), cleaned(30, false, 1)], &[]), [Rule::CleanUp]);
    let taken = row(A, 0);
    assert_eq!(objections_with(0, [created(10), cleaned(20, true, 1)], &[], &[taken]), [Rule::CleanUp]);
    let calls = |archives| [created(10), rotated(20, A, row(B, 1)), cleaned(30, archives, 1)];
    assert_eq!(objections(calls(false), &[row(B, 1)]), [Rule::CleanUp], "it was rotated just now");
    let young = Row { rotated_at: Some(DateTime::UNIX_EPOCH), ..spent(A, 0, B) };
    assert_eq!(objections_with(0, calls(true), &[row(B, 1)], &[young]), [Rule::CleanUp], "it was rotated just now");
    let unknown = call(30, rotation(By::Rotate, A, C), Answer::Refused(Why::NotFound, None));
    let calls = [created(10), rotated(20, A, row(B, 1)), unknown, aged(40), cleaned(50, false, 1)];
    assert_eq!(objections(calls, &[row(B, 1)]), [Rule::HasReason], "it was unknown before");
}

#[test]
fn a_clean_up_whose_reports_do_not_add_up() {
    let calls = |archives, rows| [created(10), rotated(20, A, row(B, 1)), aged(30), cleaned(40, archives, rows)];
    let (old, live) = (long_spent(), row(B, 1));
    assert_eq!(objections(calls(false, 2), std::slice::from_ref(&live)), [Rule::CleanUp], "two took one row");
    assert_eq!(objections(calls(true, 1), std::slice::from_ref(&live)), [Rule::CleanUp], "it is not in the archive");
    assert_eq!(objections(calls(false, 0), &[old.clone(), live.clone()]), [Rule::CleanUp], "it was left");
    let both = objections_with(0, calls(true, 1), &[old.clone(), live.clone()], std::slice::from_ref(&old));
    assert_eq!(both, [Rule::CleanUp], "it is in both tables");
    let twice = objections_with(0, calls(true, 1), &[live], &[old.clone(), old]);
    assert_eq!(twice, [Rule::CleanUp], "it is in the archive twice");
}

fn lost(start: Stamp, op: Op) -> Call {
    call(start, op, Answer::Failed("ConnectionLost".to_owned()))
}

/// A lost answer may have told what the table shows, and of what it does not show.
#[test]
fn a_lost_answer_is_what_the_table_says() {
    let rotation = || lost(20, rotation(By::Rotate, A, B));
    let happened = [spent(A, 0, B), row(B, 1)];
    for table in [&happened[..], &[row(A, 0)]] {
        assert_eq!(objections_after(1, [created(10), rotation()], table), []);
    }
    assert_eq!(objections_after(1, [created(10), rotation(), rotated(30, A, row(B, 1))], &happened), []);
    let taken = call(30, login(None), Answer::Failed("DuplicateId".to_owned()));
    assert_eq!(objections_after(1, [lost(10, login(None)), taken.clone()], &[row(A, 0)]), []);
    let revoked = [revoked(row(A, 0))];
    let revocation = lost(20, Op::Revoke { target: Target::User(USER), frame: Frame::Own });
    assert_eq!(objections_after(1, [created(10), revocation.clone()], &revoked), []);

    // But only where there was one, and where the server was killed.
    assert!(objections_after(1, [created(10)], &happened).contains(&Rule::NothingDone));
    assert_eq!(objections_after(1, [taken], &[]), [Rule::Errors]);
    assert_eq!(objections_after(1, [created(10)], &revoked), [Rule::HasReason, Rule::Receipts]);
    assert!(objections_after(0, [created(10), rotation()], &happened).contains(&Rule::Errors));
}

/// What was acknowledged is there, and what was lost did not happen twice.
#[test]
fn an_acknowledged_call_that_a_crash_undid() {
    let rotated = || rotated(20, A, row(B, 1));
    assert!(!objections_after(1, [created(10)], &[]).is_empty());
    assert!(!objections_after(1, [created(10), rotated()], &[row(A, 0)]).is_empty());
    let undone = objections_after(1, [created(10), revocation(20, Target::User(USER), 1)], &[row(A, 0)]);
    assert!(undone.contains(&Rule::RevocationWins), "{undone:?}");
    let other = || lost(30, rotation(By::Rotate, A, C));
    let twice = [spent(A, 0, B), revoked(row(B, 1)), row(C, 1)];
    assert!(objections_after(1, [created(10), rotated(), other()], &twice).contains(&Rule::NothingDone));
}
