//! Steps that several tests take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::connection::{InstrumentationEvent, SimpleConnection};
use diesel::prelude::*;
use refresh_tokens::{
    Binding, RefreshToken, RefreshTokenRepository, RefreshTokenStore, Rotation, StoreConfig, Successor, TokenHash,
};
use refresh_tokens_support::doc::{fresh_hash, in_days, new_token};
use refresh_tokens_support::{Database, reference};
use uuid::Uuid;

/// Who runs a verb in a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Reference,
    Library,
}

/// What the reference calls the new token of a rotation.
pub(crate) fn new_hash(token_hash: &TokenHash) -> reference::NewHash {
    reference::NewHash {
        id: Uuid::new_v4(),
        token_hash: token_hash.expose().to_owned(),
        expires_at: in_days(30),
        active_org_id: None,
    }
}

/// Rotates a valid token in the caller's transaction, if there is one, and returns the successor's hash.
pub(crate) fn rotate(by: By, conn: &mut PgConnection, presented: &TokenHash) -> TokenHash {
    let successor_hash = fresh_hash();
    match by {
        By::Reference => {
            let new = new_hash(&successor_hash);
            let rotated = reference::rotate(conn, presented.expose(), &new, None).expect("it rotates");
            assert!(rotated.is_some(), "it is valid");
        }
        By::Library => {
            let successor = Successor::expiring_at(Uuid::new_v4(), successor_hash.clone(), in_days(30));
            let outcome =
                RefreshTokenRepository::new(conn).rotate(presented, &successor, Binding::ANY).expect("it rotates");
            assert!(matches!(outcome, Rotation::Rotated(_)), "{outcome:?}");
        }
    }
    successor_hash
}

pub(crate) fn create(conn: &mut PgConnection) -> RefreshToken {
    RefreshTokenRepository::new(conn).create(&new_token()).expect("it is new")
}

/// A store whose wait for a connection may be too short for its first one on a busy machine.
pub(crate) fn open_patiently(url: &str, config: &StoreConfig) -> RefreshTokenStore {
    let attempts = std::iter::repeat_with(|| RefreshTokenStore::connect(url, config).ok());
    attempts.take(100).flatten().next().expect("the database answers")
}

/// The row, whatever its state.
pub(crate) fn row(conn: &mut PgConnection, hash: &TokenHash) -> RefreshToken {
    RefreshTokenRepository::new(conn).get_by_hash(hash).expect("it can be read").expect("it exists")
}

pub(crate) fn is_valid(database: &Database, hash: &TokenHash) -> bool {
    RefreshTokenRepository::new(&mut database.connect())
        .get_valid_by_hash(hash, Binding::ANY)
        .expect("it can be read")
        .is_some()
}

/// A session of so many tokens, the last of which is live: their hashes, oldest first.
pub(crate) fn chain(conn: &mut PgConnection, length: usize) -> Vec<TokenHash> {
    let mut hashes = vec![create(conn).token_hash];
    while hashes.len() < length {
        let successor = rotate(By::Library, conn, &hashes[hashes.len() - 1]);
        hashes.push(successor);
    }
    hashes
}

/// Makes a token expire this many days ago.
pub(crate) fn expire(conn: &mut PgConnection, hash: &TokenHash, days_ago: i64) {
    use refresh_tokens::schema::refresh_tokens::dsl;
    diesel::update(dsl::refresh_tokens.filter(dsl::token_hash.eq(hash)))
        .set(dsl::expires_at.eq(in_days(-days_ago)))
        .execute(conn)
        .expect("the row can be written");
}

/// Statements that reach the server while `work` runs, savepoints and COMMIT included.
pub(crate) fn statements(conn: &mut PgConnection, work: impl FnOnce(&mut PgConnection)) -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if matches!(event, InstrumentationEvent::StartQuery { .. }) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    work(conn);
    conn.set_instrumentation(|_: InstrumentationEvent<'_>| {});
    count.load(Ordering::SeqCst)
}

/// A migrated database whose `search_path` has another schema before that of the tables; the test drops that one.
pub(crate) fn behind_another_schema() -> (Database, String) {
    let home = Database::migrated();
    let elsewhere = format!("{}_elsewhere", home.schema());
    home.connect_directly().batch_execute(&format!("CREATE SCHEMA {elsewhere}")).unwrap();
    let path = format!("{elsewhere}, {}", home.schema());
    (home.with(&[("search_path", &path)]), elsewhere)
}
