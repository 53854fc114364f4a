//! Invariant 7: nothing that is recorded or told contains a hash or a secret.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use refresh_tokens::{
    Binding, Login, NewRefreshToken, OnReuse, Pepper, Peppers, RefreshTokenRepository, SessionPolicy, SessionService,
    Successor,
};
use refresh_tokens_support::doc::{fresh_hash, in_days, new_token, store, successor};
use tracing::subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use uuid::Uuid;

use crate::scene::Scene;
use crate::watch::Watch;

/// What a host's log would hold.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn of(filter: &str, work: impl FnOnce()) -> String {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        subscriber::with_default(subscriber, work);
        log.text()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every hash that is in the table.
fn hashes(conn: &mut PgConnection) -> BTreeSet<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        token_hash: String,
    }
    let rows: Vec<Row> = sql_query("SELECT token_hash FROM refresh_tokens").load(conn).unwrap();
    rows.into_iter().map(|row| row.token_hash).collect()
}

/// Outcomes and errors of verbs that are given hashes and secrets; returns what must not be seen.
fn handle_secrets(scene: &mut Scene) -> BTreeSet<String> {
    let mut secret = BTreeSet::new();
    let pepper = Pepper::new(1, &[7; Pepper::MIN_LENGTH]).unwrap();
    let policy = SessionPolicy::default().grace(chrono::TimeDelta::zero());
    let service = SessionService::new(store(&scene.database), Peppers::new(pepper), policy).unwrap();
    let issued = service.start_session(&Login::new(Uuid::new_v4(), Uuid::new_v4())).unwrap();
    let presented = issued.secret.expose();
    secret.insert(presented.to_owned());
    let next = service.refresh(presented, Binding::ANY).unwrap().issued().unwrap();
    secret.insert(next.secret.expose().to_owned());
    let _ = service.refresh(next.secret.expose(), Binding::user(Uuid::new_v4())).unwrap();
    let _ = service.refresh(presented, Binding::ANY).unwrap();
    let mut damaged = presented.to_owned();
    damaged.pop();
    secret.insert(damaged.clone());
    let _ = service.refresh(&damaged, Binding::ANY).unwrap();
    service.look_up(presented, Binding::ANY).unwrap();
    service.log_out(presented).unwrap();
    service.pepper_usage().unwrap();

    let token = scene.create();
    let absent = fresh_hash();
    secret.insert(absent.expose().to_owned());
    let mut tokens = scene.tokens();
    let taken = NewRefreshToken { token_hash: token.token_hash.clone(), ..new_token() };
    assert!(tokens.create(&taken).is_err());
    let spent = Successor::expiring_at(Uuid::new_v4(), token.token_hash.clone(), in_days(1));
    assert!(tokens.rotate(&token.token_hash, &spent, Binding::ANY).is_err());
    for _ in 0..3 {
        let _ = tokens.redeem(&token.token_hash, &successor(), Binding::ANY, OnReuse::RevokeUser).unwrap();
    }
    tokens.check_token_reuse(&token.token_hash).unwrap();
    tokens.revoke_session_by_hash(&token.token_hash).unwrap();
    let _ = tokens.revoke_by_hash(&absent).unwrap();
    tokens.get_by_hash(&absent).unwrap();
    // The server quotes the row in the details of this one.
    scene.sql("ALTER TABLE refresh_tokens ADD CONSTRAINT of_the_host CHECK (expires_at < '2001-01-01') NOT VALID");
    let failing = new_token();
    secret.insert(failing.token_hash.expose().to_owned());
    assert!(RefreshTokenRepository::new(&mut scene.conn).create(&failing).is_err());
    secret.extend(hashes(&mut scene.conn));
    secret
}

#[test]
fn invariant_7_no_hash_and_no_secret_is_recorded_or_told() {
    let mut scene = Scene::new();
    let mut secret = BTreeSet::new();
    let log = Log::of("trace", || secret = handle_secrets(&mut scene));
    let mut scene = Scene::new();
    let watch = Watch::new();
    let secret_too = watch.during(|| handle_secrets(&mut scene));
    let recorded = format!("{:?} {:?}", watch.recorded(), watch.reports());

    for (text, secret) in [(&log, &secret), (&recorded, &secret_too)] {
        assert!(secret.len() > 6);
        for expected in ["reused_successor_unused", "binding_mismatch", "malformed", "duplicate_hash", "token_id"] {
            assert!(text.contains(expected), "{expected} was told");
        }
        for secret in secret {
            assert!(!text.contains(secret.as_str()), "{secret} in {text}");
            // Nor a part of what its holder alone knows.
            let part = &secret[12..24];
            assert!(!text.contains(part), "{part} of {secret} in {text}");
        }
    }
}

/// The filters that the documentation names.
#[test]
fn filters_choose_by_level_and_by_verb() {
    let work = |scene: &mut Scene| {
        let token = scene.create();
        let mut tokens = scene.tokens();
        let _ = tokens.redeem(&token.token_hash, &successor(), Binding::ANY, OnReuse::RevokeSession).unwrap();
        let _ = tokens.redeem(&token.token_hash, &successor(), Binding::ANY, OnReuse::RevokeSession).unwrap();
    };
    let mut scene = Scene::new();
    let warnings = Log::of("refresh_tokens=warn", || work(&mut scene));
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
    assert!(warnings.contains("WARN") && warnings.contains("outcome=\"reused_successor_unused\""), "{warnings}");
    let redeems = Log::of("refresh_tokens[verb{verb=redeem}]", || work(&mut scene));
    assert!(redeems.contains("outcome=\"rotated\"") && !redeems.contains("outcome=\"created\""), "{redeems}");
}
