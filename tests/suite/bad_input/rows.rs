//! Rows as others may write them: cycles, links that lead nowhere or to somebody else, infinities, negative generations,
//! huge texts, nil ids. What a verb may answer on them is said in SQL here, by the raw columns.

use std::cell::RefCell;
use std::collections::BTreeMap;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Bool, Integer, Nullable, Text, Uuid as SqlUuid};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use refresh_tokens::{
    Binding, MAX_EXPIRY, OnReuse, Redemption, RefreshTokenRepository, Rotation, SessionQuery, Successor, TokenHash,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{fresh_hash, in_days};
use uuid::Uuid;

use super::{cases, has_name, holds};

const CASES: u32 = 300;

/// Few, so that rows meet; the first is nil, the last the greatest.
const IDS: usize = 6;

fn id(number: usize) -> Uuid {
    match number {
        0 => Uuid::nil(),
        5 => Uuid::max(),
        other => Uuid::from_u128(other as u128),
    }
}

const INSTANTS: [&str; 10] = [
    "'infinity'",
    "'-infinity'",
    "'294276-12-31'",
    "'4713-01-01 BC'",
    "'epoch'",
    "now() + interval '1 day'",
    "now() - interval '1 day'",
    "now() + interval '1 day'",
    "now() - interval '90 days'",
    "now() + interval '7 days'",
];

fn instant() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&INSTANTS[..])
}

fn or_null(strategy: impl Strategy<Value = String>, nulls: u32) -> impl Strategy<Value = String> {
    prop_oneof![nulls => Just("NULL".to_owned()), 1 => strategy]
}

fn hash(number: usize) -> String {
    match number {
        0 => "hash of the first".to_owned(),
        1 => String::new(),
        2 => "ä'\\\"".to_owned(),
        // As long as others may write it, and longer than ours.
        3 => "x".repeat(2_000),
        other => format!("hash {other}"),
    }
}

/// A row's values in SQL, but for its hash.
fn row() -> impl Strategy<Value = (usize, String)> {
    let ids = || (0..IDS).prop_map(|number| format!("'{}'", id(number)));
    let instants = || instant().prop_map(str::to_owned);
    let reason = prop_oneof![
        Just("NULL".to_owned()),
        Just("'logged_out'".to_owned()),
        Just("repeat('r', 5000)".to_owned()),
        Just("''".to_owned())
    ];
    let generation = proptest::sample::select(&["0", "1", "5", "-1", "-2147483648", "2147483647"][..]);
    let ended = or_null((instants(), reason).prop_map(|(at, reason)| format!("{at}, {reason}")), 2);
    let link = or_null(ids(), 2);
    let times = (instants(), instants(), instants());
    let late = (or_null(instants(), 2), or_null(instants(), 2), or_null(instants(), 3));
    (0..IDS, (0..3_usize, 0..3_usize, 0..3_usize), times, ended, link, generation, late).prop_map(
        |(number, (user, org, session), (expires, created, started), ended, link, generation, late)| {
            let ended = if ended == "NULL" { "NULL, NULL".to_owned() } else { ended };
            let (session_ends, rotated, reused) = late;
            // The place before all rows, after which the walk of revoke_all_for_everyone begins.
            let generation = if (number, session, generation) == (0, 0, "-2147483648") { "-1" } else { generation };
            let values = format!(
                "'{}', '{}', '{}', {expires}, {created}, {started}, {ended}, {link}, {generation}, {session_ends}, \
                 {rotated}, {reused}",
                id(user),
                id(org),
                id(session)
            );
            (number, values)
        },
    )
}

fn fill(conn: &mut PgConnection, rows: &[(usize, String)]) {
    conn.batch_execute("DELETE FROM refresh_tokens; DELETE FROM refresh_token_cutoffs").unwrap();
    for (number, values) in rows {
        let insert = format!(
            "INSERT INTO refresh_tokens (id, token_hash, user_id, active_org_id, session_id, expires_at, created_at,
                session_started_at, revoked_at, revoked_reason, rotated_to, generation, session_expires_at, rotated_at,
                reused_at)
             VALUES ('{}', '{}', {values}) ON CONFLICT DO NOTHING",
            id(*number),
            hash(*number).replace('\'', "''")
        );
        conn.batch_execute(&insert).unwrap_or_else(|error| panic!("{insert}: {error}"));
    }
}

#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
struct Seen {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    active_org_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    session_id: Uuid,
    #[diesel(sql_type = Text)]
    token_hash: String,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    rotated_to: Option<Uuid>,
    #[diesel(sql_type = Bool)]
    is_revoked: bool,
    /// Neither spent nor ended nor expired.
    #[diesel(sql_type = Bool)]
    is_valid: bool,
    /// It ended long enough ago for clean-up by 30 days.
    #[diesel(sql_type = Bool)]
    is_due: bool,
    #[diesel(sql_type = Integer)]
    generation: i32,
    #[diesel(sql_type = Text)]
    rest: String,
}

type Table = BTreeMap<Uuid, Seen>;

fn table(conn: &mut PgConnection) -> Table {
    let query = "SELECT id, user_id, active_org_id, session_id, token_hash, rotated_to,
            revoked_at IS NOT NULL AS is_revoked,
            rotated_to IS NULL AND revoked_at IS NULL AND expires_at > clock_timestamp()
                AND coalesce(session_expires_at, 'infinity') > clock_timestamp() AS is_valid,
            expires_at < clock_timestamp() - interval '30 days' AS is_due,
            generation, concat_ws('|', expires_at, created_at, generation, session_started_at, session_expires_at) AS rest
        FROM refresh_tokens";
    let rows: Vec<Seen> = sql_query(query).load(conn).unwrap();
    rows.into_iter().map(|row| (row.id, row)).collect()
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Rotate,
    RotateTo,
    Redeem,
    Revoke,
    RevokeByHash,
    Chain,
    Session,
    EndSession,
    SessionByHash,
    User,
    Except,
    ExceptSession,
    Member,
    Org,
    Everyone,
    CleanUp,
}

const VERBS: [Verb; 16] = [
    Verb::Rotate,
    Verb::RotateTo,
    Verb::Redeem,
    Verb::Revoke,
    Verb::RevokeByHash,
    Verb::Chain,
    Verb::Session,
    Verb::EndSession,
    Verb::SessionByHash,
    Verb::User,
    Verb::Except,
    Verb::ExceptSession,
    Verb::Member,
    Verb::Org,
    Verb::Everyone,
    Verb::CleanUp,
];

/// What a verb said.
#[derive(Debug)]
enum Said {
    /// It made this token.
    Made(Uuid),
    Nothing,
    Ended,
    Deleted(usize),
}

fn say(rotation: &Rotation) -> Said {
    match rotation {
        Rotation::Rotated(token) => Said::Made(token.id),
        Rotation::Repeated(_) | Rotation::Refused(_) => Said::Nothing,
    }
}

fn call(
    tokens: &mut RefreshTokenRepository<'_>,
    verb: Verb,
    on: &Seen,
    other: Uuid,
    successor: &Successor,
) -> Option<refresh_tokens::Result<Said>> {
    // A hash that ours would not take cannot be presented.
    let hash = TokenHash::new(on.token_hash.clone());
    let ended = |_| Said::Ended;
    Some(match verb {
        Verb::Rotate => tokens.rotate(&hash.ok()?, successor, Binding::ANY).map(|rotation| say(&rotation)),
        Verb::RotateTo => {
            let hash = hash.ok()?;
            tokens.transaction(|tx| match tx.get_valid_for_rotation(&hash, Binding::ANY)? {
                Some(locked) => locked.rotate_to(successor).map(|token| Said::Made(token.id)),
                None => Ok(Said::Nothing),
            })
        }
        Verb::Redeem => {
            tokens.redeem(&hash.ok()?, successor, Binding::ANY, OnReuse::RevokeSession).map(|it| match it {
                Redemption::Rotated { token, .. } => Said::Made(token.id),
                Redemption::Reused { .. } => Said::Ended,
                _ => Said::Nothing,
            })
        }
        Verb::Revoke => tokens.revoke(on.id).map(|_| Said::Ended),
        Verb::RevokeByHash => tokens.revoke_by_hash(&hash.ok()?).map(|_| Said::Ended),
        Verb::Chain => tokens.revoke_token_chain(on.id).map(ended),
        Verb::Session => tokens.revoke_session(on.session_id).map(ended),
        Verb::EndSession => tokens.end_session(on.session_id).map(ended),
        Verb::SessionByHash => tokens.revoke_session_by_hash(&hash.ok()?).map(ended),
        Verb::User => tokens.revoke_all_for_user(on.user_id).map(ended),
        Verb::Except => tokens.revoke_all_for_user_except(on.user_id, other).map(ended),
        Verb::ExceptSession => tokens.revoke_all_for_user_except_session(on.user_id, on.session_id).map(ended),
        Verb::Member => tokens.revoke_all_for_user_in_org(on.user_id, on.active_org_id).map(ended),
        Verb::Org => tokens.revoke_all_for_org(on.active_org_id).map(ended),
        Verb::Everyone => tokens.revoke_all_for_everyone().map(ended),
        Verb::CleanUp => tokens.cleanup_expired(30).map(Said::Deleted),
    })
}

/// Whether an `Ok` of a revocation promises that this row is not valid afterwards.
fn must_end(verb: Verb, on: &Seen, row: &Seen, before: &Table) -> bool {
    let in_session = |other: &&Seen| other.session_id == on.session_id && other.id != row.id;
    match verb {
        Verb::Revoke | Verb::RevokeByHash => row.id == on.id,
        Verb::Chain => row.id == on.id || (on.rotated_to == Some(row.id) && row.user_id == on.user_id),
        Verb::Session | Verb::SessionByHash => row.session_id == on.session_id,
        // Of several that others made live, it ends the newest, and says so.
        Verb::EndSession => {
            let is_newest = before.values().filter(in_session).all(|other| other.generation < row.generation);
            row.session_id == on.session_id && is_newest
        }
        Verb::User => row.user_id == on.user_id,
        Verb::ExceptSession => row.user_id == on.user_id && row.session_id != on.session_id,
        Verb::Member => row.user_id == on.user_id && row.active_org_id == on.active_org_id,
        Verb::Org => row.active_org_id == on.active_org_id,
        Verb::Everyone => true,
        _ => false,
    }
}

/// Whether it may touch this row at all: what is neither linked, nor in the session, nor the user's is none of its.
fn may_end(verb: Verb, on: &Seen, row: &Seen) -> bool {
    match verb {
        Verb::Chain | Verb::Redeem => true,
        Verb::Except => row.user_id == on.user_id,
        Verb::EndSession => row.session_id == on.session_id,
        verb => must_end(verb, on, row, &Table::new()),
    }
}

fn judge(verb: Verb, on: &Seen, said: &Said, before: &Table, after: &Table) -> Result<(), TestCaseError> {
    let made = if let Said::Made(id) = said { Some(*id) } else { None };
    for (id, row) in after {
        let Some(was) = before.get(id) else {
            prop_assert_eq!(Some(*id), made, "a row from nowhere");
            prop_assert!(row.is_valid && row.user_id == on.user_id && row.session_id == on.session_id);
            continue;
        };
        prop_assert!(was.is_valid || !row.is_valid, "{row:?} came back to life");
        let same = (&row.token_hash, row.user_id, row.active_org_id, row.session_id, &row.rest);
        prop_assert_eq!(same, (&was.token_hash, was.user_id, was.active_org_id, was.session_id, &was.rest));
        if row.rotated_to != was.rotated_to {
            prop_assert!(made.is_some() && row.rotated_to == made && *id == on.id && was.is_valid, "{was:?}");
        }
        if row.is_revoked != was.is_revoked {
            prop_assert!(row.is_revoked && may_end(verb, on, was), "{was:?} was none of its");
        }
        if matches!(said, Said::Ended) && must_end(verb, on, was, before) {
            prop_assert!(!row.is_valid, "{row:?} is still valid");
        }
    }
    if let Some(made) = made {
        prop_assert!(on.is_valid, "a successor of what was not valid");
        prop_assert_eq!(after[&on.id].rotated_to, Some(made));
        prop_assert!(after.contains_key(&made));
    }
    let gone: Vec<&Seen> = before.values().filter(|row| !after.contains_key(&row.id)).collect();
    let deleted = if let Said::Deleted(rows) = said { *rows } else { 0 };
    prop_assert_eq!(gone.len(), deleted);
    prop_assert!(gone.iter().all(|row| row.is_due && !row.is_valid), "{gone:?}");
    Ok(())
}

/// What only reads agrees with the columns.
fn look_ups(conn: &mut PgConnection, table: &Table) -> Result<(), TestCaseError> {
    for row in table.values() {
        let mut tokens = RefreshTokenRepository::new(conn);
        if let Ok(hash) = TokenHash::new(row.token_hash.clone()) {
            let valid = tokens.get_valid_by_hash(&hash, Binding::ANY).unwrap();
            prop_assert_eq!(valid.is_some(), row.is_valid, "{:?}", row);
            prop_assert_eq!(tokens.check_token_reuse(&hash).unwrap().is_some(), row.rotated_to.is_some());
            prop_assert_eq!(tokens.get_by_hash(&hash).unwrap().map(|found| found.id), Some(row.id));
        }
        if !row.user_id.is_nil() {
            let mut active: Vec<Uuid> =
                tokens.get_active_tokens_for_user(row.user_id).unwrap().iter().map(|token| token.id).collect();
            active.sort();
            let of_user = |other: &&Seen| other.is_valid && other.user_id == row.user_id;
            let expected: Vec<Uuid> = table.values().filter(of_user).map(|other| other.id).collect();
            prop_assert_eq!(active, expected);
            let listed = tokens.list_sessions(&SessionQuery::of_user(row.user_id).include_ended().limit(1)).unwrap();
            if let Some(next) = listed.next {
                // Also where the session began at an infinity, and as a text.
                prop_assert!(tokens.list_sessions(&SessionQuery::of_user(row.user_id).after(next)).is_ok());
                let is_common = listed.sessions[0].started_at >= chrono::DateTime::UNIX_EPOCH;
                prop_assert!(
                    !is_common || listed.sessions[0].started_at > MAX_EXPIRY || next.to_string().parse() == Ok(next)
                );
            }
        }
    }
    Ok(())
}

#[test]
fn invariant_10_rows_of_others_lead_to_no_panic_and_no_wrong_ok() {
    let database = Database::migrated();
    let conn = RefCell::new(database.connect());
    let counts = RefCell::new(BTreeMap::<&str, u32>::new());
    let calls = (proptest::sample::select(&VERBS[..]), any::<prop::sample::Index>(), 0..3 * IDS);
    let case = (proptest::collection::vec(row(), 1..9), proptest::collection::vec(calls, 1..4));
    holds(CASES, &case, |(rows, calls)| {
        let mut conn = conn.borrow_mut();
        fill(&mut conn, &rows);
        for (verb, on, other) in calls {
            let before = table(&mut conn);
            look_ups(&mut conn, &before)?;
            let Some(on) = before.values().nth(on.index(before.len().max(1))) else { break };
            // Now and then one that is there.
            let next_id = if other < IDS { id(other) } else { Uuid::new_v4() };
            let successor = Successor::expiring_at(next_id, fresh_hash(), in_days(1));
            let mut tokens = RefreshTokenRepository::new(&mut conn);
            let Some(outcome) = call(&mut tokens, verb, on, id(other.min(IDS - 1)), &successor) else { continue };
            let after = table(&mut conn);
            let met = match &outcome {
                Ok(Said::Made(_)) => "made",
                Ok(Said::Ended) => "ended",
                Ok(Said::Deleted(rows)) if *rows > 0 => "deleted",
                Ok(_) => "nothing",
                Err(_) => "error",
            };
            *counts.borrow_mut().entry(met).or_default() += 1;
            match outcome {
                Ok(said) => judge(verb, on, &said, &before, &after)?,
                Err(error) => {
                    prop_assert!(has_name(&error), "{verb:?}: {error:?}");
                    prop_assert_eq!(before, after, "{:?} failed and wrote", verb);
                }
            }
        }
        Ok(())
    });
    let counts = counts.into_inner();
    let has_met = |all: [&str; 5]| all.iter().all(|met| counts.contains_key(met));
    // A run that was asked to be shorter cannot meet them all.
    assert!(cases(CASES) < CASES || has_met(["made", "ended", "deleted", "nothing", "error"]), "{counts:?}");
}
