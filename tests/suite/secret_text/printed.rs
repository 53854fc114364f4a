//! Invariant 7 for the service: no secret, no pepper and no hash in Debug, Display, error, or Diesel's query log.

use std::error::Error as _;
use std::fmt::{Debug, Display, Write};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use diesel::connection::{Connection, InstrumentationEvent};
use refresh_tokens::{
    Binding, Error, InvalidPepper, IssuedToken, Login, Pepper, Peppers, Refresh, RefreshTokenStore, SessionLimit,
    SessionPolicy, SessionQuery, SessionService, TokenSecret,
};
use refresh_tokens_support::Database;
use uuid::Uuid;

use super::{CHECKED, bytes_of};

/// Of characters, so that it would be seen as text, too.
const KEY: &[u8; 36] = b"the-pepper-of-these-tests:@!%&#$/?+*";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn debug(&self, value: &impl Debug) {
        writeln!(self.0.lock().unwrap(), "{value:?} {value:#?}").unwrap();
    }

    fn both(&self, value: &(impl Debug + Display)) {
        self.debug(value);
        writeln!(self.0.lock().unwrap(), "{value} {value:#}").unwrap();
    }

    fn error(&self, error: &Error) {
        self.both(error);
        if let Some(cause) = error.source() {
            self.both(&cause);
        }
    }

    /// Without what `{:#?}` puts between numbers, as it is and in lower case.
    fn contains(&self, trace: &str) -> bool {
        let log: String = self.0.lock().unwrap().split_whitespace().collect();
        log.contains(trace) || log.to_lowercase().contains(trace)
    }
}

/// How bytes could be printed: as digits, as numbers, as characters.
fn spellings(bytes: &[u8]) -> [String; 3] {
    let mut digits = String::new();
    for byte in bytes {
        write!(digits, "{byte:02x}").unwrap();
    }
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    [digits, numbers.join(","), bytes.escape_ascii().to_string()]
}

/// Every text, hash and byte string that a secret and a pepper have; a part would be as bad as the whole.
fn traces(peppers: &Peppers, secret: &TokenSecret) -> Vec<String> {
    let (text, hash) = (secret.expose(), peppers.hash(secret).unwrap());
    let mut traces = vec![text[11..CHECKED].to_owned(), hash.expose().to_owned(), hash.expose()[6..].to_owned()];
    traces.extend(spellings(&bytes_of(text)));
    traces.extend([&text.as_bytes()[11..CHECKED], hash.expose().as_bytes()].into_iter().flat_map(spellings));
    traces.into_iter().flat_map(|trace| [trace[..trace.len() / 2].to_owned(), trace]).collect()
}

fn logged(database: &Database, log: &Log) -> RefreshTokenStore {
    let store = RefreshTokenStore::connect(database.url(), &database.config().max_connections(1)).unwrap();
    let queries = log.clone();
    store.pool().get().unwrap().set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = &event {
            queries.both(query);
        }
        queries.debug(&event);
    });
    store
}

#[test]
fn invariant_7_no_secret_and_no_pepper_is_ever_printed() {
    let database = Database::migrated();
    let log = Log::default();
    let pepper = Pepper::new(1, KEY).unwrap();
    let peppers = Peppers::new(pepper.clone()).accepting(Pepper::new(2, &[0xc5; 32]).unwrap()).unwrap();
    let policy = SessionPolicy::default().session_limit(SessionLimit::refuse(1));
    let service = SessionService::new(logged(&database, &log), peppers.clone(), policy).unwrap();
    log.debug(&pepper);
    log.debug(&peppers);
    log.debug(&service);
    let login = Login::new(Uuid::new_v4(), Uuid::new_v4());
    let first: IssuedToken = service.start_session(&login).unwrap();
    log.debug(&first);
    log.debug(&first.secret);
    let text = first.secret.expose();

    let mut secrets = vec![first.secret.clone(), peppers.generate().unwrap()];
    let mut ask = |text: &str, binding: Binding| {
        let outcome: Refresh = service.refresh(text, binding).unwrap();
        log.debug(&outcome);
        match &outcome {
            Refresh::Unrecognized(why) => log.both(why),
            Refresh::Refused(why) => log.both(why),
            Refresh::Reused { kind, .. } => log.both(kind),
            Refresh::Rotated(issued) | Refresh::Repeated(issued) => secrets.push(issued.secret.clone()),
        }
        outcome.as_str()
    };
    let unknown = peppers.generate().unwrap();
    let foreign = Peppers::new(Pepper::new(3, &[3; 32]).unwrap()).generate().unwrap();
    let rotated = ask(text, Binding::user(first.token.user_id));
    let damaged = [&text[..62], "", &text.replace("rtk1_", "rtk2_"), &text.replace('_', "ß"), &text.to_uppercase()];
    let damaged = damaged.map(|damaged| ask(damaged, Binding::ANY));
    // The repeat binds the hashes of all peppers in one array.
    let words = [text, unknown.expose(), foreign.expose()].map(|text| ask(text, Binding::ANY));
    let words = [[rotated, ask(text, Binding::user(Uuid::new_v4())), ask(text, Binding::ANY)], words];
    assert_eq!(words[0], ["rotated", "reused_successor_unused", "revoked"]);
    assert_eq!(words[1], ["repeated", "not_found", "unknown_key"]);
    assert_eq!(damaged, ["malformed"; 5]);

    let other = service.start_session(&login).unwrap();
    log.error(&service.start_session(&login).unwrap_err());
    let before = Login::new(first.token.user_id, first.token.active_org_id);
    let before = before.authenticated_at(first.token.created_at - TimeDelta::days(1));
    log.debug(&service.switch_org(other.secret.expose(), Uuid::new_v4(), Binding::ANY));
    log.error(&service.switch_org(other.secret.expose(), Uuid::nil(), Binding::ANY).unwrap_err());
    log.error(&service.start_session(&Login::new(Uuid::nil(), Uuid::new_v4())).unwrap_err());
    log.debug(&service.look_up(other.secret.expose(), Binding::ANY));
    log.debug(&service.list_sessions(&SessionQuery::of_user(first.token.user_id).include_ended()));
    log.debug(&service.log_out(other.secret.expose()));
    log.debug(&service.end_all_sessions(first.token.user_id));
    log.error(&service.start_session(&before).unwrap_err());
    log.debug(&service.pepper_usage());
    log.debug(&service.counts());
    log.debug(service.store());
    secrets.extend([other.secret, unknown]);

    assert!(log.contains("INSERTINTOrefresh_tokens"), "the queries were logged");
    assert!(log.contains(&first.token.id.to_string()), "with their binds");
    assert!(log.contains("redacted"));
    let keys = [&KEY[..], &KEY[..12], &[0xc5; 6]].into_iter().flat_map(spellings);
    for trace in secrets.iter().flat_map(|secret| traces(&peppers, secret)).chain(keys) {
        assert!(!log.contains(&trace), "{trace}");
    }
}

#[test]
fn what_is_printed_would_be_seen() {
    let log = Log::default();
    log.debug(KEY);
    assert_eq!(spellings(KEY).map(|trace| log.contains(&trace)), [false, true, false]);
    log.both(&KEY.escape_ascii().to_string());
    writeln!(log.0.lock().unwrap(), "{:032X}", 0xc5).unwrap();
    assert_eq!(spellings(KEY).map(|trace| log.contains(&trace)), [false, true, true]);
    assert!(log.contains(&spellings(&[0, 0xc5])[0]));
}

/// And the errors that no service has to be asked for.
#[test]
fn invariant_7_an_error_says_nothing_of_the_text_that_it_is_about() {
    let log = Log::default();
    let text = super::generated();
    for place in 0..text.len() {
        let damaged = format!("{}ß{}", &text[..place], text.get(place + 2..).unwrap_or_default());
        log.both(&damaged.parse::<TokenSecret>().unwrap_err());
        log.both(&text[..place].parse::<TokenSecret>().unwrap_err());
        // At the separator, sealed again is as it was.
        if place != CHECKED {
            log.both(&super::sealed(&text[..place]).parse::<TokenSecret>().unwrap_err());
        }
    }
    log.both(&Pepper::new(1, &KEY[..31]).unwrap_err());
    let pepper = Pepper::new(1, KEY).unwrap();
    let twice: InvalidPepper = Peppers::new(pepper.clone()).accepting(pepper).unwrap_err();
    log.both(&twice);
    let secret: TokenSecret = text.parse().unwrap();
    log.both(&super::peppers(7).hash(&secret).unwrap_err());
    for part in [&text[11..15], &text[40..CHECKED], &text[CHECKED + 1..], "the-pepper"] {
        assert!(!log.contains(part), "{part}");
    }
}
