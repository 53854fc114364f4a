//! The verbs, each as one request that can be sent again unchanged.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Uuid as SqlUuid;
use refresh_tokens::{
    Binding, CleanupBudget, Error, OnReuse, Receipt, Redemption, Refresh, RefreshTokenRepository, Result,
    RetentionPolicy, Rotation, RotationRequest, SessionQuery,
};
use refresh_tokens_support::doc::successor;
use uuid::Uuid;

use crate::lab::Lab;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Whether it leaves anything behind.
    pub(crate) writes: bool,
    /// Whether it is one transaction, so that all of it is done or nothing.
    pub(crate) is_atomic: bool,
    pub(crate) prepare: fn(&mut PgConnection),
    /// The same answer, in the same words, whether it was done now or when the request came first.
    pub(crate) call: fn(&Lab) -> Result<String>,
    /// What it says, sent again, where it had been done: an error that means just that.
    pub(crate) was_done: Option<Error>,
}

impl Case {
    fn new(name: &'static str, call: fn(&Lab) -> Result<String>) -> Self {
        Self { name, writes: true, is_atomic: true, prepare: |_| {}, call, was_done: None }
    }

    fn reads(name: &'static str, call: fn(&Lab) -> Result<String>) -> Self {
        Self { writes: false, ..Self::new(name, call) }
    }

    fn in_steps(name: &'static str, call: fn(&Lab) -> Result<String>) -> Self {
        Self { is_atomic: false, ..Self::new(name, call) }
    }
}

/// A successor is told by its id, which the request names: the same, whether it was made now or then.
fn said(lab: &Lab, rotation: Rotation) -> String {
    match rotation {
        Rotation::Refused(refusal) => refusal.as_str().to_owned(),
        Rotation::Rotated(token) | Rotation::Repeated(token) => format!("successor {}", lab.fixture.name(token.id)),
    }
}

fn redeemed(lab: &Lab, redemption: Redemption) -> String {
    match redemption {
        Redemption::Reused { .. } => "reused".to_owned(),
        Redemption::Refused(refusal) => refusal.as_str().to_owned(),
        redemption => {
            redemption.successor().map_or_else(String::new, |t| format!("successor {}", lab.fixture.name(t.id)))
        }
    }
}

fn revoked(_: Receipt) -> String {
    "revoked".to_owned()
}

fn some<T>(value: Option<&T>) -> String {
    format!("some {}", value.is_some())
}

/// A token, a hash and an id that are not the user's.
const NOBODY: Uuid = Uuid::from_u128(1);

pub(crate) fn exchanges() -> Vec<Case> {
    vec![
        Case {
            was_done: Some(Error::DuplicateId),
            ..Case::new("create", |lab| {
                lab.store.create(&lab.fixture.new).map(|token| format!("token {}", lab.fixture.name(token.id)))
            })
        },
        Case::new("rotate", |lab| {
            let f = &lab.fixture;
            Ok(said(lab, lab.store.rotate(&f.live.token_hash, &f.successors[0], Binding::user(f.live.user_id))?))
        }),
        Case::new("rotate, switching", |lab| {
            let f = &lab.fixture;
            let elsewhere = f.successors[0].clone().active_org_id(f.second.active_org_id);
            Ok(said(lab, lab.store.rotate(&f.live.token_hash, &elsewhere, Binding::ANY)?))
        }),
        Case::reads("rotate, refused", |lab| {
            let f = &lab.fixture;
            Ok(said(lab, lab.store.rotate(&f.live.token_hash, &f.successors[0], Binding::user(NOBODY))?))
        }),
        Case::reads("rotate, reused", |lab| {
            let f = &lab.fixture;
            Ok(said(lab, lab.store.rotate(&f.spent.token_hash, &f.successors[0], Binding::ANY)?))
        }),
        Case::new("redeem", |lab| {
            let f = &lab.fixture;
            let outcome = lab.store.redeem(&f.live.token_hash, &f.successors[0], Binding::ANY, OnReuse::RevokeSession);
            Ok(redeemed(lab, outcome?))
        }),
        Case::new("redeem, reused", |lab| reuse(lab, OnReuse::RevokeSession)),
        Case::new("redeem, reused, ending", |lab| reuse(lab, OnReuse::EndSession)),
        Case::new("redeem, reused, chain", |lab| reuse(lab, OnReuse::RevokeChain)),
        Case::new("redeem, reused, user", |lab| reuse(lab, OnReuse::RevokeUser)),
        Case::new("rotate_many", |lab| {
            let f = &lab.fixture;
            let request = |presented: &refresh_tokens::TokenHash, successor: &refresh_tokens::Successor| {
                RotationRequest::new(presented.clone(), successor.clone())
            };
            let requests = [
                request(&f.live.token_hash, &f.successors[0]),
                request(&f.second.token_hash, &f.successors[1]),
                request(&f.spent.token_hash, &successor()),
            ];
            let outcomes: Result<Vec<Rotation>> = lab.store.rotate_many(&requests)?.into_iter().collect();
            Ok(outcomes?.into_iter().map(|outcome| said(lab, outcome)).collect::<Vec<_>>().join(", "))
        }),
        Case::new("GroupRotator::rotate", |lab| {
            let f = &lab.fixture;
            Ok(said(lab, lab.group.rotate(&f.live.token_hash, &f.successors[0], Binding::ANY)?))
        }),
        Case::new("GroupRotator::redeem, reused", |lab| {
            let f = &lab.fixture;
            let on_reuse = OnReuse::RevokeSession;
            Ok(redeemed(lab, lab.group.redeem(&f.spent.token_hash, &f.successors[0], Binding::ANY, on_reuse)?))
        }),
        Case::new("transaction", host_transaction),
        Case::new("SessionService::start_session", |lab| {
            lab.service.start_session(&lab.fixture.login).map(|issued| format!("secret of {}", issued.token.generation))
        }),
        Case::new("SessionService::refresh", |lab| {
            Ok(match lab.service.refresh(&lab.fixture.secret, Binding::ANY)? {
                Refresh::Rotated(issued) | Refresh::Repeated(issued) => {
                    format!("secret of {}", issued.token.generation)
                }
                other => other.as_str().to_owned(),
            })
        }),
    ]
}

fn reuse(lab: &Lab, on_reuse: OnReuse) -> Result<String> {
    let f = &lab.fixture;
    Ok(redeemed(lab, lab.store.redeem(&f.spent.token_hash, &f.successors[0], Binding::ANY, on_reuse)?))
}

/// With a write of the host's own, which is done as often as the rotation.
fn host_transaction(lab: &Lab) -> Result<String> {
    let f = &lab.fixture;
    lab.store.transaction(|tx| {
        let Some(locked) = tx.get_valid_for_rotation(&f.live.token_hash, Binding::ANY)? else {
            // Spent: perhaps by this very request, when it came first.
            return Ok(said(lab, tx.rotate(&f.live.token_hash, &f.successors[0], Binding::ANY)?));
        };
        let made = locked.rotate_to(&f.successors[0])?;
        sql_query("INSERT INTO audit VALUES ($1)").bind::<SqlUuid, _>(made.id).execute(tx.connection())?;
        Ok(format!("successor {}", f.name(made.id)))
    })
}

pub(crate) fn revocations() -> Vec<Case> {
    vec![
        Case::new("revoke", |lab| lab.store.revoke(lab.fixture.live.id).map(|_| "revoked".to_owned())),
        Case::new("revoke_by_hash", |lab| {
            lab.store.revoke_by_hash(&lab.fixture.live.token_hash).map(|_| "revoked".to_owned())
        }),
        Case::new("revoke_token_chain", |lab| lab.store.revoke_token_chain(lab.fixture.spent.id).map(revoked)),
        Case::new("revoke_session", |lab| lab.store.revoke_session(lab.fixture.live.session_id).map(revoked)),
        Case::new("revoke_session_by_hash", |lab| {
            lab.store.revoke_session_by_hash(&lab.fixture.spent.token_hash).map(revoked)
        }),
        Case::new("end_session", |lab| lab.store.end_session(lab.fixture.live.session_id).map(revoked)),
        Case::new("end_session_by_hash", |lab| {
            lab.store.end_session_by_hash(&lab.fixture.spent.token_hash).map(revoked)
        }),
        Case::new("revoke_all_for_user", |lab| lab.store.revoke_all_for_user(lab.fixture.live.user_id).map(revoked)),
        Case::new("revoke_all_for_user_except", |lab| {
            let f = &lab.fixture;
            lab.store.revoke_all_for_user_except(f.live.user_id, f.live.id).map(revoked)
        }),
        Case::new("revoke_all_for_user_except_session", |lab| {
            let f = &lab.fixture;
            lab.store.revoke_all_for_user_except_session(f.live.user_id, f.second.session_id).map(revoked)
        }),
        Case::new("revoke_all_for_user_in_org", |lab| {
            let f = &lab.fixture;
            lab.store.revoke_all_for_user_in_org(f.live.user_id, f.live.active_org_id).map(revoked)
        }),
        Case::in_steps("revoke_all_for_org", |lab| {
            lab.store.revoke_all_for_org(lab.fixture.live.active_org_id).map(revoked)
        }),
        Case::in_steps("revoke_all_for_everyone", |lab| lab.store.revoke_all_for_everyone().map(revoked)),
    ]
}

pub(crate) fn reads() -> Vec<Case> {
    vec![
        Case::reads("get_by_hash", |lab| Ok(some(lab.store.get_by_hash(&lab.fixture.live.token_hash)?.as_ref()))),
        Case::reads("get_valid_by_hash", |lab| {
            Ok(some(lab.store.get_valid_by_hash(&lab.fixture.live.token_hash, Binding::ANY)?.as_ref()))
        }),
        Case::reads("check_token_reuse", |lab| {
            Ok(some(lab.store.check_token_reuse(&lab.fixture.spent.token_hash)?.as_ref()))
        }),
        Case::reads("get_active_tokens_for_user", |lab| {
            Ok(lab.store.get_active_tokens_for_user(lab.fixture.live.user_id)?.len().to_string())
        }),
        Case::reads("list_sessions", |lab| {
            let page = lab.store.list_sessions(&SessionQuery::of_user(lab.fixture.live.user_id).with_ended())?;
            Ok(page.sessions.len().to_string())
        }),
        Case::reads("now", |lab| lab.store.now().map(|_| String::new())),
    ]
}

/// So that each of the three goes by itself.
fn one_by_one() -> CleanupBudget {
    CleanupBudget::default().batch(1)
}

pub(crate) fn retention() -> Vec<Case> {
    vec![
        Case::in_steps("cleanup_expired", |lab| lab.store.cleanup_expired(7).map(|_| String::new())),
        Case::in_steps("cleanup", |lab| {
            lab.store.cleanup(&RetentionPolicy::default(), &one_by_one()).map(|_| String::new())
        }),
        Case {
            prepare: |conn| drop(RefreshTokenRepository::new(conn).prepare_archive(1).unwrap()),
            ..Case::in_steps("cleanup, archiving", |lab| {
                lab.store.cleanup(&RetentionPolicy::default().archive(), &one_by_one()).map(|_| String::new())
            })
        },
        Case::reads("preview_cleanup", |lab| {
            Ok(lab.store.preview_cleanup(&RetentionPolicy::default(), &CleanupBudget::default())?.tokens().to_string())
        }),
        Case::reads("retention_backlog", |lab| {
            Ok(lab.store.retention_backlog(&RetentionPolicy::default())?.expired_counted.to_string())
        }),
        Case::new("prepare_archive", |lab| lab.store.prepare_archive(1).map(|_| String::new())),
    ]
}
