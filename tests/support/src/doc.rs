//! Sample values for the examples in the documentation.

use std::ops::{Deref, DerefMut};

use chrono::{DateTime, Duration, Utc};
pub use diesel::prelude::*;
use refresh_tokens::{
    NewRefreshToken, Pepper, Peppers, RefreshTokenStore, SessionOptions, SessionPolicy, SessionService, Successor,
    TokenHash,
};
use uuid::Uuid;

use crate::Database;

/// A connection to a migrated schema of its own.
#[expect(missing_debug_implementations, reason = "PgConnection has none")]
pub struct Connection {
    conn: PgConnection,
    _database: Database,
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.conn
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.conn
    }
}

/// A connection to a migrated schema of its own.
pub fn connection() -> Connection {
    let database = Database::migrated();
    Connection { conn: database.connect(), _database: database }
}

/// A migrated schema.
pub fn database() -> Database {
    Database::migrated()
}

/// A pooled store over it.
pub fn store(database: &Database) -> RefreshTokenStore {
    RefreshTokenStore::connect(database.url(), &database.config().max_connections(4))
        .expect("the database that was just made answers")
}

/// A token of a new user, valid for 30 days.
pub fn new_token() -> NewRefreshToken {
    NewRefreshToken {
        id: Uuid::new_v4(),
        user_id: Uuid::new_v4(),
        token_hash: fresh_hash(),
        active_org_id: Uuid::new_v4(),
        expires_at: in_days(30),
        session: SessionOptions::default(),
    }
}

/// A successor, valid for 30 days.
pub fn successor() -> Successor {
    Successor::expiring_at(Uuid::new_v4(), fresh_hash(), in_days(30))
}

/// A hash that no token has.
pub fn fresh_hash() -> TokenHash {
    TokenHash::new(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())).expect("it is valid")
}

/// This many days from now, by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "sample values; the library judges by the database's clock")]
pub fn in_days(days: i64) -> DateTime<Utc> {
    Utc::now() + Duration::days(days)
}

/// A service over it, with one pepper.
pub fn service(database: &Database) -> SessionService {
    let pepper = Pepper::new(1, &[7; Pepper::MIN_LENGTH]).expect("it is long enough");
    SessionService::new(store(database), Peppers::new(pepper), SessionPolicy::default())
        .expect("the policy is the default")
}
