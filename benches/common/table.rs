//! Tables with rows in them, made by the server.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, Integer, Text};

/// Sessions that have been rotated for a while, all in an organisation named `name`.
pub(crate) struct Rows {
    pub(crate) name: &'static str,
    pub(crate) sessions: i32,
    pub(crate) links: i32,
}

/// Rows as rotations leave them: a link every quarter of an hour, the last one live, two sessions to a user.
///
/// In random order, because the links of a real session lie far from each other.
const FILL: &str = "
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, rotated_to, created_at,
    session_id, generation, rotated_at)
SELECT md5(format('%s/%s/%s', name, session, link))::uuid,
    md5(format('%s/%s', name, session / 2))::uuid,
    encode(sha256(format('%s/%s/%s', name, session, link)::bytea), 'hex'),
    md5(name)::uuid,
    born_at + interval '30 days',
    CASE WHEN link < links THEN md5(format('%s/%s/%s', name, session, link + 1))::uuid END,
    born_at,
    md5(format('session %s/%s', name, session))::uuid,
    link - 1,
    CASE WHEN link < links THEN born_at + interval '15 minutes' END
FROM unnest($1, $2, $3) AS shape (name, sessions, links),
    generate_series(1, sessions) AS session,
    generate_series(1, links) AS link,
    LATERAL (SELECT now() - (links - link) * interval '15 minutes' AS born_at) AS clock
ORDER BY random()";

pub(crate) fn fill(conn: &mut PgConnection, rows: &[Rows]) {
    // For the sort, which would else go through the disk; on this connection alone.
    conn.batch_execute("SET work_mem = '512MB'").expect("any role may set it");
    let column = |value: fn(&Rows) -> i32| rows.iter().map(value).collect::<Vec<_>>();
    let names: Vec<_> = rows.iter().map(|rows| rows.name).collect();
    sql_query(FILL)
        .bind::<Array<Text>, _>(names)
        .bind::<Array<Integer>, _>(column(|rows| rows.sessions))
        .bind::<Array<Integer>, _>(column(|rows| rows.links))
        .execute(conn)
        .expect("the rows are new");
    conn.batch_execute("VACUUM ANALYZE refresh_tokens").expect("the role owns the table");
    // So that the fill is not written to the disk during the first measurements; not every role may.
    let _ = conn.batch_execute("CHECKPOINT");
}
