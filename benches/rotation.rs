//! How long a rotation takes beside the reference's: alone, in threads, on one token, on a large table.
//!
//! `benches/README.md` says how to run it and how to read it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that cannot measure must fail loudly, and its table is what it is run for"
)]

mod common;
#[path = "common/contenders.rs"]
mod contenders;

use std::collections::VecDeque;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use refresh_tokens::TokenHash;
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{fresh_hash, in_days};
use refresh_tokens_support::reference::{self, NewRow};
use uuid::Uuid;

use crate::common::{Case, Comparison, Contender, Rows, fill};
use crate::contenders::{Next, Rotate};

/// Threads that rotate a chain each.
const THREADS: [usize; 3] = [2, 4, 8];

/// Threads that present one token at once: two tabs, and an attack.
const PRESENTERS: [usize; 2] = [2, 16];

/// Rows that are in the table before.
const PREFILLED: [i32; 2] = [10_000, 1_000_000];

/// Rows of a session in a prefilled table.
const LINKS: i32 = 10;

/// Live sessions of a prefilled table that are rotated in turn, so that pages all over it are touched.
const ROTATED_SESSIONS: usize = 1_000;

fn main() {
    let mut comparison = Comparison::from_args();
    one_thread(&mut comparison);
    for threads in THREADS {
        own_chains(&mut comparison, threads);
    }
    for presenters in PRESENTERS {
        one_token(&mut comparison, presenters);
    }
    stale_token(&mut comparison);
    for rows in PREFILLED {
        prefilled(&mut comparison, rows);
    }
    comparison.finish();
}

/// One thread and one chain, on a table that holds nothing else at first.
fn one_thread(comparison: &mut Comparison) {
    let contenders = ["ours", "reference", "reference_own_table", "prepared_own_table"];
    comparison.case("rotate/one_thread", 1, &contenders, |url| {
        let table = Database::migrated_on(url);
        let own_table = Database::empty_on(url);
        own_table.connect().batch_execute(contenders::OWN_TABLE).expect("the schema is empty");
        let alone = |rotate, database: &Database| in_threads(vec![Worker::new(rotate, database)]);
        Case {
            contenders: vec![
                alone(contenders::ours, &table),
                alone(contenders::reference, &table),
                alone(contenders::reference, &own_table),
                alone(contenders::prepared, &own_table),
            ],
            databases: vec![table, own_table],
        }
    });
}

/// Threads that have nothing in common but the table: an iteration is one rotation by each.
fn own_chains(comparison: &mut Comparison, threads: usize) {
    let name = format!("rotate/threads/{threads}");
    comparison.case(&name, threads as u64, &["ours", "reference"], |url| {
        let table = Database::migrated_on(url);
        let workers = |rotate: Rotate| {
            let workers = (0..threads).map(|_| Worker::new(rotate, &table)).collect();
            in_threads(workers)
        };
        Case { contenders: vec![workers(contenders::ours), workers(contenders::reference)], databases: vec![table] }
    });
}

/// Threads that present the same token at once: an iteration ends when the last has its answer.
fn one_token(comparison: &mut Comparison, presenters: usize) {
    let name = format!("rotate/one_token/{presenters}");
    comparison.case(&name, presenters as u64, &["ours", "reference"], |url| {
        let table = Database::migrated_on(url);
        let all = |rotate: Rotate| on_one_token(rotate, &table, presenters);
        Case { contenders: vec![all(contenders::ours), all(contenders::reference)], databases: vec![table] }
    });
}

/// One thread that presents a token which was rotated before, as a thief would: every answer is a refusal.
fn stale_token(comparison: &mut Comparison) {
    comparison.case("rotate/stale_token", 1, &["ours", "reference"], |url| {
        let table = Database::migrated_on(url);
        let mut conn = table.connect();
        let stale = log_in(&mut conn);
        let rotated = contenders::ours(&mut conn, &stale, &Next::new());
        assert_eq!(rotated, Ok(true), "the first presentation");
        let refused = |rotate: Rotate| -> Contender {
            let (mut conn, stale) = (table.connect(), stale.clone());
            Box::new(move |iterations| {
                let nexts: Vec<_> = (0..iterations).map(|_| Next::new()).collect();
                let began = Instant::now();
                for next in nexts {
                    assert_eq!(rotate(&mut conn, &stale, &next), Ok(false), "a later presentation");
                }
                began.elapsed()
            })
        };
        Case { contenders: vec![refused(contenders::ours), refused(contenders::reference)], databases: vec![table] }
    });
}

/// One thread on a table with many rows, in which each contender has half of the sessions.
fn prefilled(comparison: &mut Comparison, rows: i32) {
    let name = format!("rotate/prefilled/{rows}");
    comparison.case(&name, 1, &["ours", "reference"], |url| {
        let table = Database::migrated_on(url);
        let half = |name| Rows { name, sessions: rows / LINKS / 2, links: LINKS };
        fill(&mut table.connect(), &[half("ours"), half("reference")]);
        let alone = |rotate: Rotate, name| {
            let mut conn = table.connect();
            let live = live_hashes(&mut conn, name);
            in_threads(vec![Worker { rotate, conn, live }])
        };
        Case {
            contenders: vec![alone(contenders::ours, "ours"), alone(contenders::reference, "reference")],
            databases: vec![table],
        }
    });
}

/// A connection and the live tokens that it rotates in turn.
struct Worker {
    rotate: Rotate,
    conn: PgConnection,
    live: VecDeque<TokenHash>,
}

impl Worker {
    /// With a new session.
    fn new(rotate: Rotate, database: &Database) -> Self {
        let mut conn = database.connect();
        let hash = log_in(&mut conn);
        Self { rotate, conn, live: VecDeque::from([hash]) }
    }

    /// When it began and when it ended.
    fn run(&mut self, nexts: Vec<Next>) -> (Instant, Instant) {
        let began = Instant::now();
        for next in nexts {
            let presented = self.live.pop_front().expect("it has sessions");
            match (self.rotate)(&mut self.conn, &presented, &next) {
                Ok(true) => self.live.push_back(next.hash),
                Ok(false) => panic!("a live token was refused"),
                Err(error) => panic!("{error}"),
            }
        }
        (began, Instant::now())
    }
}

/// Each worker in a thread of its own, from the first start to the last end.
fn in_threads(mut workers: Vec<Worker>) -> Contender {
    Box::new(move |iterations| {
        let barrier = Barrier::new(workers.len());
        let spans = thread::scope(|scope| {
            let threads: Vec<_> = workers
                .iter_mut()
                .map(|worker| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        let nexts = (0..iterations).map(|_| Next::new()).collect();
                        barrier.wait();
                        worker.run(nexts)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("the worker has said why")).collect::<Vec<_>>()
        });
        from_first_to_last(&spans)
    })
}

/// Many connections that present the same token: one must win, whoever it is.
fn on_one_token(rotate: Rotate, database: &Database, presenters: usize) -> Contender {
    let mut conns: Vec<_> = (0..presenters).map(|_| database.connect()).collect();
    Box::new(move |iterations| {
        let tokens = log_ins(&mut conns[0], iterations);
        let barrier = Barrier::new(presenters);
        // No thread may panic between two barriers, which would leave the others waiting for ever.
        let present = |conn: &mut PgConnection, token: &TokenHash, next: &Next| {
            barrier.wait();
            let began = Instant::now();
            let answer = rotate(conn, token, next);
            ((began, Instant::now()), answer)
        };
        let by_presenter: Vec<Vec<_>> = thread::scope(|scope| {
            let threads: Vec<_> = conns
                .iter_mut()
                .map(|conn| {
                    let (tokens, present) = (&tokens, &present);
                    scope.spawn(move || {
                        let nexts: Vec<_> = tokens.iter().map(|_| Next::new()).collect();
                        let answers = tokens.iter().zip(&nexts);
                        answers.map(|(token, next)| present(conn, token, next)).collect()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        });
        (0..tokens.len())
            .map(|token| {
                let answers = by_presenter.iter().map(|answers| &answers[token]);
                let won = answers.clone().filter(|(_, answer)| match answer {
                    Ok(won) => *won,
                    Err(error) => panic!("{error}"),
                });
                assert_eq!(won.count(), 1, "successors of one token");
                let spans: Vec<_> = answers.map(|(span, _)| *span).collect();
                from_first_to_last(&spans)
            })
            .sum()
    })
}

fn from_first_to_last(spans: &[(Instant, Instant)]) -> Duration {
    let began = spans.iter().map(|span| span.0).min();
    let ended = spans.iter().map(|span| span.1).max();
    match (began, ended) {
        (Some(began), Some(ended)) => ended - began,
        _ => panic!("nobody ran"),
    }
}

/// The first token of a new session, written in the one way that both tables know.
fn log_in(conn: &mut PgConnection) -> TokenHash {
    let hash = fresh_hash();
    let new = NewRow {
        id: Uuid::new_v4(),
        user_id: Uuid::new_v4(),
        token_hash: hash.expose().to_owned(),
        active_org_id: Uuid::new_v4(),
        expires_at: in_days(30),
    };
    reference::create(conn, &new).expect("the token is new");
    hash
}

/// That many in one transaction, which waits for the disk only once.
fn log_ins(conn: &mut PgConnection, number: u64) -> Vec<TokenHash> {
    let tokens = conn.transaction(|conn| QueryResult::Ok((0..number).map(|_| log_in(conn)).collect()));
    tokens.expect("the connection stands")
}

fn live_hashes(conn: &mut PgConnection, name: &str) -> VecDeque<TokenHash> {
    #[derive(QueryableByName)]
    struct Live {
        #[diesel(sql_type = Text)]
        token_hash: TokenHash,
    }
    let live: Vec<Live> = sql_query(format!(
        "SELECT token_hash FROM refresh_tokens
         WHERE active_org_id = md5($1)::uuid AND rotated_to IS NULL
         ORDER BY id -- and so in no order on the disk
         LIMIT {ROTATED_SESSIONS}"
    ))
    .bind::<Text, _>(name)
    .load(conn)
    .expect("the table was filled");
    assert!(!live.is_empty(), "sessions to rotate");
    live.into_iter().map(|live| live.token_hash).collect()
}
