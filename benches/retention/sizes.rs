//! The same verbs in a small table and in a large one.

use std::time::{Duration, Instant};

use diesel::Connection as _;
use diesel::prelude::*;
use refresh_tokens::{RefreshTokenRepository, SessionQuery, TokenHash};

use crate::report::{Report, quartiles};
use crate::scale::Scale;
use crate::table::{self, Half, Sample, Table};

/// How long one verb's turn in one table takes.
const TURN: Duration = Duration::from_millis(400);

/// Sessions that are used in turn: as many in both, because they grow meanwhile.
const SESSIONS: i64 = 50;

/// A table with a connection and sessions to work on.
struct Contender {
    conn: PgConnection,
    samples: Vec<Sample>,
    live: Vec<TokenHash>,
    next: usize,
}

impl Contender {
    fn new(table: &Table) -> Self {
        let samples = table.sample(Half::First, SESSIONS);
        let live = samples.iter().map(Sample::live).collect();
        Self { conn: table.database.connect(), samples, live, next: 0 }
    }

    /// Seconds of one call, by the mean of a turn.
    fn turn(&mut self, verb: Verb) -> f64 {
        let began = Instant::now();
        let mut calls = 0;
        while began.elapsed() < TURN {
            self.next = (self.next + 1) % self.samples.len();
            verb(self);
            calls += 1;
        }
        began.elapsed().as_secs_f64() / f64::from(calls)
    }
}

type Verb = fn(&mut Contender);

const VERBS: [(&str, Verb, Option<f64>); 4] = [
    ("rotate", rotate, Some(1.25)),
    ("list_sessions", list, None),
    ("revoke_all_for_user", user, None),
    ("revoke_token_chain", chain, None),
];

fn rotate(it: &mut Contender) {
    table::rotate(&mut it.conn, &mut it.live[it.next]);
}

fn list(it: &mut Contender) {
    let query = SessionQuery::of_user(it.samples[it.next].user_id);
    let page = RefreshTokenRepository::new(&mut it.conn).list_sessions(&query).expect("it can be read");
    assert_eq!(page.sessions.len(), 1);
}

fn user(it: &mut Contender) {
    let user_id = it.samples[it.next].user_id;
    undone(&mut it.conn, |tokens| tokens.revoke_all_for_user(user_id).expect("it revokes").tokens);
}

fn chain(it: &mut Contender) {
    let first_id = it.samples[it.next].first_id;
    undone(&mut it.conn, |tokens| tokens.revoke_token_chain(first_id).expect("it revokes").tokens);
}

/// In a transaction that is rolled back, so that there is something to revoke the next time.
fn undone(conn: &mut PgConnection, revoke: impl FnOnce(&mut RefreshTokenRepository<'_>) -> usize) {
    let tokens = conn.test_transaction(|conn| QueryResult::Ok(revoke(&mut RefreshTokenRepository::new(conn))));
    assert!(tokens > 50, "a session is long: {tokens}");
}

pub(crate) fn compare(scale: &Scale, small: &Table, large: &Table, report: &mut Report) {
    report.head(&["verb", "small table, ms", "large table, ms", "large / small", "middle half", "bar"]);
    let mut contenders = [Contender::new(small), Contender::new(large)];
    for (name, verb, bar) in VERBS {
        let mut turns = [Vec::new(), Vec::new()];
        for round in 0..=scale.rounds {
            for step in 0..2 {
                let at = (round + step) % 2;
                let seconds = contenders[at].turn(verb);
                // The first round reads what is on the disk.
                if round > 0 {
                    turns[at].push(seconds * 1e3);
                }
            }
        }
        let [lower, median, upper] =
            quartiles(turns[1].iter().zip(&turns[0]).map(|(large, small)| large / small).collect());
        let [small, large] = turns.map(|turns| quartiles(turns)[1]);
        report.row(&[
            format!("`{name}`"),
            format!("{small:.3}"),
            format!("{large:.3}"),
            format!("{median:.2}"),
            format!("{lower:.2} to {upper:.2}"),
            bar.map_or(String::new(), |bar| format!("{bar:.2}")),
        ]);
    }
}
