//! The rows that every variant of the table is filled with, made once.

use ::refresh_tokens::TokenHash;
use ::refresh_tokens::schema::refresh_tokens;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::in_days;

use crate::variants::Ids;

/// Tokens of an ordinary session, of which a user has two.
pub(crate) const LINKS: i32 = 100;

/// Sessions of the user with the long history; how long they are, the load says.
pub(crate) const LONG_SESSIONS: i32 = 20;

/// How many rows there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Of ordinary users.
    pub(crate) rows: i32,
    /// Of each session of the user with the long history.
    pub(crate) long: i32,
}

impl Load {
    pub(crate) fn all_rows(self) -> i32 {
        self.rows + LONG_SESSIONS * self.long
    }

    /// Of ordinary users.
    pub(crate) fn sessions(self) -> usize {
        usize::try_from(self.rows / LINKS).expect("a count")
    }
}

/// A table with the rows in the order of their birth.
pub(crate) struct Rows {
    table: Database,
}

/// A session lasts 30 days, was used last at some instant of the last 30 days, and is spent but for its last token. A
/// token lives for 30 days. So half of all rows have expired, and every session can still be used.
///
/// Ids of version 7 tell the instant of birth, as they would.
const MAKE: &str = "
CREATE FUNCTION pg_temp.v7(born_at timestamptz, seed text) RETURNS uuid LANGUAGE sql AS $$
    SELECT (lpad(to_hex((extract(epoch FROM born_at) * 1000)::bigint), 12, '0')
        || '7' || substr(md5(seed), 1, 3) || 'a' || substr(md5(seed), 4, 15))::uuid
$$;
CREATE TABLE storage_rows AS
SELECT md5(seed)::uuid AS id_4, pg_temp.v7(born_at, seed) AS id_7,
    md5('user ' || owner)::uuid AS user_id,
    encode(sha256(seed::bytea), 'hex') AS token_hash,
    md5('org ' || owner % 100)::uuid AS active_org_id,
    born_at + interval '30 days' AS expires_at,
    CASE WHEN link < links THEN md5(next_seed)::uuid END AS rotated_to_4,
    CASE WHEN link < links THEN pg_temp.v7(born_at + gap, next_seed) END AS rotated_to_7,
    born_at AS created_at,
    md5('session ' || session)::uuid AS session_id,
    link - 1 AS generation,
    CASE WHEN link < links THEN born_at + gap END AS rotated_at,
    now() - (idle + interval '30 days' - gap) AS session_started_at
FROM (
    SELECT session, links, owner, interval '30 days' / links AS gap, interval '30 days' * random() AS idle
    FROM (
        SELECT session, {links} AS links, (session + 1) / 2 AS owner FROM generate_series(1, {sessions}) session
        UNION ALL
        SELECT -session, {long}, 0 FROM generate_series(1, {long_sessions}) session
    ) shape
) sessions
CROSS JOIN LATERAL generate_series(1, links) AS link
CROSS JOIN LATERAL (
    SELECT now() - idle - (links - link) * gap AS born_at,
        format('%s/%s', session, link) AS seed, format('%s/%s', session, link + 1) AS next_seed
) token
ORDER BY born_at";

/// In the order in which they lie; a scan that joins another one in its middle would change it.
const FILL: &str = "
SET synchronize_seqscans = off;
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, created_at,
    session_id, generation, rotated_at, session_started_at)
SELECT id_{version}, user_id, token_hash, active_org_id, expires_at, rotated_to_{version}, created_at,
    session_id, generation, rotated_at, session_started_at
FROM {schema}.storage_rows";

impl Rows {
    pub(crate) fn make(url: &str, load: Load) -> Self {
        let table = Database::empty_on(url);
        let mut conn = table.connect();
        // For the sort, which would else go through the disk; and the same random numbers in every run.
        conn.batch_execute("SET work_mem = '512MB'; SELECT setseed(0.5)").expect("any role may");
        let make = MAKE
            .replace("{links}", &LINKS.to_string())
            .replace("{sessions}", &(load.rows / LINKS).to_string())
            .replace("{long}", &load.long.to_string())
            .replace("{long_sessions}", &LONG_SESSIONS.to_string());
        conn.batch_execute(&make).expect("the schema is empty");
        Self { table }
    }

    /// Fills a table whose indexes are there already, so that they are as full as insertions leave them.
    pub(crate) fn fill(&self, conn: &mut PgConnection, ids: Ids) {
        let version = match ids {
            Ids::V4 => "4",
            Ids::V7 => "7",
        };
        let fill = FILL.replace("{version}", version).replace("{schema}", self.table.schema());
        conn.batch_execute(&fill).expect("the rows are new");
        conn.batch_execute("VACUUM ANALYZE refresh_tokens").expect("the role owns the table");
        // So that the fill is not written to the disk during the first measurements; not every role may.
        let _ = conn.batch_execute("CHECKPOINT");
    }
}

/// The tokens of a generation that can be rotated, in random order.
pub(crate) fn live(conn: &mut PgConnection, generation: i32) -> Vec<TokenHash> {
    refresh_tokens::table
        .filter(refresh_tokens::rotated_to.is_null())
        .filter(refresh_tokens::generation.eq(generation))
        .filter(refresh_tokens::expires_at.gt(in_days(1)))
        // They are random texts.
        .order(refresh_tokens::token_hash)
        .select(refresh_tokens::token_hash)
        .load(conn)
        .expect("the table was filled")
}
