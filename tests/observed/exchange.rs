//! Every way in which a token can be presented, for each verb that takes one.

use chrono::TimeDelta;
use diesel::prelude::*;
use refresh_tokens::{
    Binding, Error, GroupConfig, GroupRotator, Login, OnReuse, Pepper, Peppers, Refresh, RefreshToken,
    RefreshTokenRepository, RotationRequest, SessionPolicy, SessionService, Successor, TokenHash,
};
use refresh_tokens_support::doc::{fresh_hash, new_token, store, successor};
use uuid::Uuid;

use crate::scene::Scene;

type Exchange<'a> = &'a dyn Fn(&mut PgConnection, &TokenHash, &Successor, Binding);

/// Presents tokens in every state to one verb.
fn present_all(scene: &mut Scene, exchange: Exchange<'_>) {
    let stranger = Binding::user(Uuid::new_v4());
    let Scene { conn, .. } = scene;
    exchange(conn, &fresh_hash(), &successor(), Binding::ANY); // not found

    let token = RefreshTokenRepository::new(conn).create(&new_token()).unwrap();
    exchange(conn, &token.token_hash, &successor(), stranger);
    let next = successor();
    for _ in 0..2 {
        exchange(conn, &token.token_hash, &next, Binding::ANY); // rotated, repeated
    }
    exchange(conn, &token.token_hash, &successor(), Binding::ANY); // reused after grace

    let first = scene.create();
    for presented in [first.token_hash.clone(), rotate_twice(&mut scene.conn, &first, exchange)] {
        exchange(&mut scene.conn, &presented, &successor(), Binding::ANY); // an older generation, an ended session
    }

    let revoked = scene.create();
    scene.tokens().revoke_session(revoked.session_id).unwrap();
    exchange(&mut scene.conn, &revoked.token_hash, &successor(), Binding::ANY);

    let (member, org_id) = (scene.create(), Uuid::new_v4());
    scene.tokens().revoke_all_for_user_in_org(member.user_id, org_id).unwrap();
    exchange(&mut scene.conn, &member.token_hash, &successor().active_org_id(org_id), Binding::ANY);

    let expired = scene.create();
    scene.expire_all();
    exchange(&mut scene.conn, &expired.token_hash, &successor(), Binding::ANY);
}

/// Rotates a token twice, and returns the hash of the one in the middle.
fn rotate_twice(conn: &mut PgConnection, first: &RefreshToken, exchange: Exchange<'_>) -> TokenHash {
    let hash = fresh_hash();
    let second = Successor::with_lifetime(Uuid::new_v4(), hash.clone(), TimeDelta::days(1));
    exchange(conn, &first.token_hash, &second, Binding::ANY);
    exchange(conn, &hash, &successor(), Binding::ANY);
    hash
}

pub(crate) fn drive() {
    let mut scene = Scene::new();
    present_all(&mut scene, &|conn, presented, successor, binding| {
        let _ = RefreshTokenRepository::new(conn).rotate(presented, successor, binding).unwrap();
    });
    present_all(&mut scene, &|conn, presented, successor, binding| {
        let request = RotationRequest::new(presented.clone(), successor.clone()).binding(binding);
        drop(RefreshTokenRepository::new(conn).rotate_many(&[request]).unwrap());
    });
    present_all(&mut scene, &|conn, presented, successor, binding| {
        let mut tokens = RefreshTokenRepository::new(conn);
        let _ = tokens.redeem(presented, successor, binding, OnReuse::RevokeSession).unwrap();
    });
    let group = GroupRotator::new(store(&scene.database), &GroupConfig::default());
    present_all(&mut scene, &|_, presented, successor, binding| {
        let _ = group.rotate(presented, successor, binding).unwrap();
    });
    present_all(&mut scene, &|_, presented, successor, binding| {
        let _ = group.redeem(presented, successor, binding, OnReuse::RevokeSession).unwrap();
    });
    drive_guard(&mut scene);
    let service = service_with(&scene, 1, TimeDelta::seconds(60));
    drive_service(&mut scene, &service, &|service, presented, binding| service.refresh(presented, binding).unwrap());
    let org_id = Uuid::new_v4();
    drive_service(&mut scene, &service, &|service, presented, binding| {
        service.switch_org(presented, org_id, binding).unwrap()
    });
    let member = service.start_session(&Login::new(Uuid::new_v4(), Uuid::new_v4())).unwrap();
    scene.tokens().revoke_all_for_user_in_org(member.token.user_id, org_id).unwrap();
    let _ = service.switch_org(member.secret.expose(), org_id, Binding::ANY).unwrap();
    service.pepper_usage().unwrap();
}

fn drive_guard(scene: &mut Scene) {
    present_all(scene, &|conn, presented, successor, binding| {
        let mut tokens = RefreshTokenRepository::new(conn);
        let outcome = tokens.transaction(|tx| match tx.get_valid_for_rotation(presented, binding)? {
            Some(locked) => locked.rotate_to(successor).map(Some),
            None => Ok(None),
        });
        assert!(matches!(outcome, Ok(_) | Err(Error::RevokedSinceLogin)), "{outcome:?}");
    });
    let mut tokens = scene.tokens();
    let closed: Result<(), Error> = tokens.transaction_with(|_| Ok(()));
    closed.unwrap();
    assert_eq!(tokens.transaction_with(|_| Err::<(), _>(Error::Aborted)), Err(Error::Aborted));
}

fn service_with(scene: &Scene, pepper: u16, grace: TimeDelta) -> SessionService {
    let pepper = Pepper::new(pepper, &[7; Pepper::MIN_LENGTH]).unwrap();
    SessionService::new(store(&scene.database), Peppers::new(pepper), SessionPolicy::default().grace(grace)).unwrap()
}

type Refreshing<'a> = &'a dyn Fn(&SessionService, &str, Binding) -> Refresh;

fn drive_service(scene: &mut Scene, service: &SessionService, refresh: Refreshing<'_>) {
    let begin = || service.start_session(&Login::new(Uuid::new_v4(), Uuid::new_v4())).unwrap();
    let without_grace = service_with(scene, 1, TimeDelta::zero());
    let unknown = service_with(scene, 2, TimeDelta::zero());
    let _ = refresh(service, "no secret", Binding::ANY);
    let stranger = unknown.start_session(&Login::new(Uuid::new_v4(), Uuid::new_v4())).unwrap();
    let _ = refresh(service, stranger.secret.expose(), Binding::ANY);

    let first = begin();
    let presented = first.secret.expose();
    let _ = refresh(service, presented, Binding::user(Uuid::new_v4()));
    let second = refresh(service, presented, Binding::ANY).issued().unwrap();
    let _repeated = refresh(service, presented, Binding::ANY);
    let _ = refresh(&without_grace, presented, Binding::ANY); // after grace
    let _ = refresh(&without_grace, presented, Binding::ANY); // the session has ended
    let _ = refresh(service, second.secret.expose(), Binding::ANY); // revoked

    let older = begin();
    let next = refresh(service, older.secret.expose(), Binding::ANY).issued().unwrap();
    let _ = refresh(service, next.secret.expose(), Binding::ANY);
    let _ = refresh(service, older.secret.expose(), Binding::ANY); // an older generation

    let expired = begin();
    scene.expire_all();
    let _ = refresh(service, expired.secret.expose(), Binding::ANY);
    scene.sql("DELETE FROM refresh_tokens");
    let _ = refresh(service, expired.secret.expose(), Binding::ANY); // not found
}
