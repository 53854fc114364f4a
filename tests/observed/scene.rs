//! A database, and what has to be in it.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Integer;
use refresh_tokens::{NewRefreshToken, RefreshToken, RefreshTokenRepository};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::new_token;
use uuid::Uuid;

pub(crate) struct Scene {
    pub(crate) database: Database,
    pub(crate) conn: PgConnection,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let database = Database::migrated();
        let conn = database.connect();
        Self { database, conn }
    }

    pub(crate) fn tokens(&mut self) -> RefreshTokenRepository<'_> {
        RefreshTokenRepository::new(&mut self.conn)
    }

    pub(crate) fn create(&mut self) -> RefreshToken {
        self.tokens().create(&new_token()).unwrap()
    }

    pub(crate) fn create_for(&mut self, user_id: Uuid) -> RefreshToken {
        self.tokens().create(&NewRefreshToken { user_id, ..new_token() }).unwrap()
    }

    pub(crate) fn sql(&mut self, statements: &str) {
        self.conn.batch_execute(statements).unwrap();
    }

    /// Ends the lifetime of every token that there is.
    pub(crate) fn expire_all(&mut self) {
        self.sql("UPDATE refresh_tokens SET expires_at = now() - interval '1 day'");
    }

    /// Rows that clean-up finds due.
    pub(crate) fn expired_rows(&mut self, rows: i32) {
        sql_query(
            "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
             SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid()::text, gen_random_uuid(),
                 now() - interval '60 days' + interval '1 second' * n
             FROM generate_series(1, $1) n",
        )
        .bind::<Integer, _>(rows)
        .execute(&mut self.conn)
        .unwrap();
    }
}
