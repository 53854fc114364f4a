//! How long the breach response takes beside the reference's, from the first link of chains of four lengths.
//!
//! `benches/README.md` says how to run it and how to read it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that cannot measure must fail loudly, and its table is what it is run for"
)]

mod common;

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Text, Uuid as SqlUuid};
use refresh_tokens::RefreshTokenRepository;
use refresh_tokens_support::{Database, reference};
use uuid::Uuid;

use crate::common::{Case, Comparison, Contender, Rows, fill};

/// Links of the chain that is revoked; a rotation every quarter of an hour makes 10,000 in 104 days.
const LENGTHS: [i32; 4] = [1, 10, 1_000, 10_000];

/// Rows of other sessions around it, without which the planner would read the whole table.
const OTHERS: Rows = Rows { name: "others", sessions: 10_000, links: 10 };

/// Links that are revoked before the table is put back as it was, and how many chains they make at most.
const LINKS_BETWEEN_RESETS: i32 = 10_000;
const MOST_CHAINS: i32 = 200;

/// The organisation of the chains.
const CHAINS: &str = "chains";

fn main() {
    let mut comparison = Comparison::from_args();
    for links in LENGTHS {
        chain(&mut comparison, links);
    }
    comparison.finish();
}

fn chain(comparison: &mut Comparison, links: i32) {
    let name = format!("revoke_token_chain/{links}");
    comparison.case(&name, 1, &["ours", "reference", "end_session"], |url| {
        let table = Database::migrated_on(url);
        let mut conn = table.connect();
        // Autovacuum would come in the middle of a measurement; `reset` does its work between them.
        conn.batch_execute("ALTER TABLE refresh_tokens SET (autovacuum_enabled = off)").expect("the schema is ours");
        let chains = Rows { name: CHAINS, sessions: (LINKS_BETWEEN_RESETS / links).min(MOST_CHAINS), links };
        fill(&mut conn, &[OTHERS, chains]);
        let links = usize::try_from(links).expect("a length");
        Case {
            contenders: vec![
                contender(ours, &table, links),
                contender(the_reference, &table, links),
                contender(end_session, &table, 1),
            ],
            databases: vec![table],
        }
    });
}

type Revoke = fn(&mut PgConnection, &First) -> usize;

fn ours(conn: &mut PgConnection, first: &First) -> usize {
    RefreshTokenRepository::new(conn).revoke_token_chain(first.id).expect("nobody else is there").tokens
}

fn the_reference(conn: &mut PgConnection, first: &First) -> usize {
    reference::revoke_token_chain(conn, first.id).expect("nobody else is there")
}

/// The whole session by its live token, which is one however long the chain.
fn end_session(conn: &mut PgConnection, first: &First) -> usize {
    RefreshTokenRepository::new(conn).end_session(first.session_id).expect("nobody else is there").tokens
}

/// Revokes one chain after the other. Only the revocations are timed, not the resets.
fn contender(revoke: Revoke, database: &Database, tokens: usize) -> Contender {
    let mut conn = database.connect();
    let firsts = first_tokens(&mut conn);
    Box::new(move |iterations| {
        let mut left = iterations;
        let mut taken = Duration::ZERO;
        while left > 0 {
            // Whoever had the turn before has revoked some of the chains.
            reset(&mut conn);
            for first in &firsts {
                if left == 0 {
                    break;
                }
                let began = Instant::now();
                let revoked = revoke(&mut conn, first);
                taken += began.elapsed();
                assert_eq!(revoked, tokens, "none was revoked");
                left -= 1;
            }
        }
        taken
    })
}

#[derive(QueryableByName)]
struct First {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    session_id: Uuid,
}

fn first_tokens(conn: &mut PgConnection) -> Vec<First> {
    let firsts: Vec<First> =
        sql_query("SELECT id, session_id FROM refresh_tokens WHERE active_org_id = md5($1)::uuid AND generation = 0")
            .bind::<Text, _>(CHAINS)
            .load(conn)
            .expect("the table was filled");
    assert!(!firsts.is_empty(), "chains to revoke");
    firsts
}

/// Makes the chains unrevoked again and leaves no dead rows behind.
fn reset(conn: &mut PgConnection) {
    sql_query(
        "UPDATE refresh_tokens SET revoked_at = NULL, revoked_reason = NULL
         WHERE active_org_id = md5($1)::uuid AND revoked_at IS NOT NULL",
    )
    .bind::<Text, _>(CHAINS)
    .execute(conn)
    .expect("nobody else is there");
    // Without ANALYZE: all turns are to be planned with the same statistics.
    conn.batch_execute("VACUUM refresh_tokens").expect("the role owns the table");
}
