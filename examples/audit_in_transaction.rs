//! A rotation and the host's own audit row, in one transaction: both are committed, or neither.
//!
//! Paste `refresh`. Run it: `cargo run --example audit_in_transaction`.

#![expect(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{Binding, OnReuse, Redemption, RefreshToken, RefreshTokenRepository, Successor, TokenHash};
use refresh_tokens_support::{Database, doc};
use uuid::Uuid;

diesel::table! {
    /// The host's own.
    audit (token_id) {
        /// The successor.
        token_id -> Uuid,
        /// The session that it belongs to.
        session_id -> Uuid,
        /// Where the request came from.
        address -> Text,
    }
}

/// Rotates and records it. `None` if the token was refused: then, of reuse, its session was revoked.
fn refresh(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    address: &str,
) -> Result<Option<RefreshToken>, refresh_tokens::Error> {
    let on_reuse = OnReuse::RevokeSession;
    RefreshTokenRepository::new(conn).transaction(|tx| {
        match tx.redeem(presented, successor, Binding::ANY, on_reuse)? {
            Redemption::Rotated { token, .. } | Redemption::Repeated { token, .. } => {
                diesel::insert_into(audit::table)
                    .values((
                        audit::token_id.eq(token.id),
                        audit::session_id.eq(token.session_id),
                        audit::address.eq(address),
                    ))
                    .on_conflict_do_nothing() // the same request, sent again after its answer was lost
                    .execute(tx.connection())?; // an error here takes the rotation back
                Ok(Some(token))
            }
            // And not Err, which would take the breach response back.
            Redemption::Reused { .. } | Redemption::Refused(_) => Ok(None),
        }
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::migrated();
    let conn = &mut database.connect();
    conn.batch_execute(
        "CREATE TABLE audit (token_id uuid PRIMARY KEY, session_id uuid NOT NULL,
                             address text NOT NULL CHECK (address <> ''))",
    )?;
    let login = RefreshTokenRepository::new(conn).create(&doc::new_token())?;
    let successor = doc::successor();

    // The audit row is refused, so the rotation did not happen: the token is as it was.
    let failed = refresh(conn, &login.token_hash, &successor, "");
    let Err(error) = failed else { return Err("expected the CHECK to refuse an empty address".into()) };
    println!("Without an address: {error}.");
    assert_eq!(live_tokens(conn, &login)?, [login.id]);
    assert!(audited(conn)?.is_empty());

    // The same request, well-formed: both happened.
    let token = refresh(conn, &login.token_hash, &successor, "192.0.2.7")?.ok_or("expected it to be valid still")?;
    println!("With an address: generation {} and its audit row.", token.generation);
    assert_eq!(live_tokens(conn, &login)?, [token.id]);
    assert_eq!(audited(conn)?, [token.id]);

    // Inside a larger transaction of the host's, it is a savepoint: the outermost decides about both.
    let outer: Result<(), Box<dyn Error>> = conn.transaction(|conn| {
        let next =
            refresh(conn, &token.token_hash, &doc::successor(), "192.0.2.7")?.ok_or("expected it to be valid")?;
        assert_eq!(live_tokens(conn, &login)?, [next.id]);
        Err("the host has changed its mind".into())
    });
    println!("Inside a transaction of the host's: {:?}.", outer.map_err(|error| error.to_string()));
    assert_eq!(live_tokens(conn, &login)?, [token.id]);
    assert_eq!(audited(conn)?, [token.id]);

    // Its answer was lost, so it comes again: the same token, and still one audit row.
    assert_eq!(refresh(conn, &login.token_hash, &successor, "192.0.2.7")?, Some(token.clone()));
    assert_eq!(audited(conn)?, [token.id]);
    println!("The same request again: the same answer.");

    // A copy of the spent token: refused, and the chain is ended, in the same transaction.
    assert_eq!(refresh(conn, &login.token_hash, &doc::successor(), "198.51.100.4")?, None);
    assert!(live_tokens(conn, &login)?.is_empty());
    println!("A copy of the spent token: refused, and the session is over.");
    Ok(())
}

fn live_tokens(conn: &mut PgConnection, login: &RefreshToken) -> Result<Vec<Uuid>, refresh_tokens::Error> {
    let live = RefreshTokenRepository::new(conn).get_active_tokens_for_user(login.user_id)?;
    Ok(live.iter().map(|token| token.id).collect())
}

fn audited(conn: &mut PgConnection) -> QueryResult<Vec<Uuid>> {
    audit::table.select(audit::token_id).load(conn)
}
