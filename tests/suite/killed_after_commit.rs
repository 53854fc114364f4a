//! Invariant 6 by every verb: the server is killed after it has committed and before it answers, which a synchronous
//! standby that does not exist makes last. What was committed is there, and the same request says so.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use refresh_tokens::{
    Binding, BreachResponse, Error, NewRefreshToken, OnReuse, Redemption, RefreshToken, RefreshTokenStore, Result,
    Rotation, RotationRequest, StoreConfig, Successor, TokenHash, TokenRevocation,
};
use refresh_tokens_support::doc::{new_token, successor};
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::{Database, Server, race};

/// What a verb is called with: a live token, whose predecessor is spent.
#[derive(Debug, Clone)]
struct Case {
    login: NewRefreshToken,
    spent: TokenHash,
    live: RefreshToken,
    successor: Successor,
}

impl Case {
    fn new(store: &RefreshTokenStore) -> Self {
        let spent = store.create(&new_token()).unwrap().token_hash;
        let Rotation::Rotated(live) = store.rotate(&spent, &successor(), Binding::ANY).unwrap() else { panic!() };
        Self { login: new_token(), spent, live, successor: successor() }
    }
}

/// A verb with the word for its answer.
type Verb = fn(&RefreshTokenStore, &Case) -> Result<&'static str>;

fn ended(is_any: bool) -> &'static str {
    if is_any { "ended" } else { "nothing left" }
}

fn rotation(rotation: &Rotation) -> &'static str {
    match rotation {
        Rotation::Rotated(_) => "rotated",
        Rotation::Repeated(_) => "repeated",
        Rotation::Refused(_) => "refused",
    }
}

/// Each with its answer when the request is sent again.
const VERBS: &[(&str, Verb, Result<&str>)] = &[
    ("create", |store, case| store.create(&case.login).map(|_| "created"), Err(Error::DuplicateId)),
    (
        "rotate",
        |store, case| store.rotate(&case.live.token_hash, &case.successor, Binding::ANY).map(|it| rotation(&it)),
        Ok("repeated"),
    ),
    (
        "rotate_many",
        |store, case| {
            let request = RotationRequest::new(case.live.token_hash.clone(), case.successor.clone());
            let outcomes = store.rotate_many(&[request])?;
            outcomes[0].as_ref().map(rotation).map_err(Clone::clone)
        },
        Ok("repeated"),
    ),
    (
        "rotate_to",
        |store, case| {
            store.transaction(|tx| match tx.get_valid_for_rotation(&case.live.token_hash, Binding::ANY)? {
                Some(locked) => locked.rotate_to(&case.successor).map(|_| "rotated"),
                None => Ok("refused"),
            })
        },
        Ok("refused"),
    ),
    (
        "redeem",
        |store, case| {
            let on_reuse = OnReuse::RevokeSession;
            Ok(match store.redeem(&case.live.token_hash, &case.successor, Binding::ANY, on_reuse)? {
                Redemption::Rotated { .. } => "rotated",
                Redemption::Repeated { .. } => "repeated",
                _ => "refused",
            })
        },
        Ok("repeated"),
    ),
    (
        "redeem of a spent one",
        |store, case| {
            let redemption = store.redeem(&case.spent, &case.successor, Binding::ANY, OnReuse::RevokeSession)?;
            Ok(match redemption {
                Redemption::Reused { response, .. } => ended(matches!(response, BreachResponse::Given(_))),
                _ => "no reuse",
            })
        },
        Ok("nothing left"),
    ),
    ("revoke", |store, case| store.revoke(case.live.id).map(|it| ended(it != TokenRevocation::Unchanged)), LEFT),
    (
        "revoke_by_hash",
        |store, case| store.revoke_by_hash(&case.live.token_hash).map(|it| ended(it.is_revoked())),
        LEFT,
    ),
    ("revoke_token_chain", |store, case| store.revoke_token_chain(case.live.id).map(|it| ended(it.live > 0)), LEFT),
    ("revoke_session", |store, case| store.revoke_session(case.live.session_id).map(|it| ended(it.live > 0)), LEFT),
    ("end_session", |store, case| store.end_session(case.live.session_id).map(|it| ended(it.live > 0)), LEFT),
    (
        "revoke_all_for_user",
        |store, case| store.revoke_all_for_user(case.live.user_id).map(|it| ended(it.live > 0)),
        LEFT,
    ),
    (
        "revoke_all_for_user_in_org",
        |store, case| {
            store.revoke_all_for_user_in_org(case.live.user_id, case.live.active_org_id).map(|it| ended(it.live > 0))
        },
        LEFT,
    ),
];

const LEFT: Result<&str> = Ok("nothing left");

fn happened(store: &RefreshTokenStore, verb: &str, case: &Case) -> bool {
    match verb {
        "create" => store.get_by_hash(&case.login.token_hash).unwrap().is_some(),
        _ => store.get_valid_by_hash(&case.live.token_hash, Binding::ANY).unwrap().is_none(),
    }
}

fn are_waiting(conn: &mut PgConnection) -> i64 {
    #[derive(QueryableByName)]
    struct Waiting {
        #[diesel(sql_type = BigInt)]
        processes: i64,
    }
    let query = "SELECT count(*) AS processes FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    sql_query(query).get_result::<Waiting>(conn).unwrap().processes
}

/// Only the answer is missing.
#[test]
fn invariant_6_killed_between_commit_and_answer() {
    let mut server = Server::temporary(Durability::Process).unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let database = Database::migrated_on(&server.url());
    let store = RefreshTokenStore::connect(database.url(), &StoreConfig::default().max_connections(2)).unwrap();
    for (name, verb, second) in VERBS {
        let case = Case::new(&store);
        let mut operator = database.connect();
        operator.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").unwrap();
        operator.batch_execute("SELECT pg_reload_conf()").unwrap();
        // Each process reads the new setting between two of its statements.
        let shown = std::cell::RefCell::new(database.connect());
        race::wait_for(|| {
            let query = "SELECT 1 FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting = 'nobody'";
            sql_query(query).execute(&mut *shown.borrow_mut()) == Ok(1)
        });
        let worker = std::thread::spawn({
            let (store, case, verb) = (store.clone(), case.clone(), *verb);
            move || verb(&store, &case)
        });
        let observer = std::cell::RefCell::new(&mut operator);
        race::wait_for(|| are_waiting(*observer.borrow_mut()) == 1);
        operator.batch_execute("ALTER SYSTEM RESET ALL").unwrap();
        server.crash().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(worker.join().unwrap(), Err(Error::ConnectionLost), "{name}");
        assert!(happened(&store, name, &case), "{name}");
        assert_eq!(verb(&store, &case), *second, "{name}");
        assert!(happened(&store, name, &case), "{name}");
    }
}
