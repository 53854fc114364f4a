//! The main job, step by step, on a PostgreSQL of its own: `cargo run --example quickstart`.
//!
//! With `-- --data FOLDER` the data stays, and the next run finds it. With `DATABASE_URL` it runs on that server
//! instead, in a schema of its own that is dropped afterwards.

#![expect(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::any::Any;
use std::collections::HashMap;
use std::error::Error;

use chrono::{DateTime, Duration, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::{now, select, sql};
use diesel::prelude::*;
use diesel::sql_types::{Text, Timestamptz};
use refresh_tokens::{
    Binding, NewRefreshToken, RefreshToken, RefreshTokenRepository, Refusal, RevokedReason, Rotation, SessionOptions,
    Successor, TokenHash,
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
    let mut host = Host { conn: PgConnection::establish(&url)?, step: 0 };
    host.start()?;
    host.begin("Alice logs in on two devices");
    let (laptop, phone) = (host.log_in("laptop", Duration::days(30))?, host.log_in("phone", Duration::days(30))?);
    let laptop = host.rotate(&laptop)?;
    let phone = host.lose_a_response(&phone)?;
    host.refuse_what_is_wrong(&laptop)?;
    host.catch_a_thief(&phone)?;
    host.end_one_session()?;
    host.end_all_other_sessions(&laptop)?;
    host.clean_up()?;
    println!("\nDone.");
    Ok(())
}

/// The application that uses the library, and how far the story has come.
struct Host {
    conn: PgConnection,
    step: u32,
}

struct Client {
    name: &'static str,
    secret: String,
}

impl Host {
    fn start(&mut self) -> Result<()> {
        self.begin("The host starts, and prepares its database");
        let applied = refresh_tokens::migrate(&mut self.conn)?.len();
        say("library", &format!("migrate() → {applied} migrations applied; many processes may call it at once"));
        refresh_tokens::verify_schema(&mut self.conn)?;
        say("library", "verify_schema() → the table is as this version needs it");
        self.conn.batch_execute(
            "SET lock_timeout = '2s'; SET statement_timeout = '10s'; SET client_min_messages = 'warning';
             CREATE TABLE IF NOT EXISTS devices (session_id uuid PRIMARY KEY, name text NOT NULL)",
        )?;
        say("host", "bounds every wait, and makes a table of device names, keyed by session_id");
        let found = self.tokens().get_active_tokens_for_user(ALICE)?.len();
        if found > 0 {
            self.begin(&format!("Here is the data of an earlier run, with {found} live sessions of Alice's"));
            self.list()?;
        }
        Ok(())
    }

    fn rotate(&mut self, laptop: &Client) -> Result<Client> {
        self.begin("The laptop's access token has run out: its refresh token is spent for a new one");
        self.present(laptop, "presents its refresh token", Binding::user(ALICE).org(HER_COMPANY), "Rotated")
    }

    fn lose_a_response(&mut self, phone: &Client) -> Result<Client> {
        self.begin("The phone does the same, but the answer to COMMIT is lost between PostgreSQL and the host");
        let (presented, secret) = (self.hash(&phone.secret)?, new_secret());
        let successor = Successor::expiring_at(Uuid::new_v4(), self.hash(&secret)?, self.after(Duration::days(30))?);
        let lost = self.tokens().rotate(&presented, &successor, Binding::user(ALICE))?;
        say("host", "cannot know whether it was rotated; sends the same request again, with the same successor");
        let again = self.tokens().rotate(&presented, &successor, Binding::user(ALICE))?;
        say_answer(&again);
        let is_same = matches!((&lost, &again), (Rotation::Rotated(made), Rotation::Repeated(given)) if made == given);
        insist(is_same, "the same successor")?;
        say("library", "it is the successor that was made the first time: no second one, and no false alarm");
        Ok(Client { secret, ..*phone })
    }

    fn refuse_what_is_wrong(&mut self, laptop: &Client) -> Result<()> {
        self.begin("What is refused, and why. The client hears `invalid_grant`, whatever it is");
        let guess = Client { name: "stranger", secret: new_secret() };
        self.present(&guess, "presents a secret that was never issued", Binding::ANY, "NotFound")?;
        self.present(laptop, "presents Alice's token as Bob's", Binding::user(BOB), "BindingMismatch")?;
        let kiosk = self.log_in("kiosk", Duration::seconds(1))?;
        self.conn.batch_execute("SELECT pg_sleep(1.05)")?;
        self.present(&kiosk, "comes back after its one second", Binding::ANY, "Expired")?;
        let car = self.log_in("car", Duration::days(30))?;
        let hash = self.hash(&car.secret)?;
        let report = self.tokens().with_reason(RevokedReason::LoggedOut).revoke_session_by_hash(&hash)?;
        say("car", &format!("logs out: revoke_session_by_hash() → {report}"));
        self.present(&car, "presents its token all the same", Binding::ANY, "Revoked").map(drop)
    }

    fn catch_a_thief(&mut self, phone: &Client) -> Result<()> {
        self.begin("A thief has copied the phone's secret, and is faster");
        let thief = Client { name: "thief", secret: phone.secret.clone() };
        let stolen = self.present(&thief, "presents the copy", Binding::ANY, "Rotated")?;
        self.present(phone, "presents the original, which is spent now", Binding::ANY, "Reused")?;
        // The breach response is committed by itself: an error later in the request must not undo it.
        let hash = self.hash(&phone.secret)?;
        let stale = self.tokens().check_token_reuse(&hash)?.ok_or("expected the reuse to be seen")?;
        let report = self.tokens().revoke_token_chain(stale.id)?;
        say("host", &format!("cannot tell thief from owner, so ends both: revoke_token_chain() → {report}"));
        self.present(&stolen, "presents what it was given", Binding::ANY, "Revoked").map(drop)
    }

    fn end_one_session(&mut self) -> Result<()> {
        self.begin("Alice logs in again, and ends the session of a tablet that she has lost");
        self.log_in("phone", Duration::days(30))?;
        let tablet = self.log_in("tablet", Duration::days(30))?;
        let newest = self.list()?.into_iter().next().ok_or("expected sessions")?;
        let report = self.tokens().revoke_session(newest.session_id)?;
        say("host", &format!("revoke_session(), with the id from the list → {report}"));
        self.present(&tablet, "is used by somebody who found it", Binding::ANY, "Revoked").map(drop)
    }

    fn end_all_other_sessions(&mut self, laptop: &Client) -> Result<()> {
        self.begin("On the laptop, Alice changes her password and logs out everywhere else");
        let hash = self.hash(&laptop.secret)?;
        let here =
            self.tokens().get_valid_by_hash(&hash, Binding::user(ALICE))?.ok_or("expected the laptop's token")?;
        let report = self.tokens().revoke_all_for_user_except(ALICE, here.id)?;
        say("library", &format!("revoke_all_for_user_except() → {report}"));
        self.log_in("new phone", Duration::days(30))?;
        self.list().map(drop)
    }

    fn clean_up(&mut self) -> Result<()> {
        self.begin("Once a day, the host cleans up");
        for days in [30, 0] {
            let deleted = self.tokens().cleanup_expired(days)?;
            say("library", &format!("cleanup_expired({days}) → {deleted} deleted"));
        }
        say("host", "keeps rows for as long as it wants to notice reuse: 0 days is for the sake of the story");
        Ok(())
    }

    /// The host has checked the password, and issues the first token of a session.
    fn log_in(&mut self, name: &'static str, lifetime: Duration) -> Result<Client> {
        let secret = new_secret();
        let new = NewRefreshToken {
            id: Uuid::new_v4(),
            user_id: ALICE,
            token_hash: self.hash(&secret)?,
            active_org_id: HER_COMPANY,
            expires_at: self.after(lifetime)?,
            session: SessionOptions::default().expires_at(self.after(Duration::days(365))?),
        };
        let token = self.tokens().create(&new)?;
        let device = (devices::session_id.eq(token.session_id), devices::name.eq(name));
        diesel::insert_into(devices::table).values(device).execute(&mut self.conn)?;
        say(name, &format!("logs in: create() → {}", describe(&token)));
        Ok(Client { name, secret })
    }

    /// A client presents its secret, and hears the answer that the story needs.
    fn present(&mut self, client: &Client, what: &str, binding: Binding, expected: &str) -> Result<Client> {
        let (presented, secret) = (self.hash(&client.secret)?, new_secret());
        let successor = Successor::expiring_at(Uuid::new_v4(), self.hash(&secret)?, self.after(Duration::days(30))?);
        say(client.name, what);
        let rotation = self.tokens().rotate(&presented, &successor, binding)?;
        insist(say_answer(&rotation) == expected, expected)?;
        Ok(Client { secret, ..*client })
    }

    /// Lists Alice's sessions, as a page "your devices" would.
    fn list(&mut self) -> Result<Vec<RefreshToken>> {
        let active = self.tokens().get_active_tokens_for_user(ALICE)?;
        let names: HashMap<Uuid, String> = devices::table.load(&mut self.conn)?.into_iter().collect();
        say("library", "get_active_tokens_for_user() →");
        for token in &active {
            let name = names.get(&token.session_id).map_or("?", String::as_str);
            println!("{:15}{name:<10} {}, last used {:.19}", "", describe(token), token.created_at.to_string());
        }
        Ok(active)
    }

    fn tokens(&mut self) -> RefreshTokenRepository<'_> {
        RefreshTokenRepository::new(&mut self.conn)
    }

    /// For the demonstration, PostgreSQL computes the hash, which saves a dependency. Your host computes it in its
    /// own process, with the crate `sha2` or `hmac`: a secret has no business in a database.
    fn hash(&mut self, secret: &str) -> Result<TokenHash> {
        let sha256 = sql::<Text>("encode(sha256(convert_to(").bind::<Text, _>(secret).sql(", 'UTF8')), 'hex')");
        Ok(TokenHash::new(select(sha256).get_result::<String>(&mut self.conn)?)?)
    }

    /// By the server's clock, so that the story also holds where this machine's is wrong.
    fn after(&mut self, lifetime: Duration) -> Result<DateTime<Utc>> {
        Ok(select(now.into_sql::<Timestamptz>()).get_result::<DateTime<Utc>>(&mut self.conn)? + lifetime)
    }

    fn begin(&mut self, title: &str) {
        self.step += 1;
        println!("\n{:>2}. {title}", self.step);
    }
}

/// 244 random bits. They go to the client, and nowhere else.
fn new_secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

fn say(who: &str, what: &str) {
    println!("    {who:<10} {what}");
}

fn describe(token: &RefreshToken) -> String {
    format!("session {:.8}, generation {}", token.session_id.to_string(), token.generation)
}

/// Says what the library answered, and what that means; returns the answer's name.
fn say_answer(rotation: &Rotation) -> &'static str {
    use Rotation::{Refused, Repeated, Rotated};
    let (name, meaning) = match rotation {
        Rotated(token) => ("Rotated", describe(token)),
        Repeated(token) => ("Repeated", describe(token)),
        Refused(Refusal::NotFound) => ("NotFound", "no token has this hash".to_owned()),
        Refused(Refusal::BindingMismatch(_)) => ("BindingMismatch", "it is not Bob's".to_owned()),
        Refused(Refusal::Expired(token)) => ("Expired", format!("at {:.19}", token.expires_at.to_string())),
        Refused(Refusal::Revoked(RefreshToken { revoked_reason: Some(reason), .. })) => {
            ("Revoked", reason.as_str().into())
        }
        Refused(Refusal::Reused(token)) => ("Reused", format!("{} was spent before", describe(token))),
        Refused(other) => ("another refusal", format!("{other:?}")),
    };
    say("library", &format!("rotate() → {name}: {meaning}"));
    name
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
