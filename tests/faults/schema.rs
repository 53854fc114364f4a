//! The schema as it is compared: its tables and indexes, the ledger, and what `verify_schema` says of them.

use diesel::PgConnection;
use refresh_tokens::verify_schema;
use refresh_tokens_support::database::lines;

/// All that a migration or a build of indexes can change, a line each.
pub(crate) fn shape(conn: &mut PgConnection) -> Vec<String> {
    let mut found = lines(
        conn,
        "SELECT format('%s %s %s', relkind, relname, indisvalid) AS line
         FROM pg_class LEFT JOIN pg_index ON indexrelid = pg_class.oid
         WHERE relnamespace = current_schema()::regnamespace ORDER BY relkind, relname",
    );
    if found.iter().any(|line| line.starts_with("r refresh_tokens_migrations ")) {
        let ledger = "SELECT format('ledger %s %s', version, count(*)) AS line
            FROM refresh_tokens_migrations GROUP BY version ORDER BY version";
        found.extend(lines(conn, ledger));
    }
    found.push(format!("verify_schema {:?}", verify_schema(conn)));
    found
}
