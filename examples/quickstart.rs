//! The main job, step by step, on a PostgreSQL of its own: `cargo run --example quickstart`.
//!
//! With `-- --data FOLDER` the data stays, and the next run finds it. With `DATABASE_URL` it runs on that server
//! instead, in a schema of its own that is dropped afterwards.

#![expect(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::any::Any;
use std::collections::HashMap;
use std::error::Error;

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{
    Binding, CleanupBudget, Login, Pepper, Peppers, Refresh, RefreshToken, RefreshTokenStore, RetentionPolicy, Session,
    SessionPolicy, SessionQuery, SessionService, StoreConfig,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::server::{Durability, Server};
use uuid::Uuid;

const ALICE: Uuid = Uuid::from_u128(0xa11c_e000);
const BOB: Uuid = Uuid::from_u128(0xb0b0_0000);
const HER_COMPANY: Uuid = Uuid::from_u128(0xc0de_0000);

diesel::table! {
    /// The host's own: what it wants to know about a session.
    devices (session_id) {
        /// As in `refresh_tokens`.
        session_id -> Uuid,
        /// What its user calls it.
        name -> Text,
    }
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> std::result::Result<(), Failure> {
    let (url, _server_or_schema, place) = find_place()?;
    println!("Refresh tokens, step by step, {place}.\nSecrets and hashes are not shown.");
    let mut host = Host::start(&url)?;
    host.begin("Alice logs in on two devices");
    let (laptop, phone) = (host.log_in("laptop")?, host.log_in("phone")?);
    let laptop = host.refresh(&laptop)?;
    let phone = host.lose_an_answer(&phone)?;
    host.refuse_what_is_wrong(&laptop)?;
    host.catch_a_thief(&phone)?;
    host.end_one_session()?;
    host.change_the_password(&laptop)?;
    host.clean_up()?;
    println!("\nDone.");
    Ok(())
}

/// The application that uses the library, and how far the story has come.
struct Host {
    service: SessionService,
    conn: PgConnection,
    step: u32,
}

struct Client {
    name: &'static str,
    session_id: Uuid,
    secret: String,
}

impl Host {
    fn start(url: &str) -> Result<Self> {
        let mut conn = PgConnection::establish(url)?;
        println!("\n 1. The host starts, and prepares its database");
        let applied = refresh_tokens::migrate(&mut conn)?.len();
        say("library", &format!("migrate() → {applied} migrations applied; many processes may call it at once"));
        refresh_tokens::verify_schema(&mut conn)?;
        say("library", "verify_schema() → the table is as this version needs it");
        conn.batch_execute(
            "SET client_min_messages = 'warning';
             CREATE TABLE IF NOT EXISTS devices (session_id uuid PRIMARY KEY, name text NOT NULL)",
        )?;
        say("host", "makes a table of device names, keyed by session_id");
        let store = RefreshTokenStore::connect(url, &StoreConfig::default())?;
        // A host reads 32 random bytes from its configuration. They never come into the database.
        let peppers = Peppers::new(Pepper::new(1, &[7; Pepper::MIN_LENGTH])?);
        let service = SessionService::new(store, peppers, SessionPolicy::default())?;
        let mut host = Self { service, conn, step: 1 };
        let found = host.service.list_sessions(&SessionQuery::of_user(ALICE))?.sessions.len();
        if found > 0 {
            host.begin(&format!("Here is the data of an earlier run, with {found} live sessions of Alice's"));
            host.list()?;
        }
        Ok(host)
    }

    fn refresh(&mut self, laptop: &Client) -> Result<Client> {
        self.begin("The laptop's access token has run out: its refresh token is spent for a new one");
        self.present(laptop, "presents its refresh token", Binding::user(ALICE).org(HER_COMPANY), "rotated")
    }

    fn lose_an_answer(&mut self, phone: &Client) -> Result<Client> {
        self.begin("The phone does the same, but the answer is lost on the way");
        let lost = self.present(phone, "presents its refresh token", Binding::user(ALICE), "rotated")?;
        let again =
            self.present(phone, "hears nothing, and presents the same token again", Binding::ANY, "repeated")?;
        insist(lost.secret == again.secret, "the same successor")?;
        say("library", "it is the successor that was made the first time: no second one, and no false alarm");
        Ok(again)
    }

    fn refuse_what_is_wrong(&mut self, laptop: &Client) -> Result<()> {
        self.begin("What is refused, and why. The client hears `invalid_grant`, whatever it is");
        let guess = Client { name: "stranger", secret: "let me in".to_owned(), ..*laptop };
        self.present(&guess, "presents a guess", Binding::ANY, "malformed")?;
        self.present(laptop, "presents Alice's token as Bob's", Binding::user(BOB), "binding_mismatch")?;
        let kiosk = self.log_in("kiosk")?;
        self.conn.batch_execute(&format!(
            "UPDATE refresh_tokens SET expires_at = clock_timestamp() WHERE session_id = '{}'",
            kiosk.session_id
        ))?;
        self.present(&kiosk, "comes back after its time is over", Binding::ANY, "expired")?;
        let car = self.log_in("car")?;
        let report = self.service.log_out(&car.secret)?;
        say("car", &format!("logs out: log_out() → {report}"));
        self.present(&car, "presents its token all the same", Binding::ANY, "revoked").map(drop)
    }

    fn catch_a_thief(&mut self, phone: &Client) -> Result<()> {
        self.begin("An attacker has copied the phone's secret, and goes on with it");
        let attacker = Client { name: "attacker", secret: phone.secret.clone(), ..*phone };
        let stolen = self.present(&attacker, "presents the copy", Binding::ANY, "rotated")?;
        let stolen = self.present(&stolen, "and, later, what it was given", Binding::ANY, "rotated")?;
        self.present(phone, "presents the original, which is spent now", Binding::ANY, "reused_successor_used")?;
        say("library", "cannot tell attacker from owner, so it has ended their session");
        self.present(&stolen, "presents what it was given last", Binding::ANY, "revoked").map(drop)
    }

    fn end_one_session(&mut self) -> Result<()> {
        self.begin("Alice logs in again, and ends the session of a tablet that she has lost");
        self.log_in("phone")?;
        let tablet = self.log_in("tablet")?;
        let newest = self.list()?.into_iter().next().ok_or("expected sessions")?;
        let report = self.service.end_session_of(ALICE, newest.session_id)?;
        say("host", &format!("end_session_of(), with the id from the list → {report}"));
        self.present(&tablet, "is used by somebody who found it", Binding::ANY, "revoked").map(drop)
    }

    fn change_the_password(&mut self, laptop: &Client) -> Result<()> {
        self.begin("On the laptop, Alice changes her password and logs out everywhere else");
        let ended = self.service.end_other_sessions(ALICE, laptop.session_id)?;
        let report = ended.ok_or("expected the laptop's session to be hers")?;
        say("library", &format!("end_other_sessions() → {report}"));
        self.log_in("new phone")?;
        self.list().map(drop)
    }

    fn clean_up(&mut self) -> Result<()> {
        self.begin("Once a day, the host cleans up");
        for days in [30, 0] {
            let policy = RetentionPolicy::default().keep_expired_for(TimeDelta::days(days));
            let report = self.service.store().cleanup(&policy, &CleanupBudget::default())?;
            say("library", &format!("cleanup(), what expired more than {days} days ago → {report}"));
        }
        say("host", "keeps rows for as long as it wants to notice reuse: 0 days is for the sake of the story");
        Ok(())
    }

    /// The host has checked the password, and begins a session.
    fn log_in(&mut self, name: &'static str) -> Result<Client> {
        let before_the_password = self.service.now()?;
        let login = Login::new(ALICE, HER_COMPANY).authenticated_at(before_the_password);
        let issued = self.service.start_session(&login)?;
        let session_id = issued.token.session_id;
        let device = (devices::session_id.eq(session_id), devices::name.eq(name));
        diesel::insert_into(devices::table).values(device).execute(&mut self.conn)?;
        say(name, &format!("logs in: start_session() → {}", describe(&issued.token)));
        Ok(Client { name, session_id, secret: issued.secret.expose().to_owned() })
    }

    /// A client presents its secret, and hears the answer that the story needs.
    fn present(&mut self, client: &Client, what: &str, binding: Binding, expected: &str) -> Result<Client> {
        say(client.name, what);
        let outcome = self.service.refresh(&client.secret, binding)?;
        let name = outcome.as_str();
        say("library", &format!("refresh() → {name}{}", meaning(&outcome)));
        insist(name == expected, expected)?;
        let secret = outcome.issued().map_or_else(|| client.secret.clone(), |issued| issued.secret.expose().to_owned());
        Ok(Client { secret, ..*client })
    }

    /// Lists Alice's sessions, as a page "your devices" would.
    fn list(&mut self) -> Result<Vec<Session>> {
        let sessions = self.service.list_sessions(&SessionQuery::of_user(ALICE))?.sessions;
        let names: HashMap<Uuid, String> = devices::table.load(&mut self.conn)?.into_iter().collect();
        say("library", "list_sessions() →");
        for session in &sessions {
            let name = names.get(&session.session_id).map_or("?", String::as_str);
            let last_used = session.last_rotated_at.unwrap_or(session.started_at).to_string();
            println!("{:15}{name:<10} session {:.8}, last used {last_used:.19}", "", session.session_id.to_string());
        }
        Ok(sessions)
    }

    fn begin(&mut self, title: &str) {
        self.step += 1;
        println!("\n{:>2}. {title}", self.step);
    }
}

fn say(who: &str, what: &str) {
    println!("    {who:<10} {what}");
}

fn describe(token: &RefreshToken) -> String {
    format!("session {:.8}, generation {}", token.session_id.to_string(), token.generation)
}

/// Whom the answer is about, where the client is told.
fn meaning(outcome: &Refresh) -> String {
    match outcome {
        Refresh::Rotated(issued) | Refresh::Repeated(issued) => format!(": {}", describe(&issued.token)),
        Refresh::Reused { token, response, .. } => format!(": {} was spent before: {response:?}", describe(token)),
        _ => String::new(),
    }
}

/// The story is also a test: it ends where the library answers otherwise than told.
fn insist(holds: bool, expected: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(format!("expected {expected}, and got something else").into()) }
}

/// The URL of the database, the server or schema that ends when it is dropped, and what to say about it.
fn find_place() -> Result<(String, Box<dyn Any>, String)> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match (std::env::var("DATABASE_URL"), arguments.as_slice()) {
        (Err(_), []) => {
            let server = Server::temporary(Durability::None)?;
            Ok((server.url(), Box::new(server), "on a private PostgreSQL, which is removed afterwards".to_owned()))
        }
        (Err(_), [flag, folder]) if flag == "--data" => {
            let server = Server::at(folder.as_ref())?;
            Ok((server.url(), Box::new(server), format!("on a PostgreSQL that keeps its data in {}", folder.display())))
        }
        (Ok(url), []) => {
            PgConnection::establish(&url)?; // an error that reads well, before the helper panics
            let schema = Database::empty_on(&url);
            let place = format!("in the schema {} of DATABASE_URL, which is dropped afterwards", schema.schema());
            Ok((schema.url().to_owned(), Box::new(schema), place))
        }
        _ => Err("usage: quickstart [--data FOLDER], and DATABASE_URL only without --data".into()),
    }
}

/// `main` prints an error's `Debug`; this one's reads well.
struct Failure(Box<dyn Error>);

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}
