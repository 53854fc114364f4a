//! The example `http_server`, driven by a real HTTP client with a cookie jar: the whole cycle, lost answers, a thief.

#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

#[path = "../../examples/http_server.rs"]
#[expect(dead_code, reason = "its main is for the command line")]
mod http_server;

use std::io::Write;
use std::net::TcpStream;

use http_server::App;
use refresh_tokens::{RefreshOutcome, SessionQuery};
use refresh_tokens_support::{Database, race};
use tiny_http::Server;
use ureq::Agent;
use ureq::http::Uri;
use uuid::Uuid;

const ALICE: (&str, &str) = ("alice", "correct horse");
const BOB: (&str, &str) = ("bob", "battery staple");

struct Site {
    app: App,
    server: Server,
    _database: Database,
}

impl Site {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.server_addr())
    }
}

/// Serves until the clients have done what they do.
fn with_site(clients: impl FnOnce(&Site)) {
    let database = Database::migrated();
    let app = App::new(database.url(), &[7; 32]).unwrap();
    let site = Site { app, server: Server::http("127.0.0.1:0").unwrap(), _database: database };
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| site.app.serve(&site.server));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| clients(&site)));
        while !serving.is_finished() {
            site.server.unblock();
            std::thread::yield_now();
        }
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// A browser: it keeps cookies, and follows no redirect.
struct Browser<'a> {
    site: &'a Site,
    agent: Agent,
}

impl<'a> Browser<'a> {
    fn new(site: &'a Site) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).max_redirects(0).max_redirects_will_error(false);
        Self { site, agent: config.build().into() }
    }

    fn logged_in(site: &'a Site, (user, password): (&str, &str)) -> Self {
        let browser = Self::new(site);
        let form = [("user", user), ("password", password)];
        assert_eq!(browser.agent.post(site.url("/login")).send_form(form).unwrap().status(), 303);
        browser
    }

    fn post(&self, path: &str) -> u16 {
        self.agent.post(self.site.url(path)).send_empty().unwrap().status().as_u16()
    }

    fn refresh(&self) -> u16 {
        self.post("/session/refresh")
    }

    /// The page of sessions, if it is shown.
    fn sessions(&self) -> Result<String, u16> {
        let mut response = self.agent.get(self.site.url("/sessions")).call().unwrap();
        let status = response.status().as_u16();
        if status == 200 { Ok(response.body_mut().read_to_string().unwrap()) } else { Err(status) }
    }

    fn uri(&self) -> Uri {
        self.site.url("/session/refresh").parse().unwrap()
    }

    fn refresh_token(&self) -> String {
        let jar = self.agent.cookie_jar_lock();
        let uri = self.uri();
        let host = uri.host().unwrap();
        jar.get(host, "/session", "refresh_token").map_or_else(String::new, |cookie| cookie.value().to_owned())
    }

    /// What a browser has that never got the newer answer, or a thief who copied the cookie.
    fn has(&self, refresh_token: &str) {
        let cookie = format!("refresh_token={refresh_token}; Path=/session");
        let cookie = ureq::Cookie::parse(cookie, &self.uri()).unwrap();
        self.agent.cookie_jar_lock().insert(cookie, &self.uri()).unwrap();
    }

    fn with(site: &'a Site, refresh_token: &str) -> Self {
        let browser = Self::new(site);
        browser.has(refresh_token);
        browser
    }
}

fn live_sessions(site: &Site, user: u128) -> Vec<Uuid> {
    let page = site.app.service.list_sessions(&SessionQuery::of_user(Uuid::from_u128(user))).unwrap();
    page.sessions.iter().map(|session| session.session_id).collect()
}

#[test]
fn a_session_from_login_to_its_end() {
    with_site(|site| {
        let stranger = Browser::new(site);
        assert_eq!(stranger.sessions(), Err(401));
        let wrong = [("user", "alice"), ("password", "guess")];
        assert_eq!(stranger.agent.post(site.url("/login")).send_form(wrong).unwrap().status(), 401);
        assert_eq!(stranger.refresh(), 401);

        let alice = Browser::logged_in(site, ALICE);
        let first = alice.refresh_token();
        assert_eq!(alice.refresh(), 303);
        assert_ne!(alice.refresh_token(), first, "it rotates");
        let [session_id] = live_sessions(site, 0xa)[..] else { panic!() };
        assert!(alice.sessions().unwrap().contains(&format!("/sessions/{session_id}/end")));
        assert_eq!(alice.post(&format!("/sessions/{session_id}/end")), 303);
        assert_eq!((alice.sessions(), alice.refresh()), (Err(401), 401));
        assert_eq!(alice.refresh_token(), "", "the cookie is gone");
    });
}

#[test]
fn log_out_ends_the_session_and_nothing_else() {
    with_site(|site| {
        let [here, there] = [(); 2].map(|()| Browser::logged_in(site, ALICE));
        let last = here.refresh_token();
        assert_eq!(here.post("/session/logout"), 204);
        assert_eq!(here.sessions(), Err(401));
        assert_eq!(Browser::with(site, &last).refresh(), 401);
        assert_eq!((there.refresh(), live_sessions(site, 0xa).len()), (303, 1));
    });
}

/// The client has gone before the answer: what it asked for has happened, and it asks again.
#[test]
fn a_connection_that_breaks_before_the_answer_logs_nobody_out() {
    with_site(|site| {
        let client = Browser::logged_in(site, ALICE);
        let token = client.refresh_token();
        let mut wire = TcpStream::connect(site.server.server_addr().to_string()).unwrap();
        let request = format!("POST /session/refresh HTTP/1.1\r\nHost: site\r\nCookie: refresh_token={token}\r\n\r\n");
        wire.write_all(request.as_bytes()).unwrap();
        race::wait_for(|| site.app.service.counts().of(RefreshOutcome::Rotated) == 1);
        drop(wire);
        assert_eq!((client.refresh(), client.refresh()), (303, 303));
        assert_eq!(site.app.service.counts().of(RefreshOutcome::Repeated), 1);
    });
}

#[test]
fn a_lost_answer_logs_nobody_out() {
    with_site(|site| {
        let client = Browser::logged_in(site, ALICE);
        let before = client.refresh_token();
        assert_eq!(client.refresh(), 303);
        let lost = client.refresh_token();
        // The answer never came: the browser has what it had.
        client.has(&before);
        assert_eq!(client.refresh(), 303);
        assert_eq!(client.refresh_token(), lost);
        assert!(client.sessions().is_ok());
        assert_eq!(client.refresh(), 303);
        assert_eq!(live_sessions(site, 0xa).len(), 1);
        assert_eq!(site.app.service.counts().of(RefreshOutcome::Repeated), 1);
    });
}

#[test]
fn two_tabs_at_once_converge() {
    with_site(|site| {
        let token = Browser::logged_in(site, ALICE).refresh_token();
        let [one, other] = std::thread::scope(|scope| {
            let tab = || {
                let tab = Browser::with(site, &token);
                assert_eq!(tab.refresh(), 303);
                tab.refresh_token()
            };
            [(); 2].map(|()| scope.spawn(tab)).map(|tab| tab.join().unwrap())
        });
        assert_eq!(one, other);
        let counts = site.app.service.counts();
        assert_eq!((counts.of(RefreshOutcome::Rotated), counts.of(RefreshOutcome::Repeated)), (1, 1));
    });
}

#[test]
fn a_thief_with_an_old_cookie_is_noticed_and_ends_the_session() {
    with_site(|site| {
        let client = Browser::logged_in(site, ALICE);
        let stolen = client.refresh_token();
        assert_eq!((client.refresh(), client.refresh()), (303, 303));
        let thief = Browser::with(site, &stolen);
        assert_eq!((thief.refresh(), thief.sessions()), (401, Err(401)));
        assert_eq!((client.sessions(), client.refresh()), (Err(401), 401));
        assert_eq!(site.app.service.counts().of(RefreshOutcome::ReusedSuccessorUsed), 1);
    });
}

#[test]
fn logging_out_the_others_and_everywhere() {
    with_site(|site| {
        let [laptop, phone, tablet] = [(); 3].map(|()| Browser::logged_in(site, ALICE));
        let bob = Browser::logged_in(site, BOB);
        assert_eq!(laptop.post("/sessions/end-others"), 303);
        assert_eq!((phone.sessions(), phone.refresh(), tablet.refresh()), (Err(401), 401, 401));
        assert_eq!((laptop.sessions().is_ok(), laptop.refresh()), (true, 303));
        let again = Browser::logged_in(site, ALICE);
        assert_eq!(again.post("/sessions/end-all"), 303);
        assert_eq!((laptop.refresh(), again.refresh(), bob.refresh()), (401, 401, 303));
    });
}

#[test]
fn nobody_ends_another_users_session() {
    with_site(|site| {
        let [alice, bob] = [ALICE, BOB].map(|user| Browser::logged_in(site, user));
        let [of_alice] = live_sessions(site, 0xa)[..] else { panic!() };
        assert_eq!(bob.post(&format!("/sessions/{of_alice}/end")), 303);
        assert_eq!((alice.sessions().is_ok(), alice.refresh()), (true, 303));
    });
}

#[test]
fn what_is_damaged_or_unknown_is_refused() {
    with_site(|site| {
        let client = Browser::logged_in(site, ALICE);
        let token = client.refresh_token();
        for damaged in [&token[..40], &token.replace("rtk1", "rtk2"), "", "%00"] {
            assert_eq!(Browser::with(site, damaged).refresh(), 401);
        }
        assert_eq!(site.app.service.counts().of(RefreshOutcome::Malformed), 4);
        assert_eq!((client.post("/nowhere"), client.post("/sessions/1/end"), client.post("/")), (404, 404, 405));
        assert_eq!(client.refresh(), 303);
    });
}
