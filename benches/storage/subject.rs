//! A filled table of one variant, and what rotations do to it.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use refresh_tokens::{Binding, RefreshTokenRepository, Rotation, Successor, TokenHash};
use refresh_tokens_support::Database;
use refresh_tokens_support::database::connect;
use refresh_tokens_support::doc::{fresh_hash, in_days};
use uuid::{Builder, Uuid};

use crate::load::{LINKS, Load, Rows, live};
use crate::variants::{Ids, Variant};

pub(crate) struct Subject {
    pub(crate) variant: &'static Variant,
    pub(crate) conn: PgConnection,
    pub(crate) load: Load,
    table: Database,
    url: String,
    /// Live tokens that the fill made.
    spread: Vec<TokenHash>,
    /// Live tokens that rotations made, which therefore fill the last pages of the table.
    dense: Vec<TokenHash>,
}

/// What some rotations did, each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotated {
    /// Which share of the updates was HOT.
    pub(crate) hot: f64,
    pub(crate) wal_bytes: f64,
    /// By how much the table grew without its indexes.
    pub(crate) heap_bytes: f64,
}

/// Of one relation.
#[derive(QueryableByName)]
pub(crate) struct Relation {
    #[diesel(sql_type = Text)]
    pub(crate) name: String,
    #[diesel(sql_type = BigInt)]
    pub(crate) bytes: i64,
}

#[derive(QueryableByName)]
struct Counters {
    #[diesel(sql_type = BigInt)]
    updates: i64,
    #[diesel(sql_type = BigInt)]
    hot: i64,
    #[diesel(sql_type = BigInt)]
    heap: i64,
    #[diesel(sql_type = BigInt)]
    wal: i64,
}

/// How long the server may take to add up what a session that has ended did.
const COUNTING_LIMIT: Duration = Duration::from_secs(30);

impl Subject {
    pub(crate) fn fill(url: &str, rows: &Rows, load: Load, variant: &'static Variant) -> Self {
        let table = Database::migrated_on(url);
        let mut conn = table.connect();
        // Autovacuum would come in the middle of a measurement.
        let ddl = format!("ALTER TABLE refresh_tokens SET (autovacuum_enabled = off); {}", variant.ddl);
        conn.batch_execute(&ddl).expect("the table is ours");
        rows.fill(&mut conn, variant.ids);
        let spread = live(&mut conn, LINKS - 1);
        Self { variant, conn, load, table, url: url.to_owned(), spread, dense: Vec::new() }
    }

    /// The table and its indexes, in the order of their birth.
    pub(crate) fn relations(&mut self) -> Vec<Relation> {
        sql_query(
            "SELECT 'heap' AS name, pg_relation_size('refresh_tokens'::regclass) AS bytes, 0::oid AS oid
             UNION ALL
             SELECT replace(substring(pg_get_indexdef(indexrelid) from 'USING (.*)'), 'btree ', ''),
                 pg_relation_size(indexrelid), indexrelid
             FROM pg_index WHERE indrelid = 'refresh_tokens'::regclass
             ORDER BY oid",
        )
        .load(&mut self.conn)
        .expect("the catalog can be read")
    }

    /// Rotates tokens that lie all over the table: that many percent of those that the fill made.
    pub(crate) fn rotate_spread(&mut self, percent: usize) -> Rotated {
        let tokens = self.take_spread(percent);
        self.rotate_counted(&tokens)
    }

    /// As [`rotate_spread`](Self::rotate_spread), and every page that is touched is written to the log as a whole at
    /// first, as after a checkpoint; `None` where the role or the version does not allow that.
    pub(crate) fn rotate_spread_with_images(&mut self, percent: usize) -> Option<Rotated> {
        // A base backup needs the images, whatever full_page_writes says. It ends with its session.
        let mut backup = connect(&self.url);
        backup.batch_execute("SELECT pg_backup_start('storage', true)").ok()?;
        Some(self.rotate_spread(percent))
    }

    /// Rotates all that rotations made so far: every row of their pages.
    pub(crate) fn rotate_dense(&mut self) -> Rotated {
        let tokens = std::mem::take(&mut self.dense);
        self.rotate_counted(&tokens)
    }

    /// As [`rotate_dense`](Self::rotate_dense) while somebody's snapshot keeps every version alive.
    pub(crate) fn rotate_dense_beside_a_snapshot(&mut self) -> Rotated {
        let mut holder = self.table.connect();
        holder
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM refresh_tokens LIMIT 1")
            .expect("it can be read");
        self.rotate_dense()
    }

    /// How many seconds a rotation takes, without drawing the successor: of tokens that rotations made, in turn.
    pub(crate) fn rotate_timed(&mut self, count: usize) -> f64 {
        let tokens: Vec<_> = self.dense.drain(..count.min(self.dense.len())).collect();
        let (taken, made) = rotate_all(&mut self.conn, &tokens, self.variant.ids);
        self.dense.extend(made);
        taken.as_secs_f64() / f64::from(u32::try_from(tokens.len()).expect("far fewer"))
    }

    fn take_spread(&mut self, percent: usize) -> Vec<TokenHash> {
        let count = (self.load.sessions() * percent).div_ceil(100);
        assert!(self.spread.len() >= count, "enough live tokens");
        self.spread.split_off(self.spread.len() - count)
    }

    fn rotate_counted(&mut self, tokens: &[TokenHash]) -> Rotated {
        let before = self.counters();
        // The server adds up what a session did when it ends.
        let (_, made) = rotate_all(&mut self.table.connect(), tokens, self.variant.ids);
        let wal = self.counters().wal;
        let began = Instant::now();
        let count = i64::try_from(tokens.len()).expect("far fewer");
        let after = loop {
            let now = self.counters();
            if now.updates >= before.updates + count {
                break now;
            }
            assert!(began.elapsed() < COUNTING_LIMIT, "the server counts updates");
            sql_query("SELECT pg_sleep(0.02)").execute(&mut self.conn).expect("the server answers");
        };
        self.dense.extend(made);
        // They are random texts: in their order they lie anywhere in those pages.
        self.dense.sort_by(|a, b| a.expose().cmp(b.expose()));
        Rotated {
            hot: ratio(after.hot - before.hot, after.updates - before.updates),
            wal_bytes: ratio(wal - before.wal, count),
            heap_bytes: ratio(after.heap - before.heap, count),
        }
    }

    fn counters(&mut self) -> Counters {
        sql_query(
            "SELECT pg_stat_get_tuples_updated(oid) AS updates, pg_stat_get_tuples_hot_updated(oid) AS hot,
                 pg_relation_size(oid) AS heap, (pg_current_wal_insert_lsn() - '0/0')::bigint AS wal
             FROM (SELECT 'refresh_tokens'::regclass::oid AS oid) AS it",
        )
        .get_result(&mut self.conn)
        .expect("the statistics can be read")
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

fn rotate_all(conn: &mut PgConnection, tokens: &[TokenHash], ids: Ids) -> (Duration, Vec<TokenHash>) {
    let successors: Vec<_> =
        tokens.iter().map(|_| Successor::expiring_at(fresh_id(ids), fresh_hash(), in_days(30))).collect();
    let mut repository = RefreshTokenRepository::new(conn);
    let began = Instant::now();
    let made = tokens
        .iter()
        .zip(&successors)
        .map(|(token, successor)| match repository.rotate(token, successor, Binding::ANY) {
            Ok(Rotation::Rotated(token)) => token.token_hash,
            other => panic!("a live token: {other:?}"),
        })
        .collect();
    (began.elapsed(), made)
}

fn fresh_id(ids: Ids) -> Uuid {
    let random = Uuid::new_v4();
    match ids {
        Ids::V4 => random,
        Ids::V7 => {
            let millis = u64::try_from(in_days(0).timestamp_millis()).expect("after 1970");
            let mut bytes = [0; 10];
            bytes.copy_from_slice(&random.as_bytes()[..10]);
            Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
        }
    }
}
