//! A schema of its own for each test, on the server of `DATABASE_URL` or on a private one.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use diesel::connection::CacheSize;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use refresh_tokens::StoreConfig;

use crate::pgbouncer::PgBouncer;
use crate::serializable::Serializable;
use crate::server::{Durability, Server, ServerError};

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
        let server = started(Server::temporary(Durability::None));
        (server.url(), Some(server))
    });
    url
}

fn started<T>(outcome: Result<T, ServerError>) -> T {
    match outcome {
        Ok(started) => started,
        Err(error) => panic!("\n\n{error}\n"),
    }
}

/// Adds libpq parameters to a connection URL.
pub fn with_parameters(url: &str, parameters: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameters}")
}

/// Has all tests reach their server through [`Serializable`], if it is set.
pub const SERIALIZABLE: &str = "REFRESH_TOKENS_SERIALIZABLE";

/// Has all tests begin with the tables of `docs/distributed.sql`, if it is set.
pub const DISTRIBUTED: &str = "REFRESH_TOKENS_DISTRIBUTED";

/// Whether every transaction is, on a shared database.
pub fn is_serializable() -> bool {
    std::env::var_os(SERIALIZABLE).is_some()
}

/// Has all tests reach their server through PgBouncer in transaction mode, if it is set: to the path of a file, to which
/// each of them adds its name.
pub const THROUGH_PGBOUNCER: &str = "REFRESH_TOKENS_THROUGH_PGBOUNCER";

/// PgBouncer in front of a private server, which all of them share.
#[derive(Debug)]
pub struct Pooled {
    pooler: PgBouncer,
    server: &'static Server,
}

impl Pooled {
    /// Starts it, with lines for its configuration.
    ///
    /// # Panics
    ///
    /// Where PgBouncer or the server cannot be started; the message says what to do.
    pub fn start(settings: &[&str]) -> Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        let server = SERVER.get_or_init(|| started(Server::temporary(Durability::None)));
        let pooler = started(PgBouncer::in_front_of(server, settings));
        Self { pooler, server }
    }

    /// The server itself.
    pub fn server(&self) -> &Server {
        self.server
    }

    /// That of [`THROUGH_PGBOUNCER`]: fewer server processes than connections, so that they are lent around.
    fn shared() -> Option<&'static Self> {
        static POOLED: OnceLock<Pooled> = OnceLock::new();
        let list = std::env::var_os(THROUGH_PGBOUNCER)?;
        add_this_test(Path::new(&list)).expect("the list can be written");
        POOLED.get_or_init(|| Self::start(&["default_pool_size = 6"])).into()
    }
}

/// libtest calls a test's thread as the test.
fn add_this_test(list: &Path) -> std::io::Result<()> {
    let thread = std::thread::current();
    let line = format!("{}\n", thread.name().unwrap_or_default());
    OpenOptions::new().create(true).append(true).open(list)?.write_all(line.as_bytes())
}

/// As many as a crowd at one token needs.
pub const RETRIES: u32 = 100;

/// An empty schema, dropped with this value. Its URL sets `search_path` to it.
#[derive(Debug)]
pub struct Database {
    server_url: String,
    schema: String,
    url: String,
    /// Where it is without PgBouncer, or what makes it SERIALIZABLE.
    direct_url: String,
    drop: String,
    is_pooled: bool,
}

/// Through PgBouncer, all connections to a database have the same bounds, also those that without it have none: too long
/// to be met on a busy machine.
const PATIENCE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(60)];
const PATIENT: [(&str, &str); 2] = [("lock_timeout", "30s"), ("statement_timeout", "60s")];

const PREFIX: &str = "refresh_tokens_test_";

impl Database {
    /// An empty schema on the shared server.
    pub fn empty() -> Self {
        if let Some(pooled) = Pooled::shared() {
            return Self::empty_pooled(pooled).with(&PATIENT);
        }
        if is_serializable() { Self::empty_serializable() } else { Self::empty_on(shared_url()) }
    }

    /// An empty schema on the shared server, whose URL leads to [`Serializable`].
    fn empty_serializable() -> Self {
        static BEFORE: OnceLock<Serializable> = OnceLock::new();
        let mut database = Self::empty_on(shared_url());
        let url = BEFORE.get_or_init(|| Serializable::before(shared_url())).url(&database.url);
        database.url = url + "%20-cdefault_transaction_isolation%3Dserializable";
        database
    }

    /// An empty schema in a database of its own, whose URL leads to PgBouncer.
    fn empty_pooled(pooled: &Pooled) -> Self {
        let server_url = pooled.server.url();
        let (name, direct_url, drop) = new_database(&server_url);
        run(&mut connect(&direct_url), &format!("CREATE SCHEMA {name}"));
        let url = pooled.pooler.url(&name);
        let database = Self { server_url, schema: name.clone(), url, direct_url, drop, is_pooled: true };
        database.with(&[("search_path", &name)])
    }

    /// An empty schema on the server of this URL.
    pub fn empty_on(server_url: &str) -> Self {
        static SWEPT: OnceLock<()> = OnceLock::new();
        let mut conn = connect(server_url);
        SWEPT.get_or_init(|| sweep(&mut conn));
        let schema = fresh_name();
        run(&mut conn, &format!("CREATE SCHEMA {schema}"));
        let url = with_parameters(server_url, &format!("options=-csearch_path%3D{schema}"));
        let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
        Self { server_url: server_url.to_owned(), schema, direct_url: url.clone(), url, drop, is_pooled: false }
    }

    /// Has every connection that is opened from now on begin with these settings.
    ///
    /// PgBouncer refuses or drops the `options` of a URL, so there it is the database that has them.
    #[must_use]
    pub fn with(mut self, settings: &[(&str, &str)]) -> Self {
        if self.is_pooled {
            let mut conn = connect(&self.server_url);
            for (name, value) in settings {
                let value = value.replace(", ", "', '"); // a list is one of strings
                run(&mut conn, &format!("ALTER DATABASE {} SET {name} = '{value}'", self.schema));
            }
        } else {
            let set = |(name, value): &(&str, &str)| format!("%20-c{name}%3D{}", value.replace(' ', "%5C%20"));
            self.url.extend(settings.iter().map(set));
            self.direct_url.extend(settings.iter().map(set));
        }
        self
    }

    /// A schema with this library's tables.
    pub fn migrated() -> Self {
        Self::empty().migrate()
    }

    /// A schema with this library's tables, on the server of this URL.
    pub fn migrated_on(server_url: &str) -> Self {
        Self::empty_on(server_url).migrate()
    }

    /// A schema with the tables of `docs/distributed.sql`.
    pub fn for_other_engines() -> Self {
        Self::empty().with_the_tables_for_other_engines()
    }

    /// A schema with this library's tables, in a database of its own on the server of this URL: there nobody waits for
    /// the transactions of other tests, as the build of an index does.
    pub fn migrated_apart(server_url: &str) -> Self {
        let (_, url, drop) = new_database(server_url);
        let mut database = Self::empty_on(&url);
        server_url.clone_into(&mut database.server_url);
        database.drop = drop;
        database.migrate()
    }

    /// A schema with this library's tables in a database of its own, whose URL leads to PgBouncer, and which has a
    /// store's default timeouts.
    pub fn migrated_pooled(pooled: &Pooled) -> Self {
        Self::empty_pooled(pooled).with(&[("lock_timeout", "2s"), ("statement_timeout", "10s")]).migrate()
    }

    /// A schema with this library's tables, in which every transaction is SERIALIZABLE.
    pub fn migrated_serializable() -> Self {
        Self::empty_serializable().migrate()
    }

    /// On a connection to the server itself, so that PgBouncer opens none before a test has all its settings.
    fn migrate(self) -> Self {
        if std::env::var_os(DISTRIBUTED).is_some() {
            return self.with_the_tables_for_other_engines();
        }
        refresh_tokens::migrate(&mut self.connect_directly()).expect("the migrations apply to an empty schema");
        self
    }

    /// One by one, as an engine wants them that cannot have all in one transaction.
    fn with_the_tables_for_other_engines(self) -> Self {
        let mut conn = self.connect_directly();
        let sql = include_str!("../../../docs/distributed.sql");
        sql.trim_end().split_terminator(";\n").for_each(|statement| run(&mut conn, statement));
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

    /// A connection whose `search_path` is this schema; through PgBouncer, one without prepared statements.
    pub fn connect(&self) -> PgConnection {
        let mut conn = connect(&self.url);
        self.customize(&mut conn);
        conn
    }

    /// Has a connection to it, which the test opened by itself, prepare nothing by name if it leads through PgBouncer.
    pub fn customize(&self, conn: &mut PgConnection) {
        if self.is_pooled {
            conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        }
    }

    /// For a store on it, which is told of PgBouncer where its connections lead through it, and makes calls again where
    /// every transaction is SERIALIZABLE.
    pub fn config(&self) -> StoreConfig {
        if is_serializable() {
            return StoreConfig::default().conflict_retries(RETRIES);
        }
        if !self.is_pooled {
            return StoreConfig::default();
        }
        let [lock, statement] = PATIENCE;
        StoreConfig::default().transaction_pooler(true).lock_timeout(lock).statement_timeout(statement)
    }

    /// A connection that has a server process of its own: for who looks on, and for what belongs to a session.
    pub fn connect_directly(&self) -> PgConnection {
        connect(&self.direct_url)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may be gone, or the test may be failing already: either way there is nothing to add.
        if let Ok(mut conn) = PgConnection::establish(&self.server_url) {
            // A test may fail while there is a standby to be waited for that never answers.
            let _ = sql_query("SET synchronous_commit = local").execute(&mut conn);
            let _ = sql_query(&self.drop).execute(&mut conn);
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

/// Its name, its URL, and what drops it.
fn new_database(server_url: &str) -> (String, String, String) {
    let name = fresh_name();
    run(&mut connect(server_url), &format!("CREATE DATABASE {name}"));
    let url = server_url.replace("///postgres?", &format!("///{name}?"));
    let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    (name, url, drop)
}

fn fresh_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}_{}_{number}", seconds_now(), std::process::id())
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

/// What a query says, whose only column is `line`.
pub fn lines(conn: &mut PgConnection, query: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    let lines: Vec<Line> = sql_query(query).load(conn).expect("the query is sound");
    lines.into_iter().map(|Line { line }| line).collect()
}

/// The table of the connection's schema as `diesel print-schema` prints it (`scripts/schema`).
pub fn print_schema(conn: &mut PgConnection) -> String {
    let lines = lines(conn, include_str!("print_schema.sql"));
    let body: String = lines.into_iter().map(|line| line + "\n").collect();
    format!("// @generated automatically by Diesel CLI.\n\ndiesel::table! {{\n{body}    }}\n}}\n")
}
