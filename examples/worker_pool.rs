//! One `RefreshTokenStore` for all worker threads, and what to do when a call fails for a moment.
//!
//! Paste `rotate_patiently`. Run it: `cargo run --example worker_pool`.

#![expect(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use diesel::prelude::*;
use refresh_tokens::{
    Binding, Error, RefreshToken, RefreshTokenStore, Rotation, StoreConfig, Successor, TokenHash, schema,
};
use refresh_tokens_support::{Database, doc};

const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(800)];

/// Rotates; where trying again may help, does so a few times, and then gives up with the error.
///
/// It is the same successor every time. If an attempt had been committed although its answer was lost, the next
/// one gets that answer; with a fresh successor it would look like theft.
fn rotate_patiently(
    store: &RefreshTokenStore,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
    mut on_retry: impl FnMut(&Error),
) -> Result<Rotation, Error> {
    for pause in PAUSES {
        match store.rotate(presented, successor, binding) {
            Err(error) if error.is_transient() => {
                on_retry(&error);
                #[expect(clippy::disallowed_methods, reason = "a back-off; bounded by PAUSES")]
                thread::sleep(pause);
            }
            answer => return answer,
        }
    }
    store.rotate(presented, successor, binding)
}

/// A client that refreshes so many times; returns its last token.
fn client(store: &RefreshTokenStore, rotations: u32) -> Result<RefreshToken, Box<dyn std::error::Error + Send + Sync>> {
    let mut token = store.create(&doc::new_token())?;
    for _ in 0..rotations {
        let binding = Binding::user(token.user_id);
        match rotate_patiently(store, &token.token_hash, &doc::successor(), binding, |_| {})? {
            Rotation::Rotated(successor) | Rotation::Repeated(successor) => token = successor,
            Rotation::Refused(refusal) => return Err(format!("nobody else has this token: {refusal:?}").into()),
        }
    }
    Ok(token)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const CLIENTS: usize = 8;
    const ROTATIONS: u32 = 25;
    let database = Database::migrated();
    // Fewer connections than threads: a call that finds none free waits, but not for ever.
    let config = StoreConfig::default().max_connections(4).lock_timeout(Duration::from_millis(100));
    let store = RefreshTokenStore::connect(database.url(), &config)?;

    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let store = store.clone(); // clones share one pool
            thread::spawn(move || client(&store, ROTATIONS))
        })
        .collect();
    for client in clients {
        let last = client.join().map_err(|_| "a client panicked")?.map_err(|error| error.to_string())?;
        assert_eq!(last.generation, i32::try_from(ROTATIONS)?);
        assert_eq!(store.get_active_tokens_for_user(last.user_id)?, [last], "one live token per session");
    }
    println!("{CLIENTS} threads have rotated {ROTATIONS} times each, on 4 connections.");

    // Now somebody holds a token's row for longer than the store waits, until the first attempt has failed.
    let token = store.create(&doc::new_token())?;
    let (failed, first_failure) = mpsc::channel();
    let mut other = database.connect();
    let rotation = other.transaction(|other| {
        let row = schema::refresh_tokens::table.find(token.id);
        row.for_update().select(schema::refresh_tokens::id).first::<uuid::Uuid>(other)?;
        let (store, presented, user) = (store.clone(), token.token_hash.clone(), Binding::user(token.user_id));
        let worker = thread::spawn(move || {
            rotate_patiently(&store, &presented, &doc::successor(), user, |error| {
                failed.send(error.clone()).unwrap_or_default();
            })
        });
        let error = first_failure.recv_timeout(Duration::from_secs(10))?;
        println!("A row that is held: {error}.");
        assert!(matches!(error, Error::Busy(_)));
        Ok::<_, Box<dyn std::error::Error>>(worker)
    })?; // COMMIT lets the row go
    let rotation = rotation.join().map_err(|_| "the worker panicked")??;
    assert!(matches!(rotation, Rotation::Rotated(_)));
    println!("It was let go, and a later attempt has rotated it.");
    Ok(())
}
