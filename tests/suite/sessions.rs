//! The verbs about sessions: end one, end those of an organisation or of everybody, list them, and what they answer.

use chrono::Duration;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, InvalidInput, NewRefreshToken, RefreshToken, RefreshTokenRepository, RevocationReport, RevokedReason,
    Rotation, Session, SessionCursor, SessionOptions, SessionQuery, SessionState, Successor, TokenRevocation,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{connection, fresh_hash, in_days, new_token};
use uuid::Uuid;

use crate::common::{By, chain, create, expire, is_valid, rotate, row};

fn counts(receipt: RevocationReport) -> (usize, usize, usize) {
    (receipt.tokens, receipt.sessions, receipt.live)
}

fn log_in(conn: &mut PgConnection, user_id: Uuid, active_org_id: Uuid) -> RefreshToken {
    RefreshTokenRepository::new(conn).create(&NewRefreshToken { user_id, active_org_id, ..new_token() }).unwrap()
}

/// Every row of the table that is neither rotated nor revoked.
fn live(conn: &mut PgConnection) -> Vec<Uuid> {
    dsl::refresh_tokens
        .filter(dsl::rotated_to.is_null())
        .filter(dsl::revoked_at.is_null())
        .select(dsl::id)
        .load(conn)
        .unwrap()
}

#[test]
fn revoke_session_ends_all_of_it_and_nothing_else() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let hashes = chain(&mut conn, 3);
    let first = row(&mut conn, &hashes[0]);
    let other = log_in(&mut conn, first.user_id, first.active_org_id);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.revoke_session(Uuid::new_v4()).map(counts), Ok((0, 0, 0)));
    assert_eq!(tokens.revoke_session(first.session_id).map(counts), Ok((3, 1, 1)));
    assert_eq!(tokens.revoke_session(first.session_id).map(counts), Ok((0, 0, 0)));
    assert!(hashes.iter().all(|hash| row(&mut conn, hash).revoked_reason == Some(RevokedReason::SessionRevoked)));
    assert_eq!(live(&mut conn), [other.id]);
}

/// Whichever token of it is presented: the live one, a spent one, an expired one.
#[test]
fn revoke_session_by_hash_logs_out() {
    let mut conn = connection();
    for presented in 0..3 {
        let hashes = chain(&mut conn, 3);
        expire(&mut conn, &hashes[0], 1);
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let receipt = tokens.with_reason(RevokedReason::LoggedOut).revoke_session_by_hash(&hashes[presented]);
        assert_eq!(receipt.map(counts), Ok((3, 1, 1)));
        assert_eq!(row(&mut conn, &hashes[2]).revoked_reason, Some(RevokedReason::LoggedOut));
    }
    let unknown = RefreshTokenRepository::new(&mut conn).revoke_session_by_hash(&fresh_hash());
    assert_eq!(unknown, Ok(RevocationReport::default()));
}

/// Flaw 3: the answer says that the session goes on, and how to end it.
#[test]
fn flaw_3_revoking_a_rotated_token_names_the_session_that_goes_on() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let hashes = chain(&mut conn, 2);
    let (first, last) = (row(&mut conn, &hashes[0]), row(&mut conn, &hashes[1]));
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let session_id = first.session_id;
    assert_eq!(tokens.revoke(first.id), Ok(TokenRevocation::SessionContinues { session_id }));
    assert_eq!(tokens.revoke_by_hash(&first.token_hash), Ok(TokenRevocation::Unchanged));
    assert!(is_valid(&database, &last.token_hash));
    assert_eq!(tokens.revoke_by_hash(&last.token_hash), Ok(TokenRevocation::SessionEnded { session_id }));
    assert_eq!(tokens.revoke_session(session_id), Ok(RevocationReport::default()), "nothing was left");
}

#[test]
fn revoke_all_for_user_in_org_leaves_the_other_organisations() {
    let mut conn = connection();
    let (user, left, stays) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let tokens = [log_in(&mut conn, user, left), log_in(&mut conn, user, left), log_in(&mut conn, user, stays)];
    let colleague = log_in(&mut conn, Uuid::new_v4(), left);
    rotate(By::Library, &mut conn, &tokens[0].token_hash);
    // A session that has moved to the other organisation is not one of this any more.
    let moved = log_in(&mut conn, user, left);
    let there = Successor::expiring_at(Uuid::new_v4(), fresh_hash(), in_days(30)).active_org_id(stays);
    let outcome = RefreshTokenRepository::new(&mut conn).rotate(&moved.token_hash, &there, Binding::ANY).unwrap();
    let Rotation::Rotated(moved) = outcome else { panic!("{outcome:?}") };

    let receipt = RefreshTokenRepository::new(&mut conn).revoke_all_for_user_in_org(user, left).unwrap();
    assert_eq!(counts(receipt), (4, 2, 2), "the spent ones of this organisation are marked, too");
    let mut left_alone = [tokens[2].id, colleague.id, moved.id];
    left_alone.sort_unstable();
    let mut survivors = live(&mut conn);
    survivors.sort_unstable();
    assert_eq!(survivors, left_alone);
    assert_eq!(row(&mut conn, &tokens[1].token_hash).revoked_reason, Some(RevokedReason::MemberRevoked));
}

/// More rows than one step looks at, most of them spent; several live ones in each step.
fn crowd(conn: &mut PgConnection) {
    conn.batch_execute(
        "INSERT INTO refresh_tokens
             (id, user_id, token_hash, active_org_id, expires_at, rotated_to, session_id, generation)
         SELECT md5('id' || n)::uuid, md5('user' || n / 100)::uuid, md5('hash' || n), md5('org' || n / 10 % 2)::uuid,
             now() + CASE WHEN n % 50 = 9 THEN interval '-1 day' ELSE interval '30 days' END,
             CASE WHEN n % 10 < 9 THEN md5('id' || n + 1)::uuid END, md5('session' || n / 10)::uuid, n % 10
         FROM generate_series(0, 4999) n",
    )
    .unwrap();
}

/// 500 sessions, half of them in each organisation; a fifth has expired.
#[test]
fn revoke_all_for_org_ends_what_could_be_rotated_there() {
    let mut conn = connection();
    crowd(&mut conn);
    let org: Uuid = diesel::select(diesel::dsl::sql::<diesel::sql_types::Uuid>("md5('org1')::uuid"))
        .get_result(&mut *conn)
        .unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let receipt = tokens.revoke_all_for_org(org).unwrap();
    assert_eq!(counts(receipt), (250, 200, 200), "a fifth had expired");
    assert_eq!(tokens.revoke_all_for_org(org), Ok(RevocationReport::default()));
    assert_eq!(live(&mut conn).len(), 250);
    let left_in_org: i64 = dsl::refresh_tokens
        .filter(dsl::active_org_id.eq(org))
        .filter(dsl::rotated_to.is_null().and(dsl::revoked_at.is_null()))
        .count()
        .get_result(&mut *conn)
        .unwrap();
    assert_eq!(left_in_org, 0);
}

#[test]
fn revoke_all_for_everyone_ends_what_could_be_rotated() {
    let mut conn = connection();
    crowd(&mut conn);
    let receipt = RefreshTokenRepository::new(&mut conn).revoke_all_for_everyone().unwrap();
    assert_eq!(counts(receipt), (500, 400, 400), "a fifth had expired");
    assert!(live(&mut conn).is_empty());
    let later = create(&mut conn);
    assert_eq!(live(&mut conn), [later.id], "who logs in afterwards stays");
}

/// Ids and generations that only other software would write.
#[test]
fn invariant_3_a_walk_begins_with_the_first_row_there_can_be_and_ends_with_the_last() {
    let mut conn = connection();
    let user_id = Uuid::new_v4();
    for (id, generation) in [(Uuid::nil(), i32::MIN), (Uuid::max(), i32::MAX)] {
        let columns = (
            (dsl::id.eq(id), dsl::session_id.eq(id), dsl::generation.eq(generation), dsl::user_id.eq(user_id)),
            (dsl::token_hash.eq(fresh_hash()), dsl::active_org_id.eq(id), dsl::expires_at.eq(in_days(30))),
        );
        diesel::insert_into(dsl::refresh_tokens).values(columns).execute(&mut *conn).unwrap();
    }
    let receipt = RefreshTokenRepository::new(&mut conn).revoke_all_for_everyone().unwrap();
    assert_eq!(counts(receipt), (2, 2, 2));
    assert!(live(&mut conn).is_empty());
}

type Verb = fn(&mut RefreshTokenRepository<'_>, &RefreshToken) -> refresh_tokens::Result<()>;

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
#[test]
fn a_reason_is_the_callers_or_the_verbs() {
    let mut conn = connection();
    let verbs: [(RevokedReason, Verb); 11] = [
        (RevokedReason::TokenRevoked, |tokens, token| tokens.revoke(token.id).map(drop)),
        (RevokedReason::TokenRevoked, |tokens, token| tokens.revoke_by_hash(&token.token_hash).map(drop)),
        (RevokedReason::ChainRevoked, |tokens, token| tokens.revoke_token_chain(token.id).map(drop)),
        (RevokedReason::SessionRevoked, |tokens, token| tokens.revoke_session(token.session_id).map(drop)),
        (RevokedReason::SessionRevoked, |tokens, token| tokens.end_session(token.session_id).map(drop)),
        (RevokedReason::UserRevoked, |tokens, token| tokens.revoke_all_for_user(token.user_id).map(drop)),
        (RevokedReason::OthersRevoked, |tokens, token| {
            tokens.revoke_all_for_user_except(token.user_id, Uuid::new_v4()).map(drop)
        }),
        (RevokedReason::OthersRevoked, |tokens, token| {
            tokens.revoke_all_for_user_except_session(token.user_id, Uuid::new_v4()).map(drop)
        }),
        (RevokedReason::MemberRevoked, |tokens, token| {
            tokens.revoke_all_for_user_in_org(token.user_id, token.active_org_id).map(drop)
        }),
        (RevokedReason::OrgRevoked, |tokens, token| tokens.revoke_all_for_org(token.active_org_id).map(drop)),
        (RevokedReason::EveryoneRevoked, |tokens, _| tokens.revoke_all_for_everyone().map(drop)),
    ];
    for (own, verb) in verbs {
        let token = create(&mut conn);
        verb(&mut RefreshTokenRepository::new(&mut conn), &token).unwrap();
        assert_eq!(row(&mut conn, &token.token_hash).revoked_reason, Some(own));
        let token = create(&mut conn);
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        verb(&mut tokens.with_reason(RevokedReason::AccountDisabled), &token).unwrap();
        assert_eq!(row(&mut conn, &token.token_hash).revoked_reason, Some(RevokedReason::AccountDisabled));
    }
    // Also in a transaction.
    let token = create(&mut conn);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    tokens.with_reason(RevokedReason::Administrator).transaction(|tx| tx.revoke_session(token.session_id)).unwrap();
    assert_eq!(row(&mut conn, &token.token_hash).revoked_reason, Some(RevokedReason::Administrator));
}

fn list(conn: &mut PgConnection, query: &SessionQuery) -> Vec<Session> {
    RefreshTokenRepository::new(conn).list_sessions(query).unwrap().sessions
}

left_out!(on other_tables: "only the trigger makes the successors of other software members of the session");
#[test]
fn a_session_is_one_entry_through_all_its_rotations() {
    let mut conn = connection();
    let end = in_days(300);
    let new = NewRefreshToken { session: SessionOptions::default().expires_at(end), ..new_token() };
    let login = RefreshTokenRepository::new(&mut conn).create(&new).unwrap();
    let query = SessionQuery::of_user(login.user_id);
    let sessions = list(&mut conn, &query);
    let [session] = &sessions[..] else { panic!("{sessions:?}") };
    assert_eq!((session.session_id, session.user_id), (login.session_id, login.user_id));
    assert_eq!((session.started_at, session.last_rotated_at), (login.created_at, None));
    assert_eq!(session.session_expires_at.unwrap().timestamp_micros(), end.timestamp_micros());

    let second = rotate(By::Library, &mut conn, &login.token_hash);
    let newest = rotate(By::Reference, &mut conn, &second);
    let newest = row(&mut conn, &newest);
    let sessions = list(&mut conn, &query);
    let [session] = &sessions[..] else { panic!("{sessions:?}") };
    assert_eq!(session.state, SessionState::Live);
    assert_eq!((session.started_at, session.last_rotated_at), (login.created_at, Some(newest.created_at)));
    assert_eq!((session.expires_at, session.active_org_id), (newest.expires_at, newest.active_org_id));

    // The first rows of it may be long gone.
    diesel::delete(dsl::refresh_tokens.filter(dsl::generation.lt(2))).execute(&mut *conn).unwrap();
    assert_eq!(list(&mut conn, &query)[0].started_at, login.created_at);
}

#[test]
fn ended_sessions_are_listed_on_request_with_reason_and_time() {
    let mut conn = connection();
    let (user, org) = (Uuid::new_v4(), Uuid::new_v4());
    let [live, expired, revoked, by_others, cut] = [(); 5].map(|()| log_in(&mut conn, user, org));
    expire(&mut conn, &expired.token_hash, 1);
    RefreshTokenRepository::new(&mut conn)
        .with_reason(RevokedReason::LoggedOut)
        .revoke_session(revoked.session_id)
        .unwrap();
    refresh_tokens_support::reference::revoke(&mut conn, by_others.id).unwrap();
    // Of a session whose newest rows clean-up has deleted, a spent one is left.
    rotate(By::Library, &mut conn, &cut.token_hash);
    diesel::delete(dsl::refresh_tokens.filter(dsl::generation.eq(1))).execute(&mut *conn).unwrap();

    assert_eq!(list(&mut conn, &SessionQuery::of_user(user)).len(), 1);
    let all = list(&mut conn, &SessionQuery::of_user(user).include_ended());
    let order: Vec<Uuid> = all.iter().map(|session| session.session_id).collect();
    let newest_first = [&cut, &by_others, &revoked, &expired, &live].map(|token| token.session_id);
    assert_eq!(order, newest_first);
    let at = row(&mut conn, &revoked.token_hash).revoked_at.unwrap();
    assert_eq!(all[2].state, SessionState::Revoked { at, reason: Some(RevokedReason::LoggedOut) });
    assert!(matches!(all[1].state, SessionState::Revoked { reason: None, .. }), "{:?}", all[1]);
    let states = [all[0].state, all[3].state, all[4].state];
    assert_eq!(states, [SessionState::Expired, SessionState::Expired, SessionState::Live]);
}

/// Sessions that begin or end between two pages neither hide nor repeat another one; equal starts are told apart.
#[test]
fn pages_follow_on_from_each_other() {
    let mut conn = connection();
    let (user, org) = (Uuid::new_v4(), Uuid::new_v4());
    let mut expected: Vec<RefreshToken> = (0..7).map(|_| log_in(&mut conn, user, org)).collect();
    let same = expected[3].created_at;
    diesel::update(dsl::refresh_tokens.filter(dsl::id.eq_any([expected[2].id, expected[4].id])))
        .set(dsl::session_started_at.eq(same))
        .execute(&mut *conn)
        .unwrap();
    expected.sort_by_key(|token| (row(&mut conn, &token.token_hash).session_started_at, token.session_id));
    expected.reverse();

    let query = SessionQuery::of_user(user).limit(2);
    let mut seen = Vec::new();
    let mut next: Option<SessionCursor> = None;
    loop {
        let page = match next {
            // Through its text, as a link would carry it.
            Some(cursor) => query.clone().after(cursor.to_string().parse().unwrap()),
            None => query.clone(),
        };
        let page = RefreshTokenRepository::new(&mut conn).list_sessions(&page).unwrap();
        seen.extend(page.sessions.iter().map(|session| session.session_id));
        log_in(&mut conn, user, org);
        assert!(seen.len() <= 7, "it ends");
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected.iter().map(|token| token.session_id).collect::<Vec<_>>());
    // A page that is exactly full is the last.
    let page = RefreshTokenRepository::new(&mut conn).list_sessions(&SessionQuery::of_user(user).limit(11)).unwrap();
    assert_eq!((page.sessions.len(), page.next), (11, None));
}

#[test]
fn a_cursor_that_is_none_is_refused() {
    for text in ["", ".", "1.2", "x.00000000-0000-0000-0000-000000000007", "-1.00000000-0000-0000-0000-000000000007"] {
        assert_eq!(text.parse::<SessionCursor>(), Err(InvalidInput::MalformedCursor), "{text}");
    }
    let too_late = format!("{}.00000000-0000-0000-0000-000000000007", i64::MAX);
    assert_eq!(too_late.parse::<SessionCursor>(), Err(InvalidInput::MalformedCursor));
}

/// The race of flaw 4 leaves two live tokens in one session: it is one entry all the same.
#[test]
fn a_forked_session_is_one_entry() {
    let mut conn = connection();
    let login = create(&mut conn);
    rotate(By::Library, &mut conn, &login.token_hash);
    diesel::insert_into(dsl::refresh_tokens)
        .values((
            dsl::id.eq(Uuid::new_v4()),
            dsl::user_id.eq(login.user_id),
            dsl::token_hash.eq(fresh_hash()),
            dsl::active_org_id.eq(login.active_org_id),
            dsl::expires_at.eq(login.expires_at + Duration::days(1)),
            dsl::session_id.eq(login.session_id),
            dsl::session_started_at.eq(login.session_started_at),
            dsl::generation.eq(1),
        ))
        .execute(&mut *conn)
        .unwrap();
    assert_eq!(list(&mut conn, &SessionQuery::of_user(login.user_id)).len(), 1);
    let receipt = RefreshTokenRepository::new(&mut conn).revoke_session(login.session_id).unwrap();
    assert_eq!(counts(receipt), (3, 1, 2));
}

/// A page of none would have no place to go on from.
#[test]
fn a_page_has_one_session_at_least_and_a_thousand_at_most() {
    let mut conn = connection();
    let (user, org) = (Uuid::new_v4(), Uuid::new_v4());
    let [_, newest] = [(); 2].map(|()| log_in(&mut conn, user, org));
    let page = RefreshTokenRepository::new(&mut conn).list_sessions(&SessionQuery::of_user(user).limit(0)).unwrap();
    assert_eq!(page.sessions.iter().map(|session| session.session_id).collect::<Vec<_>>(), [newest.session_id]);
    assert!(page.next.is_some());
    assert_eq!(SessionQuery::of_user(user).limit(1_001), SessionQuery::of_user(user).limit(1_000));
}

/// Sessions that began "always", as other software may say: the cursor leads from one such to the next.
#[test]
fn pages_go_on_among_sessions_without_a_beginning() {
    let mut conn = connection();
    let (user, org) = (Uuid::new_v4(), Uuid::new_v4());
    let mut expected = [(); 3].map(|()| log_in(&mut conn, user, org).session_id);
    conn.batch_execute("UPDATE refresh_tokens SET session_started_at = '-infinity'").unwrap();
    expected.sort_unstable_by(|one, other| other.cmp(one));
    let mut seen = Vec::new();
    let mut query = SessionQuery::of_user(user).limit(1);
    for _ in 0..3 {
        let page = RefreshTokenRepository::new(&mut conn).list_sessions(&query).unwrap();
        seen.extend(page.sessions.iter().map(|session| session.session_id));
        let Some(next) = page.next else { break };
        query = query.after(next.to_string().parse().unwrap());
    }
    assert_eq!(seen, expected);
}
