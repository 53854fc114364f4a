//! Many at once: bounded, calm, and with a typed answer for each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use refresh_tokens::{
    Binding, BreachResponse, Error, OnReuse, Redemption, RefreshToken, RefreshTokenRepository, RefreshTokenStore,
    Refusal, Rotation, Successor, Wait,
};
use refresh_tokens_support::doc::{new_token, successor};
use refresh_tokens_support::{Database, race};

use uuid::Uuid;

use crate::common::{create, is_valid};

/// So many threads, all at the same moment.
fn at_once<T: Send + 'static>(threads: usize, work: impl Fn() -> T + Send + Sync + 'static) -> Vec<T> {
    let (start, work) = (Arc::new(Barrier::new(threads)), Arc::new(work));
    let threads: Vec<_> = (0..threads)
        .map(|_| {
            let (start, work) = (Arc::clone(&start), Arc::clone(&work));
            std::thread::spawn(move || {
                start.wait();
                work()
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
}

#[test]
fn of_64_who_present_one_token_one_wins_and_the_others_are_told() {
    let database = Database::migrated();
    let store = RefreshTokenStore::connect(database.url(), &database.config().max_connections(8)).unwrap();
    let token = store.create(&new_token()).unwrap();
    let (presenters, hash) = (store.clone(), token.token_hash.clone());
    let outcomes = at_once(64, move || presenters.rotate(&hash, &successor(), Binding::ANY));
    let won = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Rotation::Rotated(_)))).count();
    let told = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Rotation::Refused(Refusal::Reused(_))))).count();
    assert_eq!((won, told), (1, 63), "{outcomes:?}");

    // The same with redeem: one response for all the losers, and the winner's token is dead.
    let token = store.create(&new_token()).unwrap();
    let (presenters, hash) = (store.clone(), token.token_hash.clone());
    let outcomes =
        at_once(64, move || presenters.redeem(&hash, &successor(), Binding::ANY, OnReuse::RevokeSession).unwrap());
    let count = |kind: fn(&Redemption) -> bool| outcomes.iter().filter(|outcome| kind(outcome)).count();
    assert_eq!(count(|outcome| matches!(outcome, Redemption::Rotated { .. })), 1);
    let given = |outcome: &Redemption| matches!(outcome, Redemption::Reused { response: BreachResponse::Revoked(receipt), .. } if receipt.live == 1);
    assert_eq!(count(given), 1);
    let before =
        |outcome: &Redemption| matches!(outcome, Redemption::Reused { response: BreachResponse::AlreadyHandled, .. });
    assert_eq!(count(before), 62);
    assert_eq!(store.get_active_tokens_for_user(token.user_id), Ok(Vec::new()));
}

/// Somebody holds the row for longer than the bound: each waiter is told so, by the lock or by the pool, and the
/// connections are free again.
#[test]
fn invariant_9_64_waiters_for_a_row_that_is_held_are_all_answered() {
    let database = Database::migrated().with(&[("lock_timeout", "50ms")]);
    let config = database
        .config()
        .max_connections(4)
        .lock_timeout(Duration::from_millis(50))
        .pool_timeout(Duration::from_secs(20));
    let store = RefreshTokenStore::connect(database.url(), &config).unwrap();
    let token = store.create(&new_token()).unwrap();
    let (presenters, hash) = (store.clone(), token.token_hash.clone());
    let outcomes = RefreshTokenRepository::new(&mut database.connect())
        .transaction(|tx| {
            let _held = tx.get_valid_for_rotation(&token.token_hash, Binding::ANY)?;
            Ok(at_once(64, move || presenters.rotate(&hash, &successor(), Binding::ANY)))
        })
        .unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Err(Error::Busy(Wait::Lock))), "{outcomes:?}");
    assert_eq!(store.pool().state().idle_connections, store.pool().state().connections, "none is pinned");
    assert!(matches!(store.rotate(&token.token_hash, &successor(), Binding::ANY), Ok(Rotation::Rotated(_))));
}

/// The table answers the first so many rotations with what a deadlock or a serialization failure would say.
fn conflicts(conn: &mut PgConnection, times: usize, code: &str) {
    conn.batch_execute(&format!(
        "CREATE SEQUENCE conflicts MINVALUE 0 START 0;
         CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('conflicts') < {times} THEN
                 RAISE 'deadlock detected' USING ERRCODE = '{code}';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER conflict BEFORE UPDATE ON refresh_tokens FOR EACH ROW EXECUTE FUNCTION conflict()"
    ))
    .unwrap();
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
#[test]
fn the_store_runs_a_transaction_again_that_the_server_rolled_back() {
    for code in ["40P01", "40001"] {
        let database = Database::migrated();
        let store = RefreshTokenStore::connect(database.url(), &database.config()).unwrap();
        let [by_verb, by_closure, by_host] = [(); 3].map(|()| store.create(&new_token()).unwrap());
        conflicts(&mut database.connect(), 3, code);
        let rotated = store.rotate(&by_verb.token_hash, &successor(), Binding::ANY);
        assert!(matches!(rotated, Ok(Rotation::Rotated(_))), "{rotated:?}");

        let reset = "ALTER SEQUENCE conflicts RESTART";
        database.connect().batch_execute(reset).unwrap();
        let runs = AtomicUsize::new(0);
        let rotated = store.transaction(|tx| {
            runs.fetch_add(1, Ordering::SeqCst);
            tx.rotate(&by_closure.token_hash, &successor(), Binding::ANY)
        });
        assert!(matches!(rotated, Ok(Rotation::Rotated(_))), "{rotated:?}");
        assert_eq!(runs.load(Ordering::SeqCst), 4, "once, and again from its start");

        // A bound is a bound, and an error type of the host's own is the host's.
        database.connect().batch_execute(reset).unwrap();
        let impatient = RefreshTokenStore::connect(database.url(), &database.config().conflict_retries(2)).unwrap();
        assert_eq!(impatient.revoke_all_for_user(by_host.user_id), Err(Error::Conflict));
        database.connect().batch_execute(reset).unwrap();
        let once = store.transaction_with(|tx| tx.revoke_session(by_host.session_id));
        assert_eq!(once, Err(Error::Conflict));
        assert!(is_valid(&database, &by_host.token_hash), "each time it was rolled back");
        assert_eq!(store.revoke_session(by_host.session_id).map(|receipt| receipt.live), Ok(1));
    }
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
/// A host that rotates first and revokes afterwards, in one transaction, takes the locks in the wrong order. The server ends
/// the deadlock, the store runs its side again, the host is told, and nothing survives.
#[test]
fn a_host_that_locks_in_the_wrong_order_meets_a_conflict_and_not_a_wrong_answer() {
    let database = Database::migrated();
    let store = RefreshTokenStore::connect(database.url(), &database.config()).unwrap();
    let token = store.create(&new_token()).unwrap();
    let user_id = token.user_id;
    let mut host = database.connect();
    let everywhere = race::Rival::on(&database);
    let outcome = RefreshTokenRepository::new(&mut host).transaction(|tx| {
        let rotated = tx.rotate(&token.token_hash, &successor(), Binding::ANY)?;
        let Rotation::Rotated(kept) = rotated else { panic!("{rotated:?}") };
        everywhere
            .waits_for(tx.connection(), move |conn| RefreshTokenRepository::new(conn).revoke_all_for_user(user_id));
        tx.revoke_all_for_user_except(user_id, kept.id)
    });
    let everywhere = everywhere.join();
    // Whichever of the two the server chose.
    match (&outcome, &everywhere) {
        (Err(Error::Conflict), Ok(receipt)) => assert_eq!((receipt.tokens, receipt.live), (1, 1)),
        (Ok(receipt), Err(Error::Conflict)) => assert_eq!(receipt.live, 0),
        other => panic!("{other:?}"),
    }
    store.revoke_all_for_user(user_id).unwrap();
    assert_eq!(store.get_active_tokens_for_user(user_id), Ok(Vec::new()));
}

left_out!(under serializable: "it counts conflicts");
/// The library's own transactions ask for READ COMMITTED, so there is nothing to be made again.
#[test]
fn a_default_of_serializable_costs_nothing() {
    let database = Database::migrated().with(&[("default_transaction_isolation", "serializable")]);
    let config = database.config().max_connections(8).conflict_retries(0);
    let store = RefreshTokenStore::connect(database.url(), &config).unwrap();
    let token = store.create(&new_token()).unwrap();
    let (presenters, hash) = (store.clone(), token.token_hash.clone());
    let outcomes = at_once(8, move || presenters.rotate(&hash, &successor(), Binding::ANY));
    let won = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Rotation::Rotated(_)))).count();
    let told = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Rotation::Refused(Refusal::Reused(_))))).count();
    assert_eq!((won, told), (1, 7), "{outcomes:?}");
    let receipt = store.revoke_session(token.session_id).unwrap();
    assert_eq!((receipt.tokens, receipt.live), (2, 1));
}

type Verb<'a> = &'a dyn Fn(&mut RefreshTokenRepository<'_>) -> Result<(), Error>;

/// A host's old snapshot: each verb is right, or says that it has to be run again or elsewhere; none is wrong.
#[test]
fn a_host_in_repeatable_read_or_serializable_is_never_told_wrong() {
    for serializable in [false, true] {
        let database = Database::migrated();
        let mut conn = database.connect();
        // What a host is told whose snapshot is from before `change`.
        let told = |change: Verb<'_>, verb: Verb<'_>| {
            let mut host = database.connect();
            let transaction = host.build_transaction();
            let mut transaction = if serializable { transaction.serializable() } else { transaction.repeatable_read() };
            transaction.run(|host| {
                host.batch_execute("SELECT count(*) FROM refresh_tokens")?;
                change(&mut RefreshTokenRepository::new(&mut database.connect()))?;
                verb(&mut RefreshTokenRepository::new(host))
            })
        };
        let rotate = |token: &RefreshToken, to: &Successor| {
            let (hash, to) = (token.token_hash.clone(), to.clone());
            move |tokens: &mut RefreshTokenRepository<'_>| tokens.rotate(&hash, &to, Binding::ANY).map(drop)
        };
        // Rotated, or revoked, since the snapshot.
        let token = create(&mut conn);
        assert_eq!(told(&rotate(&token, &successor()), &rotate(&token, &successor())), Err(Error::Conflict));
        let revoke: Verb<'_> = &|tokens| tokens.revoke(token.id).map(|_| ());
        assert_eq!(told(revoke, revoke), Err(Error::Conflict));
        // The same request again, whose successor has ended since.
        let (token, made) = (create(&mut conn), successor());
        rotate(&token, &made)(&mut RefreshTokenRepository::new(&mut conn)).unwrap();
        let end: Verb<'_> = &|tokens| tokens.revoke_session(token.session_id).map(|_| ());
        assert_eq!(told(end, &rotate(&token, &made)), Err(Error::Conflict));
        // The organisation that it switches to was revoked since.
        let (token, org) = (create(&mut conn), Uuid::new_v4());
        let bar: Verb<'_> = &|tokens| tokens.revoke_all_for_user_in_org(token.user_id, org).map(|_| ());
        let switch = rotate(&token, &successor().active_org_id(org));
        assert_eq!(told(bar, &switch), Err(Error::Conflict));
        // Born since the snapshot, which cannot see it.
        for by_hash in [false, true] {
            let new = new_token();
            let be_born: Verb<'_> = &|tokens| tokens.create(&new).map(drop);
            let revoke: Verb<'_> = &|tokens| {
                let revoked = if by_hash { tokens.revoke_by_hash(&new.token_hash) } else { tokens.revoke(new.id) };
                revoked.map(|_| ())
            };
            assert_eq!(told(be_born, revoke), Err(Error::IsolationTooHigh));
        }
    }
}
