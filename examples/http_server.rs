//! A web application with sessions: login, a refresh cookie that rotates, a page of the user's devices, log-out everywhere.
//!
//! `cargo run --example http_server -- --listen 127.0.0.1:8080` serves until Ctrl-C, on a private database or that of
//! `DATABASE_URL`; without arguments it shows one exchange and ends. A browser is given two cookies: the refresh token,
//! which goes to `/session` alone and lives for weeks, and an access token for every other page, which lives for five
//! minutes. Both are `HttpOnly`, so that no script can read them, and `SameSite=Strict`, so that no other site can use
//! them; behind TLS add `Secure` (`App::secure`).

use std::collections::HashMap;
use std::error::Error;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cookie::{Cookie, SameSite};
use refresh_tokens::{
    Binding, IssuedToken, Login, Pepper, Peppers, Refresh, RefreshTokenStore, Session, SessionPolicy, SessionQuery,
    SessionService, StoreConfig,
};
use refresh_tokens_support::Database;
use tiny_http::{Header, Method, Request, Response, Server};
use uuid::Uuid;

const REFRESH: &str = "refresh_token";
const ACCESS: &str = "access_token";
const ACCESS_LIFETIME: Duration = Duration::from_secs(300);
const ORG: Uuid = Uuid::from_u128(1);
const WORKERS: usize = 4;

/// What an access token stands for. A signed JWT holds the same and needs no table; but then a session that was ended
/// goes on until its last access token expires.
#[derive(Clone)]
struct Access {
    user_id: Uuid,
    session_id: Uuid,
    until: Instant,
}

pub(crate) struct App {
    pub(crate) service: SessionService,
    /// Whether cookies are for TLS alone.
    pub(crate) secure: bool,
    access: Mutex<HashMap<String, Access>>,
}

type Outcome = Result<Reply, refresh_tokens::Error>;

impl App {
    pub(crate) fn new(database_url: &str, pepper: &[u8]) -> Result<Self, Box<dyn Error>> {
        let store = RefreshTokenStore::connect(database_url, &StoreConfig::default())?;
        let peppers = Peppers::new(Pepper::new(1, pepper)?);
        let service = SessionService::new(store, peppers, SessionPolicy::default())?;
        Ok(Self { service, secure: false, access: Mutex::default() })
    }

    /// Answers requests until the server is unblocked, once for each worker.
    pub(crate) fn serve(&self, server: &Server) {
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while let Ok(mut request) = server.recv() {
                        let reply = self.answer(&mut request).unwrap_or_else(|error| Reply::failed(&error));
                        // A client that has gone will ask again.
                        let _ = request.respond(reply.into_response());
                    }
                });
            }
        });
    }

    fn answer(&self, request: &mut Request) -> Outcome {
        let path = request.url().split('?').next().unwrap_or_default().to_owned();
        let cookies = cookies(request);
        let refresh = cookies.get(REFRESH).map_or("", String::as_str);
        match (request.method(), path.as_str()) {
            (Method::Get, "/") => Ok(Reply::page(LOGIN_FORM)),
            (Method::Post, "/login") => self.log_in(&form(request)),
            (Method::Post, "/session/refresh") => self.refresh(refresh),
            (Method::Post, "/session/logout") => self.log_out(refresh),
            (method @ (Method::Get | Method::Post), path) if path == "/sessions" || path.starts_with("/sessions/") => {
                let access = cookies.get(ACCESS).and_then(|token| self.access_of(token));
                match (method, access) {
                    (_, None) => Ok(Reply::status(401)), // The page's script refreshes, and asks again.
                    (Method::Get, Some(access)) => self.list(&access),
                    (_, Some(access)) => self.end(path, &access),
                }
            }
            (_, "/" | "/login" | "/session/refresh" | "/session/logout") => Ok(Reply::status(405)),
            _ => Ok(Reply::status(404)),
        }
    }

    fn log_in(&self, form: &HashMap<String, String>) -> Outcome {
        let field = |name| form.get(name).map_or("", String::as_str);
        // Before the password is checked: who is logged out everywhere meanwhile does not get in by the old one.
        let authenticated_at = self.service.now()?;
        let Some(user_id) = user_of(field("user"), field("password")) else { return Ok(Reply::status(401)) };
        match self.service.start_session(&Login::new(user_id, ORG).authenticated_at(authenticated_at)) {
            Ok(issued) => Ok(self.granted(&issued)),
            Err(refresh_tokens::Error::RevokedSinceLogin) => Ok(Reply::status(401)),
            Err(error) => Err(error),
        }
    }

    fn refresh(&self, presented: &str) -> Outcome {
        let outcome = self.service.refresh(presented, Binding::ANY)?;
        if let Refresh::Reused { token, kind, .. } = &outcome {
            log(&format!("ALERT session {} of user {}: {kind}", token.session_id, token.user_id));
            self.forget(|access| access.session_id == token.session_id);
        }
        // Whatever the reason of a refusal is, the client is not told it (RFC 6749 §5.2).
        Ok(outcome.issued().map_or_else(|| self.logged_out(401), |issued| self.granted(&issued)))
    }

    fn log_out(&self, presented: &str) -> Outcome {
        if let Some(token) = self.service.look_up(presented, Binding::ANY)? {
            self.forget(|access| access.session_id == token.session_id);
        }
        self.service.log_out(presented)?;
        Ok(self.logged_out(204))
    }

    fn list(&self, access: &Access) -> Outcome {
        let page = self.service.list_sessions(&SessionQuery::of_user(access.user_id))?;
        let row = |session: &Session| {
            let (id, since) = (session.session_id, session.started_at.format("%F %R UTC"));
            let here = if id == access.session_id { " (this one)" } else { "" };
            format!("<li>since {since}{here} {}</li>\n", button(&format!("/sessions/{id}/end"), "End"))
        };
        let rows: String = page.sessions.iter().map(row).collect();
        let others = button("/sessions/end-others", "Log out my other devices");
        let all = button("/sessions/end-all", "Log out everywhere");
        Ok(Reply::page(&format!("{SCRIPT}<h1>Your sessions</h1><ul>\n{rows}</ul>{others}{all}")))
    }

    fn end(&self, path: &str, access: &Access) -> Outcome {
        let Access { user_id, session_id, .. } = *access;
        match path.strip_prefix("/sessions/").and_then(|path| path.strip_suffix("/end")).map(Uuid::parse_str) {
            Some(Ok(id)) => {
                // Of this user: the id comes from outside.
                self.service.end_session_of(user_id, id)?;
                self.forget(|access| access.session_id == id && access.user_id == user_id);
            }
            _ if path == "/sessions/end-others" => {
                self.service.end_other_sessions(user_id, session_id)?;
                self.forget(|access| access.user_id == user_id && access.session_id != session_id);
            }
            _ if path == "/sessions/end-all" => {
                self.service.end_all_sessions(user_id)?;
                self.forget(|access| access.user_id == user_id);
                return Ok(self.logged_out(303));
            }
            _ => return Ok(Reply::status(404)),
        }
        Ok(Reply { location: Some("/sessions"), ..Reply::status(303) })
    }

    /// Both cookies: the refresh token, and an access token for its session.
    fn granted(&self, issued: &IssuedToken) -> Reply {
        let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let (user_id, session_id) = (issued.token.user_id, issued.token.session_id);
        let until = Instant::now() + ACCESS_LIFETIME;
        self.forget(|access| access.until < Instant::now());
        self.access_tokens().insert(token.clone(), Access { user_id, session_id, until });
        let idle = issued.token.expires_at - issued.token.created_at;
        let cookies = vec![
            self.cookie(REFRESH, issued.secret.expose(), "/session", idle.num_seconds()),
            self.cookie(ACCESS, &token, "/", ACCESS_LIFETIME.as_secs().cast_signed()),
        ];
        Reply { cookies, location: Some("/sessions"), ..Reply::status(303) }
    }

    fn logged_out(&self, status: u16) -> Reply {
        let cookies = vec![self.cookie(REFRESH, "", "/session", 0), self.cookie(ACCESS, "", "/", 0)];
        Reply { cookies, location: Some("/"), ..Reply::status(status) }
    }

    fn cookie(&self, name: &'static str, value: &str, path: &'static str, seconds: i64) -> String {
        let age = cookie::time::Duration::seconds(seconds);
        let cookie = Cookie::build((name, value)).path(path).max_age(age).http_only(true).secure(self.secure);
        cookie.same_site(SameSite::Strict).to_string()
    }

    fn access_of(&self, token: &str) -> Option<Access> {
        self.access_tokens().get(token).filter(|access| Instant::now() < access.until).cloned()
    }

    fn forget(&self, is_over: impl Fn(&Access) -> bool) {
        self.access_tokens().retain(|_, access| !is_over(access));
    }

    fn access_tokens(&self) -> MutexGuard<'_, HashMap<String, Access>> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reply {
    status: u16,
    cookies: Vec<String>,
    location: Option<&'static str>,
    body: String,
}

impl Reply {
    fn status(status: u16) -> Self {
        Self { status, cookies: Vec::new(), location: None, body: String::new() }
    }

    fn page(body: &str) -> Self {
        Self { body: format!("<!doctype html><meta charset=utf-8>{body}"), ..Self::status(200) }
    }

    /// The cookies stay as they are: the client can ask again, and gets the same successor if there is one.
    fn failed(error: &refresh_tokens::Error) -> Self {
        log(&error.to_string());
        Self::status(if error.is_transient() { 503 } else { 500 })
    }

    fn into_response(self) -> Response<std::io::Cursor<Vec<u8>>> {
        let fixed = [("Content-Type", "text/html"), ("Cache-Control", "no-store")]
            .map(|(name, value)| (name, value.to_owned()));
        let retry = (self.status == 503).then(|| ("Retry-After", "1".to_owned()));
        let location = self.location.filter(|_| self.status == 303).map(|to| ("Location", to.to_owned()));
        let cookies = self.cookies.into_iter().map(|cookie| ("Set-Cookie", cookie));
        let headers = fixed.into_iter().chain(retry).chain(location).chain(cookies);
        let response = Response::from_string(self.body).with_status_code(self.status);
        let add = |response: Response<_>, header| response.with_header(header);
        headers.filter_map(|(name, value)| Header::from_bytes(name, value).ok()).fold(response, add)
    }
}

fn cookies(request: &Request) -> HashMap<String, String> {
    let headers = request.headers().iter().filter(|header| header.field.equiv("Cookie"));
    let pairs = headers.flat_map(|header| Cookie::split_parse(header.value.as_str()).filter_map(Result::ok));
    pairs.map(|cookie| (cookie.name().to_owned(), cookie.value().to_owned())).collect()
}

/// Of at most 4 KiB.
fn form(request: &mut Request) -> HashMap<String, String> {
    let mut body = Vec::new();
    match request.as_reader().take(4096).read_to_end(&mut body) {
        Ok(_) => form_urlencoded::parse(&body).into_owned().collect(),
        Err(_) => HashMap::new(),
    }
}

/// Where a real host verifies a hash of Argon2id.
fn user_of(name: &str, password: &str) -> Option<Uuid> {
    let users = [("alice", "correct horse", Uuid::from_u128(0xa)), ("bob", "battery staple", Uuid::from_u128(0xb))];
    users.into_iter().find(|user| (user.0, user.1) == (name, password)).map(|user| user.2)
}

fn button(action: &str, label: &str) -> String {
    format!("<form method=post action=\"{action}\"><button>{label}</button></form>")
}

const LOGIN_FORM: &str = "<h1>Log in</h1><form method=post action=/login><input name=user placeholder=alice>\
    <input name=password type=password placeholder=\"correct horse\"><button>Log in</button></form>";

/// Before the access token expires.
const SCRIPT: &str = "<script>setInterval(() => fetch('/session/refresh', {method: 'POST'}), 240_000)</script>";

#[expect(clippy::print_stderr, reason = "an application's log")]
fn log(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "an application's first words")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, stays): (SocketAddr, bool) = match arguments.as_slice() {
        [flag, address] if flag == "--listen" => (address.parse()?, true),
        _ => (SocketAddr::from(([127, 0, 0, 1], 0)), false),
    };
    let database = Database::migrated();
    // Of a key store, and the same on every node; here nobody comes back after the server has ended.
    let pepper = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes).concat();
    let app = App::new(database.url(), &pepper)?;
    let server = Server::http(address).map_err(|error| error.to_string())?;
    println!("Listening on http://{}: alice, \"correct horse\"", server.server_addr());
    if stays {
        app.serve(&server);
        return Ok(());
    }
    let reply = app.log_in(&HashMap::from(
        [("user", "alice"), ("password", "correct horse")].map(|(k, v)| (k.into(), v.into())),
    ))?;
    println!("A login is answered with {} and {} cookies.", reply.status, reply.cookies.len());
    println!("cargo run --example http_server -- --listen 127.0.0.1:8080 serves it to a browser.");
    Ok(())
}
