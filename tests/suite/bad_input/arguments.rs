//! Arguments at random, on a table of our own rows.

use std::cell::RefCell;

use diesel::prelude::*;
use proptest::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, NewRefreshToken, OnReuse, RefreshTokenRepository, Rotation, RotationRequest, SessionCursor,
    SessionOptions, SessionQuery, Successor, TokenHash,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{fresh_hash, in_days, new_token, successor};
use uuid::Uuid;

use super::{delta, has_name, holds, instant, uuid};

fn text() -> impl Strategy<Value = String> {
    let any_chars = proptest::collection::vec(any::<char>(), 0..80).prop_map(|chars| chars.into_iter().collect());
    prop_oneof![
        any_chars,
        "\\PC{0,40}",
        (0_usize..3_000).prop_map(|length| "x".repeat(length)),
        (0_usize..800).prop_map(|length| "🔑".repeat(length)),
        Just("a\0b".to_owned()),
        Just("'); DROP TABLE refresh_tokens; --".to_owned()),
    ]
}

/// What is accepted is stored and found, by this text and by no other, and is not shown.
#[test]
fn a_hash_of_any_text_is_taken_whole_or_refused() {
    let database = Database::migrated();
    let conn = RefCell::new(database.connect());
    holds(256, &text(), |text| {
        let is_fit = !text.is_empty() && text.len() <= TokenHash::MAX_LEN && !text.contains('\0');
        let Ok(hash) = TokenHash::new(text.clone()) else {
            prop_assert!(!is_fit, "{text:?}");
            return Ok(());
        };
        prop_assert!(is_fit, "{text:?}");
        prop_assert_eq!(hash.expose(), &text);
        let shown = format!("{hash:?}");
        prop_assert!(text.chars().count() < 8 || !shown.contains(&text));
        let mut conn = conn.borrow_mut();
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let id = match tokens.get_by_hash(&hash).unwrap() {
            Some(token) => token.id,
            None => tokens.create(&NewRefreshToken { token_hash: hash.clone(), ..new_token() }).unwrap().id,
        };
        let found = tokens.get_by_hash(&hash).unwrap().expect("it was made");
        prop_assert_eq!((found.id, found.token_hash.expose()), (id, text.as_str()));
        Ok(())
    });
}

#[test]
fn a_cursor_of_any_text_is_one_or_is_malformed() {
    let database = Database::migrated();
    let conn = RefCell::new(database.connect());
    let number = any::<i64>().prop_map(|micros| format!("{micros}.{}", Uuid::from_u128(7)));
    let near = (any::<u64>(), text()).prop_map(|(micros, rest)| format!("{micros}.{rest}"));
    holds(256, &(prop_oneof![text(), number, near], any::<u16>(), uuid()), |(text, limit, user)| {
        let Ok(cursor) = text.parse::<SessionCursor>() else { return Ok(()) };
        prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        let query = SessionQuery::of_user(user).include_ended().limit(limit).after(cursor);
        let mut conn = conn.borrow_mut();
        let page = RefreshTokenRepository::new(&mut conn).list_sessions(&query);
        prop_assert!(page.as_ref().err().is_none_or(has_name), "{page:?}");
        Ok(())
    });
}

/// Logins and rotations with instants and ids from all over: what is accepted is what was asked for, and is valid.
#[test]
fn logins_and_rotations_of_any_instants_and_ids_are_right_or_refused_by_name() {
    let database = Database::migrated();
    let conn = RefCell::new(database.connect());
    let login = (uuid(), uuid(), uuid(), instant(), proptest::option::of(instant()), proptest::option::of(instant()));
    let next = (uuid(), proptest::option::of(uuid()), prop_oneof![instant().prop_map(Ok), delta().prop_map(Err)]);
    let binding = (proptest::option::of(uuid()), proptest::option::of(uuid()));
    holds(400, &(login, next, binding), |((id, user_id, org, expires_at, ends, authenticated), next, binding)| {
        let mut session = SessionOptions::default();
        session = ends.into_iter().fold(session, SessionOptions::expires_at);
        session = authenticated.into_iter().fold(session, SessionOptions::authenticated_at);
        let new = NewRefreshToken { id, user_id, active_org_id: org, expires_at, token_hash: fresh_hash(), session };
        let mut conn = conn.borrow_mut();
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let presented = match tokens.create(&new) {
            Ok(token) => {
                prop_assert_eq!((token.id, token.user_id, token.active_org_id), (id, user_id, org));
                prop_assert!(tokens.get_valid_by_hash(&new.token_hash, Binding::ANY).unwrap().is_some());
                prop_assert!(ends.is_none_or(|end| token.expires_at <= end) && token.expires_at <= expires_at);
                token
            }
            Err(error) => {
                prop_assert!(has_name(&error), "{error:?}");
                prop_assert!(tokens.get_by_hash(&new.token_hash).unwrap().is_none());
                tokens.create(&new_token()).unwrap()
            }
        };
        let (next_id, switch, end) = next;
        let mut successor = match end {
            Ok(at) => Successor::expiring_at(next_id, fresh_hash(), at),
            Err(lifetime) => Successor::with_lifetime(next_id, fresh_hash(), lifetime),
        };
        successor = switch.into_iter().fold(successor, Successor::active_org_id);
        let mut bound = Binding::ANY;
        bound = binding.0.map_or(bound, Binding::user);
        bound = binding.1.map_or(bound, |org| bound.org(org));
        let is_bound = binding.0.is_none_or(|user| user == presented.user_id)
            && binding.1.is_none_or(|org| org == presented.active_org_id);
        match tokens.rotate(&presented.token_hash, &successor, bound) {
            Ok(Rotation::Rotated(token)) => {
                prop_assert!(is_bound && token.id == next_id && token.user_id == presented.user_id);
                prop_assert_eq!(token.active_org_id, switch.unwrap_or(presented.active_org_id));
                prop_assert!(tokens.get_valid_by_hash(&token.token_hash, Binding::ANY).unwrap().is_some());
            }
            Ok(other) => prop_assert!(!is_bound && matches!(other, Rotation::Refused(_)), "{other:?}"),
            Err(error) => {
                prop_assert!(has_name(&error), "{error:?}");
                let is_valid = tokens.get_valid_by_hash(&presented.token_hash, Binding::ANY).unwrap().is_some();
                prop_assert!(is_valid, "an error has spent it");
            }
        }
        Ok(())
    });
}

left_out!(on other_tables: "it archives");
/// Every verb that takes an id or an instant, with any.
#[test]
fn the_other_verbs_take_any_id_and_instant_or_name_what_is_wrong() {
    let database = Database::migrated();
    let conn = RefCell::new(database.connect());
    let days = prop_oneof![Just(i32::MIN), Just(-1), Just(0), Just(i32::MAX), any::<i32>()];
    holds(200, &(uuid(), uuid(), instant(), days, any::<u32>()), |(one, other, at, days, months)| {
        let mut conn = conn.borrow_mut();
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        let hash = fresh_hash();
        let outcomes = [
            tokens.revoke(one).map(drop),
            tokens.revoke_token_chain(one).map(drop),
            tokens.revoke_session(one).map(drop),
            tokens.end_session(one).map(drop),
            tokens.revoke_all_for_user(one).map(drop),
            tokens.revoke_all_for_user_except(one, other).map(drop),
            tokens.revoke_all_for_user_except_session(one, other).map(drop),
            tokens.revoke_all_for_user_in_org(one, other).map(drop),
            tokens.revoke_all_for_org(one).map(drop),
            tokens.get_active_tokens_for_user(one).map(drop),
            tokens.list_sessions(&SessionQuery::of_user(one)).map(drop),
            tokens.get_valid_by_hash(&hash, Binding::user(one).org(other)).map(drop),
            tokens
                .redeem(&hash, &Successor::expiring_at(one, hash.clone(), at), Binding::ANY, OnReuse::RevokeUser)
                .map(drop),
            tokens.cleanup_expired(days).map(drop),
            tokens.create_archive_partitions(if months % 2 == 0 { months } else { months % 3 }).map(drop),
            tokens.drop_archived_before(at).map(drop),
        ];
        for outcome in outcomes {
            prop_assert!(outcome.as_ref().err().is_none_or(has_name), "{one}, {other}, {at}: {outcome:?}");
        }
        Ok(())
    });
}

/// More requests than a statement has parameters, a few of which are good, and many of which are the same.
#[test]
fn a_list_of_any_length_is_answered_one_by_one() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.rotate_many(&[]), Ok(Vec::new()));
    let good: Vec<TokenHash> = (0..3).map(|_| tokens.create(&new_token()).unwrap().token_hash).collect();
    let same = RotationRequest::new(fresh_hash(), successor());
    let mut requests = vec![same; 40_000];
    requests.extend((0..30_000_u128).map(|number| {
        let hash = TokenHash::new(format!("{number}")).unwrap();
        RotationRequest::new(hash, Successor::expiring_at(Uuid::from_u128(number + 1), fresh_hash(), in_days(1)))
    }));
    for (place, hash) in [0, 35_000, 69_999].into_iter().zip(&good) {
        requests[place] = RotationRequest::new(hash.clone(), successor());
    }
    let outcomes = tokens.rotate_many(&requests).unwrap();
    assert_eq!(outcomes.len(), requests.len());
    let rotated = outcomes.iter().enumerate().filter(|(_, outcome)| matches!(outcome, Ok(Rotation::Rotated(_))));
    assert_eq!(rotated.map(|(place, _)| place).collect::<Vec<_>>(), [0, 35_000, 69_999]);
    let rows: i64 = dsl::refresh_tokens.count().get_result(&mut conn).unwrap();
    assert_eq!(rows, 6);
}
