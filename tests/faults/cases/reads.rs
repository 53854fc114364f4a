//! Verbs that only look.

use diesel::PgConnection;
use diesel::connection::Connection as _;
use refresh_tokens::{
    Binding, Error, ReplicaReader, RetentionPolicy, SessionQuery, verify_durability, verify_pooler, verify_schema,
};

use super::{Case, some};
use crate::lab::open;

pub(crate) fn reads() -> Vec<Case> {
    [of_store(), of_service(), on_a_connection()].into_iter().flatten().collect()
}

fn of_store() -> Vec<Case> {
    vec![
        Case::reads("get_by_hash", |host, f| Ok(some(host.store.get_by_hash(&f.live.token_hash)?.as_ref()))),
        Case::reads("get_valid_by_hash", |host, f| {
            Ok(some(host.store.get_valid_by_hash(&f.live.token_hash, Binding::ANY)?.as_ref()))
        }),
        Case::reads("check_token_reuse", |host, f| {
            Ok(some(host.store.check_token_reuse(&f.spent.token_hash)?.as_ref()))
        }),
        Case::reads("get_active_tokens_for_user", |host, f| {
            Ok(host.store.get_active_tokens_for_user(f.live.user_id)?.len().to_string())
        }),
        Case::reads("list_sessions", |host, f| {
            let page = host.store.list_sessions(&SessionQuery::of_user(f.live.user_id).include_ended())?;
            Ok(page.sessions.len().to_string())
        }),
        Case::reads("now", |host, _| host.store.now().map(|_| String::new())),
        Case::reads("preview_cleanup", |host, _| {
            let policy = RetentionPolicy::default();
            Ok(host.store.preview_cleanup(&policy, &refresh_tokens::CleanupBudget::default())?.tokens().to_string())
        }),
        Case::reads("retention_backlog", |host, _| {
            Ok(host.store.retention_backlog(&RetentionPolicy::default())?.expired_counted.to_string())
        }),
        Case {
            connects: true,
            ..Case::reads("connect", |host, f| {
                let store = open(&host.url, &host.config)?;
                Ok(some(store.get_by_hash(&f.live.token_hash)?.as_ref()))
            })
            .again_by_the_caller()
        },
    ]
}

fn of_service() -> Vec<Case> {
    let cases = [
        Case::reads("SessionService::look_up", |host, f| {
            Ok(some(host.service.look_up(f.issued.secret.expose(), Binding::ANY)?.as_ref()))
        }),
        Case::reads("SessionService::list_sessions", |host, f| {
            Ok(host.service.list_sessions(&SessionQuery::of_user(f.issued.token.user_id))?.sessions.len().to_string())
        }),
        Case::reads("SessionService::pepper_usage", |host, _| {
            Ok(host.service.pepper_usage()?.iter().map(|usage| usage.live).sum::<u64>().to_string())
        }),
        Case::reads("SessionService::now", |host, _| host.service.now().map(|_| String::new())),
    ];
    cases.into_iter().map(Case::of_service).collect()
}

fn on_a_connection() -> Vec<Case> {
    let cases = [
        Case::reads("ReplicaReader::get_by_hash", |host, f| {
            let found = ReplicaReader::new(&mut *host.conn()?).get_by_hash(&f.live.token_hash)?;
            Ok(some(found.into_inner().as_ref()))
        }),
        Case::reads("ReplicaReader::get_valid_by_hash", |host, f| {
            let found = ReplicaReader::new(&mut *host.conn()?).get_valid_by_hash(&f.live.token_hash, Binding::ANY)?;
            Ok(some(found.into_inner().as_ref()))
        }),
        Case::reads("ReplicaReader::list_sessions", |host, f| {
            let query = SessionQuery::of_user(f.live.user_id);
            let found = ReplicaReader::new(&mut *host.conn()?).list_sessions(&query)?;
            Ok(found.into_inner().sessions.len().to_string())
        }),
        Case::reads("verify_durability", |host, _| Ok(verify_durability(&mut *host.conn()?)?.len().to_string())),
        Case {
            connects: true,
            ..Case::reads("verify_pooler", |host, _| {
                let mut second = PgConnection::establish(&host.bounded_url())
                    .map_err(|error| Error::Unreachable { message: error.to_string() })?;
                verify_pooler(&mut *host.conn()?, &mut second).map(|()| String::new())
            })
        },
        Case::reads("verify_schema", |host, _| verify_schema(&mut *host.conn()?).map(|()| String::new())),
    ];
    cases.into_iter().map(Case::again_by_the_caller).collect()
}
