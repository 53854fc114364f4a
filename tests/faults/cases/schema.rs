//! What makes and removes the tables, on a connection of the host's.

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use refresh_tokens::{build_indexes, drop_tables, migrate};

use super::{Begins, Case, Lock};

/// One is gone, and a build of another was broken off.
fn without_indexes(conn: &mut PgConnection) {
    conn.batch_execute(
        "DROP INDEX refresh_tokens_user_id_idx;
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'refresh_tokens_session_id_idx'::regclass",
    )
    .unwrap();
}

pub(crate) fn schema() -> Vec<Case> {
    vec![
        Case {
            begins: Begins::Nothing,
            ..Case::new("migrate", |host, _| migrate(&mut *host.conn()?).map(|_| String::new())).again_by_the_caller()
        },
        Case {
            begins: Begins::Tables,
            ..Case::new("drop_tables", |host, _| drop_tables(&mut *host.conn()?).map(|_| String::new()))
                .again_by_the_caller()
        },
        Case {
            begins: Begins::Tables,
            prepare: without_indexes,
            lock: Lock::Tried,
            ..Case::in_steps("build_indexes", |host, _| build_indexes(&mut *host.conn()?).map(|_| String::new()))
                .again_by_the_caller()
        },
    ]
}
