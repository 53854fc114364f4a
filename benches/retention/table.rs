//! A table as years of rotations would have left it, made by the server in minutes.

use std::thread;
use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text, Timestamptz, Uuid as SqlUuid};
use indicatif::{ProgressBar, ProgressStyle};
use refresh_tokens::{Binding, RefreshTokenRepository, Rotation, Successor, TokenHash, build_indexes, verify_schema};
use refresh_tokens_support::doc::{fresh_hash, in_days};
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

/// Tokens of a session; the last one is live.
const LINKS: i64 = 100;

/// Rows that one statement makes.
const CHUNK: i64 = 100_000;

/// Rows in the order of their birth: link by link, session by session. A token lives for 30 days, and lasts until the
/// next one is born; the oldest 24 of a session's hundred expired more than 30 days ago. Each session has a user of its
/// own.
const FILL: &str = "
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, created_at, session_id,
    session_started_at, generation, rotated_at)
SELECT md5('token ' || n)::uuid, md5('user ' || session)::uuid, md5('hash ' || n) || md5('more ' || n),
    'aaaaaaaa-0000-4000-8000-000000000000', born + interval '30 days',
    CASE WHEN link < 99 THEN md5('token ' || n + $3)::uuid END, born, md5('session ' || session)::uuid,
    $4 - step * 100, link, CASE WHEN link < 99 THEN born + step END
FROM generate_series($1, $2) n,
    LATERAL (SELECT n % $3 AS session, (n / $3)::integer AS link, interval '60 days' / 75.5 AS step) AS place,
    LATERAL (SELECT $4 - step * (99 - link) - step * (1 - session::float8 / $3) AS born) AS clock";

pub(crate) struct Table {
    pub(crate) database: Database,
    pub(crate) rows: i64,
    /// What it took to fill.
    pub(crate) filling: String,
}

/// A session as a verb meets it.
#[derive(Debug, Clone, QueryableByName)]
pub(crate) struct Sample {
    #[diesel(sql_type = SqlUuid)]
    pub(crate) user_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    pub(crate) first_id: Uuid,
    #[diesel(sql_type = Text)]
    live_hash: String,
}

impl Sample {
    pub(crate) fn live(&self) -> TokenHash {
        TokenHash::new(self.live_hash.clone()).expect("the fill makes hashes")
    }
}

/// Two measurements that rotate must not take each other's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    First,
    Second,
}

impl Table {
    pub(crate) fn filled(url: &str, rows: i64) -> Self {
        let database = Database::migrated_on(url);
        let began = Instant::now();
        let progress = ProgressBar::new(rows.unsigned_abs()).with_style(
            ProgressStyle::with_template("{msg:>12} {wide_bar} {human_pos}/{human_len} {eta}").expect("it is one"),
        );
        progress.set_message("rows");
        let mut conn = database.connect();
        drop_indexes(&mut conn);
        fill(&database, rows, &progress);
        progress.set_message("indexes");
        make_indexes(&mut conn);
        conn.batch_execute("VACUUM ANALYZE refresh_tokens").expect("the role owns the table");
        // So that the fill is not written to the disk while others are measured; not every role may.
        let _ = conn.batch_execute("CHECKPOINT");
        progress.finish_and_clear();
        let filling = format!("{rows} rows, filled in {:.0} s", began.elapsed().as_secs_f64());
        Self { database, rows, filling }
    }

    /// So many sessions from all over the table, of one half of them.
    pub(crate) fn sample(&self, half: Half, sessions: i64) -> Vec<Sample> {
        let all = self.rows / LINKS;
        let query = "SELECT md5('user ' || session)::uuid AS user_id,
                md5('token ' || session + $3 * 24)::uuid AS first_id,
                md5('hash ' || session + $3 * 99) || md5('more ' || session + $3 * 99) AS live_hash
            FROM generate_series($1 + 1, $1 + $2) number, LATERAL (SELECT number * 7919 % $3 AS session) AS place";
        let first = if half == Half::First { 0 } else { all / 2 };
        let query =
            sql_query(query).bind::<BigInt, _>(first).bind::<BigInt, _>(sessions.min(all / 2)).bind::<BigInt, _>(all);
        query.load(&mut self.database.connect()).expect("it reads no table")
    }
}

/// Rotates a live token, and puts its successor in its place.
pub(crate) fn rotate(conn: &mut PgConnection, live: &mut TokenHash) {
    let hash = fresh_hash();
    let successor = Successor::expiring_at(Uuid::new_v4(), hash.clone(), in_days(30));
    let rotation = RefreshTokenRepository::new(conn).rotate(live, &successor, Binding::ANY);
    assert!(matches!(rotation, Ok(Rotation::Rotated(_))), "{rotation:?}");
    *live = hash;
}

/// They are built at once afterwards, sorted, and not entry by entry.
fn drop_indexes(conn: &mut PgConnection) {
    conn.batch_execute(
        "ALTER TABLE refresh_tokens
             DROP CONSTRAINT refresh_tokens_pkey, DROP CONSTRAINT refresh_tokens_token_hash_key;
         DROP INDEX refresh_tokens_user_id_idx, refresh_tokens_session_id_idx, refresh_tokens_expires_at_idx",
    )
    .expect("the table is ours");
}

fn make_indexes(conn: &mut PgConnection) {
    conn.batch_execute(
        "SET maintenance_work_mem = '1GB';
         ALTER TABLE refresh_tokens
             ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (id),
             ADD CONSTRAINT refresh_tokens_token_hash_key UNIQUE (token_hash)",
    )
    .expect("no two rows are alike");
    build_indexes(conn).expect("the table is ours");
    verify_schema(conn).expect("all is as it was");
}

/// On two connections, so that both processors have something to do.
fn fill(database: &Database, rows: i64, progress: &ProgressBar) {
    let until = race::now(&mut database.connect());
    let work = |parity: i64| {
        let mut conn = database.connect();
        let chunks = (0..rows).step_by(usize::try_from(CHUNK).expect("it is small"));
        for first in chunks.filter(|first| first / CHUNK % 2 == parity) {
            let last = (first + CHUNK).min(rows) - 1;
            sql_query(FILL)
                .bind::<BigInt, _>(first)
                .bind::<BigInt, _>(last)
                .bind::<BigInt, _>(rows / LINKS)
                .bind::<Timestamptz, _>(until)
                .execute(&mut conn)
                .expect("the rows are new");
            progress.inc((last - first + 1).unsigned_abs());
        }
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| work(1));
        work(0);
        other.join().expect("it does not panic");
    });
}
