//! Invariant 7: no hash in Debug, Display, error, or Diesel's query log.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use diesel::connection::{Connection, InstrumentationEvent};
use refresh_tokens::{
    Binding, CleanupBudget, Error, NewRefreshToken, OnReuse, RefreshTokenRepository, RefreshTokenStore,
    RetentionPolicy, RotationRequest, SessionQuery, Successor, TokenHash,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{fresh_hash, in_days, new_token};
use uuid::Uuid;

use crate::common::expire;

/// All that anybody could log, in one string.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn debug(&self, value: &impl Debug) {
        writeln!(self.0.lock().unwrap(), "{value:?} {value:#?}").unwrap();
    }

    fn error(&self, error: &Error) {
        self.debug(error);
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            writeln!(self.0.lock().unwrap(), "{error}").unwrap();
            cause = error.source();
        }
    }
}

#[test]
fn invariant_7_no_hash_is_ever_printed() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let log = Log::default();
    let queries = log.clone();
    conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = &event {
            writeln!(queries.0.lock().unwrap(), "{query} {query:?}").unwrap();
        }
        queries.debug(&event);
    });

    let new = new_token();
    let next_hash = fresh_hash();
    let next = Successor::expiring_at(Uuid::new_v4(), next_hash.clone(), in_days(1));
    let taken = NewRefreshToken { token_hash: new.token_hash.clone(), ..new_token() };
    let spent = Successor::expiring_at(Uuid::new_v4(), new.token_hash.clone(), in_days(1));
    log.debug(&new);
    log.debug(&next);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    log.debug(&tokens);
    let created = tokens.create(&new).unwrap();
    log.debug(&created);
    log.error(&tokens.create(&taken).unwrap_err());
    log.error(&tokens.rotate(&new.token_hash, &spent, Binding::ANY).unwrap_err());
    log.debug(&tokens.get_by_hash(&new.token_hash));
    log.debug(&tokens.get_valid_by_hash(&new.token_hash, Binding::ANY));
    tokens
        .transaction(|tx| {
            log.debug(tx);
            let locked = tx.get_valid_for_rotation(&new.token_hash, Binding::ANY)?;
            log.debug(&locked);
            Ok::<_, Error>(())
        })
        .unwrap();
    let [one, other] = [(); 2].map(|()| tokens.create(&new_token()).unwrap().token_hash);
    let apart_hash = fresh_hash();
    let request = |presented: &TokenHash, hash: &TokenHash| {
        RotationRequest::new(presented.clone(), Successor::expiring_at(Uuid::new_v4(), hash.clone(), in_days(1)))
    };
    let batch = [request(&one, &new.token_hash), request(&other, &apart_hash)];
    log.debug(&batch);
    let outcomes = tokens.rotate_many(&batch).unwrap();
    log.error(outcomes[0].as_ref().unwrap_err());
    log.debug(&outcomes);
    for _ in 0..2 {
        log.debug(&tokens.rotate(&new.token_hash, &next, Binding::ANY));
    }
    log.debug(&tokens.rotate(&new.token_hash, &spent, Binding::ANY));
    log.debug(&tokens.redeem(&new.token_hash, &spent, Binding::ANY, OnReuse::RevokeSession));
    log.debug(&tokens.list_sessions(&SessionQuery::of_user(new.user_id).include_ended()));
    log.debug(&tokens.revoke_session_by_hash(&new.token_hash));
    log.debug(&tokens.check_token_reuse(&new.token_hash));
    log.debug(&tokens.get_active_tokens_for_user(new.user_id));
    log.debug(&tokens.revoke_all_for_user_except_session(new.user_id, created.session_id));
    log.debug(&tokens.revoke_by_hash(&new.token_hash));
    log.debug(&tokens.revoke_token_chain(new.id));
    log.debug(&tokens.cleanup_expired(1));
    expire(&mut database.connect(), &new.token_hash, 40);
    let archives = RetentionPolicy::default().archive();
    log.debug(&archives);
    log.error(&tokens.cleanup(&archives, &CleanupBudget::default()).unwrap_err());
    log.debug(&tokens.preview_cleanup(&archives, &CleanupBudget::default()));
    log.debug(&tokens.retention_backlog(&archives));
    log.debug(&tokens.create_archive_partitions(0));
    log.debug(&tokens.cleanup(&archives, &CleanupBudget::default()));
    log.debug(&tokens.archive_partitions());
    log.debug(&RefreshTokenStore::connect(database.url(), &database.config().max_connections(1)));

    let log = log.0.lock().unwrap();
    assert!(log.contains("INSERT INTO refresh_tokens"), "the queries were logged");
    assert!(log.contains(&new.id.to_string()), "with their binds");
    assert!(log.contains("redacted"));
    for hash in [&new.token_hash, &next_hash, &one, &other, &apart_hash] {
        assert!(!log.contains(hash.expose()));
    }
}
