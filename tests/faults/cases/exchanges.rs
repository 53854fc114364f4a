//! Verbs that issue and spend tokens.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Uuid as SqlUuid;
use refresh_tokens::{
    Binding, Error, OnReuse, RefreshTokenRepository, Result, Rotation, RotationRequest, SessionLimit, Successor,
    TokenHash, TokenTransaction,
};
use uuid::Uuid;

use super::{Case, redeemed, refreshed, said};
use crate::batch;
use crate::fixture::Fixture;
use crate::lab::Host;

/// A user who has no token.
const NOBODY: Uuid = Uuid::from_u128(1);

pub(crate) fn exchanges() -> Vec<Case> {
    [of_store(), of_group(), of_service()].into_iter().flatten().collect()
}

fn of_store() -> Vec<Case> {
    vec![
        Case {
            was_done: Some(Error::DuplicateId),
            ..Case::new("create", |host, f| {
                host.store.create(&f.new).map(|token| format!("token {}", f.name(token.id)))
            })
        },
        Case {
            was_done: Some(Error::DuplicateId),
            ..Case::new("create, limited", |host, f| {
                let mut new = f.new.clone();
                new.session = new.session.limit(SessionLimit::end_oldest(2));
                host.store.create(&new).map(|token| format!("token {}", f.name(token.id)))
            })
        },
        Case::new("rotate", |host, f| {
            Ok(said(f, host.store.rotate(&f.live.token_hash, &f.successors[0], Binding::user(f.live.user_id))?))
        }),
        Case::new("rotate, switching", |host, f| {
            let elsewhere = f.successors[0].clone().active_org_id(f.second.active_org_id);
            Ok(said(f, host.store.rotate(&f.live.token_hash, &elsewhere, Binding::ANY)?))
        }),
        Case::reads("rotate, refused", |host, f| {
            Ok(said(f, host.store.rotate(&f.live.token_hash, &f.successors[0], Binding::user(NOBODY))?))
        }),
        Case::reads("rotate, reused", |host, f| {
            Ok(said(f, host.store.rotate(&f.spent.token_hash, &f.successors[0], Binding::ANY)?))
        }),
        Case::new("redeem", |host, f| {
            let outcome = host.store.redeem(&f.live.token_hash, &f.successors[0], Binding::ANY, OnReuse::RevokeSession);
            Ok(redeemed(f, outcome?))
        }),
        Case::new("redeem, reused", |host, f| reuse(host, f, OnReuse::RevokeSession)).again_by_itself(),
        Case::new("redeem, reused, ending", |host, f| reuse(host, f, OnReuse::EndSession)).again_by_itself(),
        Case::new("redeem, reused, chain", |host, f| reuse(host, f, OnReuse::RevokeChain)).again_by_itself(),
        Case::new("redeem, reused, user", |host, f| reuse(host, f, OnReuse::RevokeUser)).again_by_itself(),
        Case::new("rotate_many", |host, f| {
            let requests = f.three().map(|(hash, successor)| RotationRequest::new(hash, successor));
            let outcomes: Result<Vec<Rotation>> = host.store.rotate_many(&requests)?.into_iter().collect();
            Ok(outcomes?.into_iter().map(|outcome| said(f, outcome)).collect::<Vec<_>>().join(", "))
        }),
        Case::new("transaction", |host, f| host.store.transaction(|tx| with_audit(tx, f))),
        Case::new("transaction_with", |host, f| host.store.transaction_with(|tx| with_audit(tx, f)))
            .again_by_the_caller(),
        Case::new("with", |host, f| {
            let rotate = |tokens: &mut RefreshTokenRepository<'_>| {
                tokens.rotate(&f.live.token_hash, &f.successors[0], Binding::ANY)
            };
            Ok(said(f, host.store.with(rotate)?))
        })
        .again_by_the_caller(),
    ]
}

fn reuse(host: &Host, f: &Fixture, on_reuse: OnReuse) -> Result<String> {
    Ok(redeemed(f, host.store.redeem(&f.spent.token_hash, &f.successors[0], Binding::ANY, on_reuse)?))
}

/// With a write of the host's own, which is done as often as the rotation.
fn with_audit(tx: &mut TokenTransaction<'_>, f: &Fixture) -> Result<String> {
    let Some(locked) = tx.get_valid_for_rotation(&f.live.token_hash, Binding::ANY)? else {
        // Spent: perhaps by this very request, when it came first.
        return Ok(said(f, tx.rotate(&f.live.token_hash, &f.successors[0], Binding::ANY)?));
    };
    let made = locked.rotate_to(&f.successors[0])?;
    sql_query("INSERT INTO audit VALUES ($1)").bind::<SqlUuid, _>(made.id).execute(tx.connection())?;
    Ok(format!("successor {}", f.name(made.id)))
}

fn of_group() -> Vec<Case> {
    vec![
        Case::new("GroupRotator::rotate", |host, f| {
            Ok(said(f, host.group.rotate(&f.live.token_hash, &f.successors[0], Binding::ANY)?))
        }),
        Case::new("GroupRotator::rotate, three callers", |host, f| {
            let rotate = |(hash, successor): &(TokenHash, Successor)| {
                Ok(said(f, host.group.rotate(hash, successor, Binding::ANY)?))
            };
            batch::together(host, &f.three(), rotate)
        }),
        Case::new("GroupRotator::redeem, reused", |host, f| {
            let on_reuse = OnReuse::RevokeSession;
            Ok(redeemed(f, host.group.redeem(&f.spent.token_hash, &f.successors[0], Binding::ANY, on_reuse)?))
        })
        .again_by_itself(),
    ]
}

fn of_service() -> Vec<Case> {
    vec![
        Case {
            user: |f| f.newcomer,
            ..Case::new("SessionService::start_session", |host, f| {
                host.service.start_session(&f.login).map(|issued| format!("secret of {}", issued.token.generation))
            })
        },
        Case::new("SessionService::refresh", |host, f| {
            host.service.refresh(f.issued.secret.expose(), Binding::ANY).map(refreshed)
        })
        .of_service(),
        Case::new("SessionService::refresh_on", |host, f| {
            let refresh =
                host.store.with(|tokens| host.service.refresh_on(tokens, f.issued.secret.expose(), Binding::ANY));
            refresh.map(refreshed)
        })
        .of_service()
        .again_by_the_caller(),
        Case::new("SessionService::switch_org", |host, f| {
            let (presented, org_id) = (f.issued.secret.expose(), f.live.active_org_id);
            host.service.switch_org(presented, org_id, Binding::ANY).map(refreshed)
        })
        .of_service(),
    ]
}
