//! Verbs that end tokens.

use super::{Case, revoked};

pub(crate) fn revocations() -> Vec<Case> {
    [of_one(), of_many(), of_service()].into_iter().flatten().collect()
}

fn of_one() -> Vec<Case> {
    vec![
        Case::new("revoke", |host, f| host.store.revoke(f.live.id).map(|_| "revoked".to_owned())),
        Case::new("revoke_by_hash", |host, f| {
            host.store.revoke_by_hash(&f.live.token_hash).map(|_| "revoked".to_owned())
        }),
        Case::new("revoke_token_chain", |host, f| host.store.revoke_token_chain(f.spent.id).map(revoked))
            .again_by_itself(),
        Case::new("revoke_session", |host, f| host.store.revoke_session(f.live.session_id).map(revoked))
            .again_by_itself(),
        Case::new("revoke_session_by_hash", |host, f| {
            host.store.revoke_session_by_hash(&f.spent.token_hash).map(revoked)
        })
        .again_by_itself(),
        Case::new("end_session", |host, f| host.store.end_session(f.live.session_id).map(revoked)),
        Case::new("end_session_by_hash", |host, f| host.store.end_session_by_hash(&f.spent.token_hash).map(revoked)),
    ]
}

fn of_many() -> Vec<Case> {
    vec![
        Case::new("revoke_all_for_user", |host, f| host.store.revoke_all_for_user(f.live.user_id).map(revoked)),
        Case::new("revoke_all_for_user_except", |host, f| {
            host.store.revoke_all_for_user_except(f.live.user_id, f.live.id).map(revoked)
        }),
        Case::new("revoke_all_for_user_except_session", |host, f| {
            host.store.revoke_all_for_user_except_session(f.live.user_id, f.second.session_id).map(revoked)
        }),
        Case::new("revoke_all_for_user_in_org", |host, f| {
            host.store.revoke_all_for_user_in_org(f.live.user_id, f.live.active_org_id).map(revoked)
        }),
        Case::in_steps("revoke_all_for_org", |host, f| {
            host.store.revoke_all_for_org(f.live.active_org_id).map(revoked)
        }),
        Case::in_steps("revoke_all_for_everyone", |host, _| host.store.revoke_all_for_everyone().map(revoked)),
    ]
}

fn of_service() -> Vec<Case> {
    let cases = [
        Case::new("SessionService::log_out", |host, f| host.service.log_out(f.issued.secret.expose()).map(revoked)),
        Case::new("SessionService::end_session_of", |host, f| {
            host.service.end_session_of(f.issued.token.user_id, f.issued.token.session_id).map(revoked)
        }),
        Case::new("SessionService::end_all_sessions", |host, f| {
            host.service.end_all_sessions(f.issued.token.user_id).map(revoked)
        }),
    ];
    let others = Case::new("SessionService::end_other_sessions", |host, f| {
        let ended = host.service.end_other_sessions(f.live.user_id, f.live.session_id)?;
        Ok(ended.map_or_else(|| "not theirs".to_owned(), revoked))
    });
    cases.into_iter().map(Case::of_service).chain([others]).collect()
}
