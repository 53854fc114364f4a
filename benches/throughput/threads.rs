//! Threads that have nothing in common but the table: each has its connection and, to rotate, its own chain.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{Binding, RefreshTokenRepository, TokenHash};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{fresh_hash, in_days};
use refresh_tokens_support::reference::{self, NewRow};
use uuid::Uuid;

use crate::contenders::{self, Next, Rotate};
use crate::pgbench::{self, Pgbench};
use crate::rounds::{Contender, Measured, Run};
use crate::same_table;
use crate::table::{Rows, fill};

pub(crate) fn rotations(run: &mut Run, threads: usize) {
    let case = format!("threads/{threads}");
    if !run.wants(&case) {
        return;
    }
    let table = Database::migrated_on(&run.url);
    fill(&mut table.connect(), &[Rows { name: "others", sessions: run.rows() / 10, links: 10 }]);
    let own_table = Database::empty_on(&run.url);
    own_table.connect().batch_execute(contenders::OWN_TABLE).expect("the schema is empty");
    fill_own(&own_table, &table);
    let mut limit = Pgbench::new(&own_table, pgbench::REFERENCE, threads, 0);
    let mut limit_same = Pgbench::new(&table, pgbench::SAME_TABLE, threads, 0);
    let by = |name, rotate, table| {
        let mut workers: Vec<_> = (0..threads).map(|_| Chain::new(table)).collect();
        Contender::new(name, move |duration| {
            workers.iter_mut().for_each(Chain::draw);
            in_threads(&mut workers, duration, |chain| chain.rotate(rotate))
        })
    };
    let contenders = vec![
        by("ours", contenders::ours as Rotate, &table),
        Contender::new("pgbench", |duration| limit.turn(duration)).bar(1.10),
        Contender::new("pgbench, our table", |duration| limit_same.turn(duration)),
        by("plain Diesel", contenders::prepared, &own_table).bar(1.3),
        by("plain Diesel, our table", same_table::rotate, &table).bar(1.3),
        by("reference", contenders::reference, &table),
    ];
    run.race(&case, contenders);
}

/// As many rows as the other table has.
fn fill_own(own_table: &Database, table: &Database) {
    let columns = "id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to, created_at";
    let schema = table.schema();
    let copy = format!(
        "INSERT INTO refresh_tokens ({columns}) SELECT {columns} FROM \"{schema}\".refresh_tokens;
         ANALYZE refresh_tokens"
    );
    own_table.connect().batch_execute(&copy).expect("both are ours");
}

pub(crate) fn look_ups(run: &mut Run, threads: usize) {
    let case = format!("look_ups/{threads}");
    if !run.wants(&case) {
        return;
    }
    let table = Database::migrated_on(&run.url);
    let tokens = run.rows();
    let insert = format!(
        "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
         SELECT gen_random_uuid(), gen_random_uuid(), (1000000000000000000 + token)::text, gen_random_uuid(),
             now() + interval '30 days'
         FROM generate_series(1, {tokens}) token;
         VACUUM ANALYZE refresh_tokens"
    );
    for statement in insert.split(';') {
        table.connect().batch_execute(statement).expect("the table is ours");
    }
    let mut limit = Pgbench::new(&table, pgbench::LOOK_UP, threads, tokens);
    let mut workers: Vec<_> = (0..threads).map(|seed| (table.connect(), seed as u64 + 1)).collect();
    let contenders = vec![
        Contender::new("get_valid_by_hash", move |duration| {
            in_threads(&mut workers, duration, |(conn, random)| {
                // A step of xorshift: no more than pgbench does for its random number.
                *random ^= *random << 13;
                *random ^= *random >> 7;
                *random ^= *random << 17;
                let number = 1_000_000_000_000_000_001 + *random % u64::from(tokens.unsigned_abs());
                let hash = TokenHash::new(number.to_string()).expect("it is one");
                let found = RefreshTokenRepository::new(conn).get_valid_by_hash(&hash, Binding::ANY);
                assert!(found.expect("it can be read").is_some(), "it is valid");
            })
        }),
        Contender::new("pgbench", |duration| limit.turn(duration)).bar(0.85),
    ];
    run.race(&case, contenders);
}

/// A connection and the live token of a session.
struct Chain {
    conn: PgConnection,
    live: TokenHash,
    /// Drawn while the clock stands still.
    nexts: Vec<Next>,
    drawn: usize,
}

impl Chain {
    fn new(database: &Database) -> Self {
        let mut conn = database.connect();
        let live = log_in(&mut conn);
        Self { conn, live, nexts: Vec::new(), drawn: 0 }
    }

    /// Half as many again as the last turn has used.
    fn draw(&mut self) {
        let used = self.drawn - self.nexts.len();
        self.nexts.resize_with((used * 3 / 2).max(5_000), Next::new);
        self.drawn = self.nexts.len();
    }

    fn rotate(&mut self, rotate: Rotate) {
        let next = self.nexts.pop().unwrap_or_else(Next::new);
        assert_eq!(rotate(&mut self.conn, &self.live, &next), Ok(true), "a live token");
        self.live = next.hash;
    }
}

/// The first token of a new session, written in the one way that both tables know.
pub(crate) fn log_in(conn: &mut PgConnection) -> TokenHash {
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

/// Each worker in a thread of its own does its piece of work again and again, until the time is up.
pub(crate) fn in_threads<W: Send>(workers: &mut [W], duration: Duration, work: impl Fn(&mut W) + Sync) -> Measured {
    let barrier = Barrier::new(workers.len());
    let per_second = thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    let began = Instant::now();
                    let mut done = 0_u32;
                    while began.elapsed() < duration {
                        work(worker);
                        done += 1;
                    }
                    f64::from(done) / began.elapsed().as_secs_f64()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("the worker has said why")).sum()
    });
    Measured { per_second, ..Measured::default() }
}
