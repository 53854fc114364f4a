//! Clean-up, and the archive.

use std::ops::ControlFlow;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use refresh_tokens::{CleanupBudget, RefreshTokenRepository, RetentionPolicy};

use super::Case;

/// So that each of the three that are due goes by itself.
fn one_by_one() -> CleanupBudget {
    CleanupBudget::default().batch(1)
}

fn with_archive(conn: &mut PgConnection) {
    RefreshTokenRepository::new(conn).create_archive_partitions(1).unwrap();
}

/// Two months long gone.
fn with_old_archive(conn: &mut PgConnection) {
    conn.batch_execute(
        "CREATE TABLE archive_2001_01 PARTITION OF refresh_tokens_archive
             FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-02-01 00:00+00');
         CREATE TABLE archive_2001_02 PARTITION OF refresh_tokens_archive
             FOR VALUES FROM ('2001-02-01 00:00+00') TO ('2001-03-01 00:00+00')",
    )
    .unwrap();
    with_archive(conn);
}

pub(crate) fn upkeep() -> Vec<Case> {
    vec![
        Case::in_steps("cleanup_expired", |host, _| host.store.cleanup_expired(7).map(|_| String::new())),
        Case::in_steps("cleanup", |host, _| {
            host.store.cleanup(&RetentionPolicy::default(), &one_by_one()).map(|_| String::new())
        }),
        Case {
            prepare: with_archive,
            ..Case::in_steps("cleanup, archiving", |host, _| {
                host.store.cleanup(&RetentionPolicy::default().archive(), &one_by_one()).map(|_| String::new())
            })
        },
        Case::in_steps("cleanup_with", |host, _| {
            let mut told = 0;
            let progress = |report: &refresh_tokens::CleanupReport| {
                // Of committed batches, and of each once.
                assert!(report.batches > told, "{report:?} after {told}");
                told = report.batches;
                ControlFlow::Continue(())
            };
            host.store.cleanup_with(&RetentionPolicy::default(), &one_by_one(), progress).map(|_| String::new())
        }),
        Case::new("create_archive_partitions", |host, _| {
            host.store.create_archive_partitions(1).map(|_| String::new())
        }),
        Case {
            prepare: with_old_archive,
            ..Case::reads("archive_partitions", |host, _| Ok(host.store.archive_partitions()?.len().to_string()))
        },
        Case {
            prepare: with_old_archive,
            ..Case::in_steps("drop_archived_before", |host, f| {
                host.store.drop_archived_before(f.live.created_at).map(|_| String::new())
            })
        },
    ]
}
