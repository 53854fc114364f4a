//! Sessions with two branches, as the race of flaw 4 leaves them: each verb takes every row for what it is.

use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{NewRefreshToken, RefreshToken, RefreshTokenRepository, SessionQuery, SessionState};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{connection, new_token};

use crate::common::{create, is_valid};

/// A login, and another live row of its session, of this generation.
fn twins(conn: &mut PgConnection, generation: i32) -> (RefreshToken, RefreshToken) {
    let login = create(conn);
    let new = NewRefreshToken { user_id: login.user_id, active_org_id: login.active_org_id, ..new_token() };
    let twin = RefreshTokenRepository::new(conn).create(&new).unwrap();
    let of_login = (
        dsl::session_id.eq(login.session_id),
        dsl::session_started_at.eq(login.session_started_at),
        dsl::generation.eq(generation),
    );
    diesel::update(dsl::refresh_tokens.find(twin.id)).set(of_login).execute(conn).unwrap();
    (login, twin)
}

#[test]
fn one_that_ends_with_all_others_is_counted_once() {
    let mut conn = connection();
    twins(&mut conn, 0);
    let receipt = RefreshTokenRepository::new(&mut conn).revoke_all_for_everyone().unwrap();
    assert_eq!((receipt.tokens, receipt.sessions, receipt.live), (2, 1, 2));
}

/// A chain is what descends from its token: not a row of the same generation, which does not.
#[test]
fn revoking_a_chain_leaves_the_twin_of_the_token_that_is_named() {
    let database = Database::migrated();
    let (login, twin) = twins(&mut database.connect(), 0);
    let receipt = RefreshTokenRepository::new(&mut database.connect()).revoke_token_chain(login.id).unwrap();
    assert_eq!((receipt.tokens, receipt.live), (1, 1));
    assert!(!is_valid(&database, &login.token_hash) && is_valid(&database, &twin.token_hash));
}

/// Its newest row is dead, and an older one is live: somebody can still come with that.
#[test]
fn one_is_listed_as_live_while_any_branch_of_it_is() {
    let mut conn = connection();
    let (login, twin) = twins(&mut conn, 1);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert!(tokens.revoke(twin.id).unwrap().is_revoked());
    for query in [SessionQuery::of_user(login.user_id), SessionQuery::of_user(login.user_id).include_ended()] {
        let sessions = tokens.list_sessions(&query).unwrap().sessions;
        let [session] = &sessions[..] else { panic!("{sessions:?}") };
        assert_eq!((session.state, session.session_id), (SessionState::Live, login.session_id), "{query:?}");
    }
}
