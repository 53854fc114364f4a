//! A COMMIT that the server refuses by name: it was rolled back, and everybody knows.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Uuid as SqlUuid;
use refresh_tokens::{Binding, Error, RefreshTokenRepository, Result};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{new_token, successor};
use uuid::Uuid;

use crate::common::{is_valid, row};

/// The host ties the organisation of a token to a table of its own, and has it checked at COMMIT.
fn with_deferred_constraint() -> (Database, PgConnection) {
    let database = Database::migrated();
    let mut conn = database.connect();
    conn.batch_execute(
        "CREATE TABLE organisations (id uuid PRIMARY KEY);
         ALTER TABLE refresh_tokens ADD CONSTRAINT of_organisation FOREIGN KEY (active_org_id)
             REFERENCES organisations DEFERRABLE INITIALLY DEFERRED",
    )
    .unwrap();
    (database, conn)
}

fn assert_is_known<T: std::fmt::Debug>(outcome: Result<T>) {
    let error = outcome.unwrap_err();
    assert!(matches!(&error, Error::Database { message } if message.contains("of_organisation")), "{error:?}");
    assert!(!error.is_outcome_unknown() && !error.is_transient(), "{error:?}");
}

#[test]
fn what_a_deferred_constraint_refuses_is_known_not_to_have_happened() {
    let (database, mut conn) = with_deferred_constraint();
    let new = new_token();
    sql_query("INSERT INTO organisations VALUES ($1)")
        .bind::<SqlUuid, _>(new.active_org_id)
        .execute(&mut conn)
        .unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let token = tokens.create(&new).unwrap();
    assert_is_known(tokens.create(&new_token()));
    let elsewhere = successor().active_org_id(Uuid::new_v4());
    assert_is_known(tokens.rotate(&token.token_hash, &elsewhere, Binding::ANY));
    assert_is_known(tokens.transaction(|tx| tx.rotate(&token.token_hash, &elsewhere, Binding::ANY)));
    assert_is_known(tokens.transaction(|tx| tx.create(&new_token())));
    assert_eq!(row(&mut conn, &token.token_hash), token, "nothing has happened");
    assert!(is_valid(&database, &token.token_hash));
}
