//! Metrics for Prometheus: what to install, when to set the gauges, and what a scrape answers.
//!
//! Paste `install`, `set_gauges` and `scrape`; beside it lie `grafana.json`, a dashboard, and `alerts.yml`, the rules
//! of the runbook. Run it: `cargo run --example prometheus`.

#![expect(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use refresh_tokens::{
    Binding, Janitor, JanitorConfig, OnReuse, RefreshTokenStore, RetentionPolicy, RevokedReason, StoreConfig, observe,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{new_token, successor};

/// Times from half a millisecond, a round trip on a near network, to the timeouts of the store, in seconds.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// How many rotations a group sends together.
const ROTATIONS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Once, at the start of the process.
fn install() -> Result<PrometheusHandle, Box<dyn Error>> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_batch_rotations".to_owned()), &ROTATIONS)?
        .install_recorder()?;
    observe::describe();
    Ok(handle)
}

/// Before each scrape: what is a state, and no event.
fn set_gauges(store: &RefreshTokenStore, janitor: &Janitor) {
    observe::record_pool(store, "main");
    observe::record_janitor(janitor);
}

/// Every minute or so, on one node or on all of them: it asks the database.
fn set_backlog(store: &RefreshTokenStore, policy: &RetentionPolicy) -> Result<(), refresh_tokens::Error> {
    store.retention_backlog(policy).map(drop)
}

/// Answers one request for `/metrics`: in an application, a route of its web server.
fn scrape(mut stream: TcpStream, text: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = [0; 1_024];
    let _ = stream.read(&mut request)?;
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{text}"
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    let prometheus = install()?;
    let database = Database::migrated();
    let store = RefreshTokenStore::connect(database.url(), &StoreConfig::default().max_connections(4))?;
    let (told, hears) = mpsc::channel();
    let config = JanitorConfig::default().jitter(Duration::ZERO).on_run(move |_| told.send(()).unwrap_or_default());
    let janitor = Janitor::start(store.clone(), RetentionPolicy::default(), config)?;
    hears.recv()?;

    work(&store)?;

    set_backlog(&store, &RetentionPolicy::default())?;
    set_gauges(&store, &janitor);
    prometheus.run_upkeep(); // every few seconds in an application, so that histograms stay small

    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let text = prometheus.render();
    let server = thread::spawn(move || listener.accept().and_then(|(stream, _)| scrape(stream, &text)));
    let mut client = TcpStream::connect(address)?;
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    server.join().map_err(|_| "the server panicked")??;
    println!("{answer}");
    Ok(())
}

/// What an application does all day.
fn work(store: &RefreshTokenStore) -> Result<(), refresh_tokens::Error> {
    let mut presented = store.create(&new_token())?.token_hash;
    let stolen = presented.clone();
    for _ in 0..20 {
        let redemption = store.redeem(&presented, &successor(), Binding::ANY, OnReuse::RevokeSession)?;
        if let Some(token) = redemption.successor() {
            presented = token.token_hash;
        }
    }
    let _thief = store.redeem(&stolen, &successor(), Binding::ANY, OnReuse::RevokeSession)?;
    let token = store.create(&new_token())?;
    store.with_reason(RevokedReason::PasswordChanged).revoke_all_for_user(token.user_id)?;
    Ok(())
}
