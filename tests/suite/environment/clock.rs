//! The server's clock is set back by a day. Nothing that was spent or ended comes back; what is judged by the clock alone
//! is judged by the clock as it is.

left_out!(module, through pgbouncer: "it starts servers of its own");

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use refresh_tokens::{
    Binding, Error, InvalidInput, NewRefreshToken, RefreshTokenStore, Refusal, Rotation, SessionOptions, Wait,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{in_days, new_token, successor};
use refresh_tokens_support::faults::Faults;

use super::{AUTHENTICATED, BUSY, LOCK, call, cases, store_on};

const DAY: Duration = Duration::from_secs(86_400);

fn login(user_id: uuid::Uuid, store: &RefreshTokenStore) -> NewRefreshToken {
    let session = SessionOptions::default().authenticated_at(store.now().unwrap());
    NewRefreshToken { user_id, session, ..new_token() }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "LD_PRELOAD is Linux's")]
fn invariant_5_a_clock_that_is_set_back_brings_nothing_back() {
    let (server, faults) = Faults::server(&[]).unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let database = Database::migrated_on(&server.url());
    let store = store_on(&database);
    let cases = cases(&database);
    let spent = store.create(&new_token()).unwrap();
    let Ok(Rotation::Rotated(live)) = store.rotate(&spent.token_hash, &successor(), Binding::ANY) else { panic!() };
    let ended = store.create(&new_token()).unwrap();
    store.revoke_all_for_user(ended.user_id).unwrap();
    let early = login(uuid::Uuid::new_v4(), &store);
    let before = store.now().unwrap();

    faults.set_clock_back(DAY).unwrap();
    let now = store.now().unwrap();
    assert!(now < before - TimeDelta::hours(23), "{now}");
    // What was spent or ended stays so.
    let again = store.rotate(&spent.token_hash, &successor(), Binding::ANY).unwrap();
    assert!(matches!(again, Rotation::Refused(Refusal::Reused(_))), "{again:?}");
    let again = store.rotate(&ended.token_hash, &successor(), Binding::ANY).unwrap();
    assert!(matches!(again, Rotation::Refused(Refusal::Revoked(_))), "{again:?}");
    // A login that is older than the revocation by this clock is refused; one authenticated ahead of it, too.
    assert_eq!(store.create(&login(ended.user_id, &store)).map(drop), Err(Error::RevokedSinceLogin));
    assert_eq!(store.create(&early).map(drop), Err(InvalidInput::AuthenticatedInFuture.into()));
    // A session goes on, and is ended to its last token, though that is older than its predecessor.
    let Ok(Rotation::Rotated(next)) = store.rotate(&live.token_hash, &successor(), Binding::ANY) else { panic!() };
    assert!(next.created_at < live.created_at && next.generation == live.generation + 1);
    assert_eq!(store.cleanup_expired(0), Ok(0));
    assert_eq!(store.revoke_token_chain(spent.id).map(|receipt| receipt.live), Ok(1));
    assert_eq!(store.get_valid_by_hash(&next.token_hash, Binding::ANY), Ok(None));
    // A wait that begins now has its bound.
    let locked = store.create(&new_token()).unwrap();
    let mut holder = database.connect();
    holder.batch_execute("BEGIN; LOCK TABLE refresh_tokens IN ACCESS EXCLUSIVE MODE").unwrap();
    let started = Instant::now();
    assert_eq!(store.revoke(locked.id), Err(Error::Busy(Wait::Lock)));
    assert!(started.elapsed() < LOCK + BUSY);
    holder.batch_execute("COMMIT").unwrap();
    for (verb, case) in &cases {
        let expected = match verb.name {
            // Its login was authenticated in the future.
            AUTHENTICATED => Err(InvalidInput::AuthenticatedInFuture.into()),
            _ => Ok(verb.first),
        };
        assert_eq!(call(&store, verb, case, LOCK), expected, "{}, a day ago", verb.name);
    }

    faults.set_clock_back(Duration::ZERO).unwrap();
    assert!(store.create(&login(ended.user_id, &store)).is_ok());
    // Everybody was revoked, by the clock of yesterday: later than that, this one was authenticated.
    assert!(store.create(&early).is_ok());
    for hash in [&spent.token_hash, &ended.token_hash, &next.token_hash] {
        assert_eq!(store.get_valid_by_hash(hash, Binding::ANY), Ok(None));
    }
}

/// What only its expiry ended is valid again for as long as the clock says that it has not expired: nothing was written
/// when it expired. Whoever cannot bear that revokes.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "LD_PRELOAD is Linux's")]
fn invariant_8_an_expiry_is_judged_by_the_clock_as_it_is() {
    let (server, faults) = Faults::server(&[]).unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let database = Database::migrated_on(&server.url());
    let store = store_on(&database);
    faults.set_clock_back(2 * DAY).unwrap();
    let token = store.create(&NewRefreshToken { expires_at: in_days(-1), ..new_token() }).unwrap();
    faults.set_clock_back(Duration::ZERO).unwrap();
    let expired = store.rotate(&token.token_hash, &successor(), Binding::ANY).unwrap();
    assert!(matches!(expired, Rotation::Refused(Refusal::Expired(_))), "{expired:?}");
    assert!(store.revoke(token.id).unwrap().is_revoked());
    faults.set_clock_back(2 * DAY).unwrap();
    assert_eq!(store.get_valid_by_hash(&token.token_hash, Binding::ANY), Ok(None));
}
