//! A schema of its own for each test, on the server of `DATABASE_URL` or on a private one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;

use crate::server::{Durability, Server};

/// The server to use: that of `DATABASE_URL`, or one that this process starts at the first call and that ends with it.
///
/// # Panics
///
/// Where there is none and none can be started; the message says what to do.
pub fn shared_url() -> &'static str {
    static URL: OnceLock<(String, Option<Server>)> = OnceLock::new();
    let (url, _server) = URL.get_or_init(|| {
        if let Some(url) = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()) {
            return (url, None);
        }
        match Server::temporary(Durability::None) {
            Ok(server) => (server.url(), Some(server)),
            Err(error) => panic!("\n\n{error}\n"),
        }
    });
    url
}

/// Adds libpq parameters to a connection URL.
pub fn with_parameters(url: &str, parameters: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameters}")
}

/// An empty schema, dropped with this value. Its URL sets `search_path` to it.
#[derive(Debug)]
pub struct Database {
    server_url: String,
    schema: String,
    url: String,
}

const PREFIX: &str = "refresh_tokens_test_";

impl Database {
    /// An empty schema on the shared server.
    pub fn empty() -> Self {
        Self::empty_on(shared_url())
    }

    /// An empty schema on the server of this URL.
    pub fn empty_on(server_url: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        static SWEPT: OnceLock<()> = OnceLock::new();
        let mut conn = connect(server_url);
        SWEPT.get_or_init(|| sweep(&mut conn));
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let schema = format!("{PREFIX}{}_{}_{number}", seconds_now(), std::process::id());
        run(&mut conn, &format!("CREATE SCHEMA {schema}"));
        let url = with_parameters(server_url, &format!("options=-csearch_path%3D{schema}"));
        Self { server_url: server_url.to_owned(), schema, url }
    }

    /// A schema with this library's tables.
    pub fn migrated() -> Self {
        Self::empty().migrate()
    }

    /// A schema with this library's tables, on the server of this URL.
    pub fn migrated_on(server_url: &str) -> Self {
        Self::empty_on(server_url).migrate()
    }

    fn migrate(self) -> Self {
        refresh_tokens::migrate(&mut self.connect()).expect("the migrations apply to an empty schema");
        self
    }

    /// Where to connect to it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// A connection whose `search_path` is this schema.
    pub fn connect(&self) -> PgConnection {
        connect(&self.url)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may be gone, or the test may be failing already: either way there is nothing to add.
        if let Ok(mut conn) = PgConnection::establish(&self.server_url) {
            let _ = sql_query(format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema)).execute(&mut conn);
        }
    }
}

/// Connects, or fails with the reason.
pub fn connect(url: &str) -> PgConnection {
    match PgConnection::establish(url) {
        Ok(conn) => conn,
        Err(error) => panic!(
            "\n\ncannot connect: {error}\nUnset DATABASE_URL to use a private server, or make it name one that runs.\n"
        ),
    }
}

fn run(conn: &mut PgConnection, statement: &str) {
    if let Err(error) = sql_query(statement).execute(conn) {
        panic!("{statement}: {error}");
    }
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Drops what tests that were killed more than an hour ago have left on a server that stays.
fn sweep(conn: &mut PgConnection) {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let left: Vec<Row> = sql_query("SELECT nspname::text AS name FROM pg_namespace WHERE nspname LIKE $1")
        .bind::<Text, _>(format!("{PREFIX}%"))
        .load(conn)
        .unwrap_or_default();
    for Row { name } in left {
        let made = name[PREFIX.len()..].split('_').next().and_then(|seconds| seconds.parse::<u64>().ok());
        if made.is_some_and(|made| made + 3_600 < seconds_now()) {
            let _ = sql_query(format!("DROP SCHEMA IF EXISTS {name} CASCADE")).execute(conn);
        }
    }
}

/// The table of the connection's schema as `diesel print-schema` prints it (`scripts/schema`).
pub fn print_schema(conn: &mut PgConnection) -> String {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    let lines: Vec<Line> = sql_query(include_str!("print_schema.sql")).load(conn).expect("the catalog can be read");
    let body: String = lines.into_iter().map(|Line { line }| line + "\n").collect();
    format!("// @generated automatically by Diesel CLI.\n\ndiesel::table! {{\n{body}    }}\n}}\n")
}
