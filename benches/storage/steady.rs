//! Autovacuum's settings where as many rows are born as are deleted: how far the table and its indexes grow.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Double};
use refresh_tokens::{RefreshTokenRepository, Rotation, RotationRequest, TokenHash};
use refresh_tokens_support::database::connect;
use refresh_tokens_support::doc::successor;
use refresh_tokens_support::{Database, race};

use crate::Run;
use crate::load::live;
use crate::quartiles::Quartiles;
use crate::report::{Report, percent};
use crate::subject::ratio;

/// A scale factor for all three of vacuum, vacuum after inserts, and analyze; `None` for the server's own, which are
/// 0.2, 0.2 and 0.1.
const FACTORS: [Option<f64>; 4] = [None, Some(0.05), Some(0.02), Some(0.01)];

/// For the fill of all tables: their rows begin to expire at the same instant.
const FILL_SECONDS: i64 = 60;
const FEW_FILL_SECONDS: i64 = 2;

/// Spent rows, of which one expires each millisecond from the beginning on, and sessions that are rotated in turn.
const ROWS: i32 = 200_000;
const FEW_ROWS: i32 = 4_000;
const SESSIONS: i32 = 10_000;
const FEW_SESSIONS: i32 = 200;

/// Rows that are born and deleted in a second. A clean-up comes every second, and autovacuum looks as often.
const BATCHES: usize = 10;
const BATCH: usize = 100;

/// The generation of the live tokens, after all that are spent.
const LIVE: i32 = 1_000;

const SECONDS: u64 = 150;
const FEW_SECONDS: u64 = 2;

/// The table that the factors are really meant for.
const LARGE: f64 = 300e6;

const FILL: &str = "
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, created_at,
    session_id, generation, rotated_at)
SELECT gen_random_uuid(), md5('user ' || number % {sessions} / 2)::uuid, encode(sha256(number::text::bytea), 'hex'),
    md5('org')::uuid, expires_at, gen_random_uuid(), expires_at - interval '30 days',
    md5('session ' || number % {sessions})::uuid, number / {sessions}, expires_at
FROM generate_series(1, {rows}) number, LATERAL (SELECT '{beginning}'::timestamptz + number * interval '1 ms' AS expires_at) AS clock
ORDER BY number;
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, session_id, generation)
SELECT gen_random_uuid(), md5('user ' || number / 2)::uuid, encode(sha256(('live ' || number)::bytea), 'hex'),
    md5('org')::uuid, now() + interval '30 days', md5('session ' || number)::uuid, {generation}
FROM generate_series(0, {sessions} - 1) number
ORDER BY random()";

/// A table under one setting.
struct Steady {
    table: Database,
    conn: PgConnection,
    live: VecDeque<TokenHash>,
}

#[derive(QueryableByName)]
struct Sample {
    #[diesel(sql_type = BigInt)]
    heap: i64,
    #[diesel(sql_type = BigInt)]
    indexes: i64,
    #[diesel(sql_type = BigInt)]
    dead: i64,
    #[diesel(sql_type = BigInt)]
    vacuums: i64,
    #[diesel(sql_type = BigInt)]
    analyzes: i64,
}

pub(crate) fn compare(run: &Run, report: &mut Report) {
    if !run.wants("autovacuum") {
        return;
    }
    let (rows, sessions, fill_seconds, seconds) = if run.measures {
        (ROWS, SESSIONS, FILL_SECONDS, SECONDS)
    } else {
        (FEW_ROWS, FEW_SESSIONS, FEW_FILL_SECONDS, FEW_SECONDS)
    };
    eprintln!("autovacuum, {fill_seconds} and {seconds} s …");
    let mut clock = connect(&run.url);
    let beginning = race::now(&mut clock) + TimeDelta::seconds(fill_seconds);
    let fill = FILL
        .replace("{rows}", &rows.to_string())
        .replace("{sessions}", &sessions.to_string())
        .replace("{generation}", &LIVE.to_string())
        .replace("{beginning}", &beginning.to_rfc3339());
    let tables: Vec<_> = FACTORS.iter().map(|factor| Steady::fill(&run.url, *factor, &fill)).collect();
    race::wait_until(&mut clock, beginning);
    // Beside each other, so that all have the same minutes of the machine.
    let rows: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = tables.into_iter().map(|table| scope.spawn(move || table.run(seconds))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the thread has said why")).collect()
    });
    let rows: Vec<_> = FACTORS
        .iter()
        .zip(rows)
        .map(|(factor, row)| {
            let name = factor.map_or_else(|| "the server's: 0.2, 0.2, 0.1".to_owned(), |factor| factor.to_string());
            let first = format!("{:.0} million", factor.unwrap_or(0.2) * LARGE / 1e6);
            [vec![name], row, vec![first]].concat()
        })
        .collect();
    let header = [
        "scale factors",
        "vacuums",
        "analyzes",
        "heap grew by",
        "indexes grew by",
        "dead rows, most",
        "at the end",
        "clean-up of 1,000 rows",
        "dead rows of 300 million before a vacuum",
    ];
    report.table("Autovacuum", &header, &rows);
}

impl Steady {
    fn fill(url: &str, factor: Option<f64>, fill: &str) -> Self {
        let table = Database::migrated_on(url);
        let mut conn = table.connect();
        // Not yet, or the fill itself would be a reason to come.
        conn.batch_execute("ALTER TABLE refresh_tokens SET (autovacuum_enabled = off)").expect("the table is ours");
        conn.batch_execute(fill).expect("the rows are new");
        conn.batch_execute("VACUUM ANALYZE refresh_tokens").expect("the role owns the table");
        let set = match factor {
            Some(factor) => format!(
                "ALTER TABLE refresh_tokens SET (autovacuum_vacuum_scale_factor = {factor},
                     autovacuum_vacuum_insert_scale_factor = {factor}, autovacuum_analyze_scale_factor = {factor})"
            ),
            // What the migrations set.
            None => "ALTER TABLE refresh_tokens RESET (autovacuum_vacuum_scale_factor,
                     autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor)"
                .to_owned(),
        };
        conn.batch_execute(&set).expect("the table is ours");
        conn.batch_execute("ALTER TABLE refresh_tokens RESET (autovacuum_enabled)").expect("the table is ours");
        let live = live(&mut conn, LIVE).into();
        Self { table, conn, live }
    }

    /// What it came to, as cells of the table.
    fn run(mut self, seconds: u64) -> Vec<String> {
        let first = sample(&mut self.conn);
        let mut most_dead = first.dead;
        let mut clean_ups = Vec::new();
        let began = Instant::now();
        for second in 1..=seconds {
            for _ in 0..BATCHES {
                self.rotate();
            }
            let clean_up = Instant::now();
            let deleted = RefreshTokenRepository::new(&mut self.conn).cleanup_expired(0).expect("it can be cleaned");
            if deleted > 0 {
                clean_ups.push(ratio_of(clean_up.elapsed(), deleted) * 1e6);
            }
            most_dead = most_dead.max(sample(&mut self.conn).dead);
            let wait = Duration::from_secs(second).saturating_sub(began.elapsed());
            sql_query("SELECT pg_sleep($1)")
                .bind::<Double, _>(wait.as_secs_f64())
                .execute(&mut self.conn)
                .expect("the server answers");
        }
        let last = sample(&mut self.conn);
        drop(self.conn);
        drop(self.table);
        vec![
            last.vacuums.to_string(),
            last.analyzes.to_string(),
            percent(ratio(last.heap - first.heap, first.heap)),
            percent(ratio(last.indexes - first.indexes, first.indexes)),
            most_dead.to_string(),
            last.dead.to_string(),
            format!("{:.1} ms", Quartiles::of(clean_ups).median),
        ]
    }

    /// A batch of those that have waited longest.
    fn rotate(&mut self) {
        let batch = self.live.drain(..BATCH.min(self.live.len()));
        let requests: Vec<_> = batch.map(|hash| RotationRequest::new(hash, successor())).collect();
        let outcomes = RefreshTokenRepository::new(&mut self.conn).rotate_many(&requests).expect("it can be rotated");
        self.live.extend(outcomes.into_iter().map(|outcome| match outcome {
            Ok(Rotation::Rotated(token)) => token.token_hash,
            other => panic!("a live token: {other:?}"),
        }));
    }
}

fn sample(conn: &mut PgConnection) -> Sample {
    sql_query(
        "SELECT pg_relation_size(oid) AS heap, pg_indexes_size(oid) AS indexes,
             pg_stat_get_dead_tuples(oid) AS dead, pg_stat_get_autovacuum_count(oid) AS vacuums,
             pg_stat_get_autoanalyze_count(oid) AS analyzes
         FROM (SELECT 'refresh_tokens'::regclass::oid AS oid) AS it",
    )
    .get_result(conn)
    .expect("the statistics can be read")
}

/// Seconds for each of them.
fn ratio_of(taken: Duration, count: usize) -> f64 {
    taken.as_secs_f64() / f64::from(u32::try_from(count).expect("far fewer"))
}
