//! What one rotation costs, whatever else the machine does: round trips, processor time of the server and of the
//! client, and the client's instructions.
//!
//! `benches/README.md` says how to run it and how to read it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that cannot measure must fail loudly, and its table is what it is run for"
)]

#[path = "common/contenders.rs"]
mod contenders;
#[path = "cost/round_trips.rs"]
mod round_trips;
#[path = "throughput/same_table.rs"]
mod same_table;
#[path = "common/table.rs"]
mod table;

use std::env;
use std::fs;
use std::process::Command;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::TokenHash;
use refresh_tokens_support::doc::{fresh_hash, in_days};
use refresh_tokens_support::reference::{self, NewRow};
use refresh_tokens_support::server::Durability;
use refresh_tokens_support::{Database, Server, database, race};
use uuid::Uuid;

use crate::contenders::{Next, OWN_TABLE, Rotate};
use crate::round_trips::RoundTrips;
use crate::table::{Rows, fill};

/// Turns of each contender, in rounds that each begin with another one.
const TURNS: usize = 7;

const ROTATIONS_OF_A_TURN: usize = 5_000;

/// Counted one by one, they are alike.
const ROTATIONS_COUNTED: usize = 500;

/// So that what is done once a connection is done.
const ROTATIONS_BEFORE: usize = 50;

/// Rows that are in the table before.
const SESSIONS: i32 = 10_000;
const LINKS: i32 = 10;

struct Contender {
    name: &'static str,
    rotate: Rotate,
    on_own_table: bool,
}

const CONTENDERS: [Contender; 4] = [
    Contender { name: "ours", rotate: contenders::ours, on_own_table: false },
    Contender { name: "plain Diesel", rotate: contenders::prepared, on_own_table: true },
    Contender { name: "plain Diesel, our table", rotate: same_table::rotate, on_own_table: false },
    Contender { name: "reference", rotate: contenders::reference, on_own_table: false },
];

/// What the program calls itself with, under callgrind: the contender's place and the URL of its table.
const COUNT: &str = "--count";

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == COUNT) {
        let place: usize = arguments[at + 1].parse().expect("a place");
        let mut chain = Chain::new(&arguments[at + 2], CONTENDERS[place].rotate);
        chain.draw(ROTATIONS_COUNTED);
        counted(&mut chain);
        return;
    }
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let (turns, rotations, sessions) = if is_test { (1, 1, 10) } else { (TURNS, ROTATIONS_OF_A_TURN, SESSIONS) };
    let server = Server::temporary(Durability::None).unwrap_or_else(|error| panic!("\n\n{error}\n"));
    let tables = tables(&server.url(), sessions);
    let url_of = |contender: &Contender| tables[usize::from(contender.on_own_table)].url();
    let mut chains: Vec<Chain> = CONTENDERS.iter().map(|it| Chain::new(url_of(it), it.rotate)).collect();
    let mut times = [const { Vec::new() }; CONTENDERS.len()];
    for turn in 0..turns {
        for place in (0..CONTENDERS.len()).map(|place| (place + turn) % CONTENDERS.len()) {
            chains[place].draw(rotations);
            times[place].push(chains[place].turn());
        }
    }
    println!("| contender | round trips | server µs | client µs | client instructions |\n|---|--:|--:|--:|--:|");
    for (place, contender) in CONTENDERS.iter().enumerate() {
        let median = |side: fn(&Times) -> Option<f64>| {
            let mut sorted: Vec<f64> = times[place].iter().filter_map(side).collect();
            sorted.sort_by(f64::total_cmp);
            sorted.get(sorted.len() / 2).map_or("–".to_owned(), |micros| format!("{micros:.0}"))
        };
        let (server, client) = (median(|times| times.server), median(|times| times.client));
        let round_trips = round_trips(url_of(contender), contender.rotate);
        let instructions = if is_test { None } else { instructions(place, url_of(contender)) };
        let instructions = instructions.map_or("–".to_owned(), |count| count.to_string());
        println!("| {} | {round_trips} | {server} | {client} | {instructions} |", contender.name);
    }
}

/// Ours, and the reference's of eight columns, with as many rows.
fn tables(url: &str, sessions: i32) -> [Database; 2] {
    let ours = Database::migrated_on(url);
    fill(&mut ours.connect(), &[Rows { name: "others", sessions, links: LINKS }]);
    let own = Database::empty_on(url);
    let columns = "id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to, created_at";
    let schema = ours.schema();
    let copy = format!("INSERT INTO refresh_tokens ({columns}) SELECT {columns} FROM \"{schema}\".refresh_tokens;");
    own.connect().batch_execute(&format!("{OWN_TABLE}; {copy} ANALYZE refresh_tokens")).expect("both are ours");
    [ours, own]
}

/// Microseconds of a processor for one rotation, where the system tells.
struct Times {
    server: Option<f64>,
    client: Option<f64>,
}

/// A connection, the live token of a session, and its next tokens.
struct Chain {
    conn: PgConnection,
    rotate: Rotate,
    live: TokenHash,
    nexts: Vec<Next>,
}

impl Chain {
    fn new(url: &str, rotate: Rotate) -> Self {
        let mut conn = database::connect(url);
        let live = fresh_hash();
        // In the one way that both tables know.
        let new = NewRow {
            id: Uuid::new_v4(),
            user_id: Uuid::new_v4(),
            token_hash: live.expose().to_owned(),
            active_org_id: Uuid::new_v4(),
            expires_at: in_days(30),
        };
        reference::create(&mut conn, &new).expect("the token is new");
        let mut chain = Self { conn, rotate, live, nexts: Vec::new() };
        chain.draw(ROTATIONS_BEFORE);
        chain.rotate_all();
        chain
    }

    fn draw(&mut self, rotations: usize) {
        self.nexts.resize_with(rotations, Next::new);
    }

    fn rotate_all(&mut self) {
        while let Some(next) = self.nexts.pop() {
            assert_eq!((self.rotate)(&mut self.conn, &self.live, &next), Ok(true), "a live token");
            self.live = next.hash;
        }
    }

    fn turn(&mut self) -> Times {
        let server = format!("/proc/{}/schedstat", race::pid(&mut self.conn));
        let read = || (processor_time(&server), processor_time("/proc/thread-self/schedstat"));
        #[expect(clippy::cast_precision_loss, reason = "a count of thousands")]
        let rotations = self.nexts.len() as f64;
        let before = read();
        self.rotate_all();
        let after = read();
        let each = |before: Option<f64>, after: Option<f64>| Some((after? - before?) / 1_000.0 / rotations);
        Times { server: each(before.0, after.0), client: each(before.1, after.1) }
    }
}

/// Nanoseconds that a thread or process of one thread has run, in the system or not: of Linux.
fn processor_time(of: &str) -> Option<f64> {
    fs::read_to_string(of).ok()?.split_whitespace().next()?.parse().ok()
}

fn round_trips(url: &str, rotate: Rotate) -> usize {
    let counter = RoundTrips::start(url);
    let mut chain = Chain::new(counter.url(), rotate);
    chain.draw(ROTATIONS_COUNTED);
    let before = counter.count();
    chain.rotate_all();
    let count = counter.count() - before;
    assert_eq!(count % ROTATIONS_COUNTED, 0, "all are alike");
    count / ROTATIONS_COUNTED
}

/// Those of the client, without the kernel's: callgrind counts them while [`counted`] runs. `None` without valgrind.
fn instructions(place: usize, url: &str) -> Option<usize> {
    let program = env::current_exe().ok()?;
    let valgrind = ["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*cost*counted*"];
    let mut command = Command::new("valgrind");
    let run = command.args(valgrind).arg(program).args([COUNT, &place.to_string(), url]).output().ok()?;
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    let count = said.lines().find_map(|line| line.split_once("Collected : "))?.1.trim().parse::<usize>().ok()?;
    Some(count / ROTATIONS_COUNTED)
}

#[inline(never)]
fn counted(chain: &mut Chain) {
    chain.rotate_all();
}
