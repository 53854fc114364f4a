//! Partitions that the host has made, and such as two drop at once.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::RefreshTokenRepository;
use refresh_tokens_support::doc::connection;
use refresh_tokens_support::{Database, race};

/// One of the host's for all times: each month is in it, and as it has no end, it is never over.
#[test]
fn a_partition_without_an_end_has_every_month_and_is_never_dropped() {
    let mut conn = connection();
    conn.batch_execute(
        "CREATE TABLE whole PARTITION OF refresh_tokens_archive FOR VALUES FROM ('2020-05-17 UTC') TO (MAXVALUE)",
    )
    .unwrap();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.create_archive_partitions(2), Ok(Vec::new()));
    let now = tokens.now().unwrap();
    assert_eq!(tokens.drop_archived_before(now), Ok(Vec::new()));
    let names: Vec<String> = tokens.archive_partitions().unwrap().into_iter().map(|partition| partition.name).collect();
    assert_eq!(names, ["whole"]);
}

/// Both have seen three partitions when the first of them drops one: each is dropped once, and reported by who dropped it.
#[test]
fn of_two_that_drop_the_same_partitions_each_reports_its_own() {
    let database = Database::migrated();
    let mut conn = database.connect();
    conn.batch_execute(
        "CREATE TABLE one PARTITION OF refresh_tokens_archive FOR VALUES FROM ('2020-01-01 UTC') TO ('2020-02-01 UTC');
         CREATE TABLE two PARTITION OF refresh_tokens_archive FOR VALUES FROM ('2020-02-01 UTC') TO ('2020-03-01 UTC');
         CREATE TABLE three PARTITION OF refresh_tokens_archive FOR VALUES FROM ('2020-03-01 UTC') TO ('2020-04-01 UTC')",
    )
    .unwrap();
    let now = race::now(&mut conn);
    let both = conn
        .transaction(|conn| {
            let holder = race::pid(conn);
            // It holds up who drops, and not who looks.
            conn.batch_execute("LOCK TABLE refresh_tokens_archive IN SHARE UPDATE EXCLUSIVE MODE")?;
            QueryResult::Ok([(); 2].map(|()| {
                race::start_blocked(&database, holder, move |conn| {
                    RefreshTokenRepository::new(conn).drop_archived_before(now)
                })
            }))
        })
        .unwrap();
    let mut dropped: Vec<String> =
        both.into_iter().flat_map(|one| one.join().unwrap().unwrap()).map(|partition| partition.name).collect();
    dropped.sort();
    assert_eq!(dropped, ["one", "three", "two"]);
}
