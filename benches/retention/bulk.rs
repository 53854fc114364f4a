//! Time and WAL of a million rows that are deleted, archived, and dropped as a partition.

use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use refresh_tokens::{CleanupBudget, RefreshTokenRepository, RetentionPolicy};

use crate::report::Report;
use crate::scale::Scale;
use crate::table::Table;

/// Bytes of WAL that were written since the server was made.
fn wal(conn: &mut PgConnection) -> i64 {
    #[derive(QueryableByName)]
    struct Written {
        #[diesel(sql_type = BigInt)]
        bytes: i64,
    }
    let query = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS bytes";
    sql_query(query).get_result(conn).map(|Written { bytes }| bytes).expect("the server has one")
}

/// Seconds and bytes of WAL that some work took.
fn measured(conn: &mut PgConnection, work: impl FnOnce(&mut PgConnection)) -> (f64, i64) {
    // Each begins with no page written since a checkpoint, which costs it the whole page once.
    let _ = conn.batch_execute("CHECKPOINT");
    let before = wal(conn);
    let began = Instant::now();
    work(conn);
    (began.elapsed().as_secs_f64(), wal(conn) - before)
}

pub(crate) fn compare(scale: &Scale, table: &Table, report: &mut Report) {
    report.head(&["a million rows", "seconds", "MB of WAL"]);
    let mut conn = table.database.connect();
    RefreshTokenRepository::new(&mut conn).create_archive_partitions(0).expect("the role owns the archive");
    let rows = scale.due_rows() / 5;
    let budget = CleanupBudget::default().max_rows(rows);
    let per_million = 1e6 / rows as f64;
    let mut row = |name: &str, (seconds, bytes): (f64, i64)| {
        let megabytes = bytes as f64 / 1e6;
        report.row(&[
            name.to_owned(),
            format!("{:.1}", seconds * per_million),
            format!("{:.0}", megabytes * per_million),
        ]);
    };
    for (name, policy) in [("deleted", RetentionPolicy::default()), ("archived", RetentionPolicy::default().archive())]
    {
        let took = measured(&mut conn, |conn| {
            let report = RefreshTokenRepository::new(conn).cleanup(&policy, &budget).expect("it cleans up");
            assert_eq!(report.tokens(), rows, "there are enough");
        });
        row(name, took);
    }
    let partitions = RefreshTokenRepository::new(&mut conn).archive_partitions().expect("it can be read");
    let took = measured(&mut conn, |conn| {
        for partition in partitions {
            conn.batch_execute(&format!("DROP TABLE {}", partition.name)).expect("the role owns it");
        }
    });
    row("dropped as a partition of the archive", took);
    let took =
        measured(&mut conn, |conn| conn.batch_execute("VACUUM refresh_tokens").expect("the role owns the table"));
    report.line(&format!(
        "\nVACUUM after these and the clean-up before: {:.1} s, {} MB of WAL",
        took.0,
        took.1 / 1_000_000
    ));
}
