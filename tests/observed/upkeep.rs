//! Every way in which the other verbs can end.

use std::ops::ControlFlow;
use std::time::Duration;

use refresh_tokens::{
    Binding, CleanupBudget, Error, RefreshToken, RefreshTokenRepository, RetentionPolicy, RevocationReport,
    SessionQuery,
};
use refresh_tokens_support::doc::{fresh_hash, new_token, successor};
use refresh_tokens_support::race;
use uuid::Uuid;

use crate::scene::Scene;

pub(crate) fn drive() {
    let mut scene = Scene::new();
    look_up(&mut scene);
    end(&mut scene);
    clean_up(&mut scene);
}

fn look_up(scene: &mut Scene) {
    let mut tokens = scene.tokens();
    tokens.now().unwrap();
    let token = tokens.create(&new_token()).unwrap();
    for hash in [&token.token_hash, &fresh_hash()] {
        tokens.get_by_hash(hash).unwrap();
        tokens.get_valid_by_hash(hash, Binding::ANY).unwrap();
    }
    tokens.check_token_reuse(&token.token_hash).unwrap();
    let _ = tokens.rotate(&token.token_hash, &successor(), Binding::ANY).unwrap();
    tokens.check_token_reuse(&token.token_hash).unwrap();
    tokens.get_active_tokens_for_user(token.user_id).unwrap();
    tokens.list_sessions(&SessionQuery::of_user(token.user_id)).unwrap();
}

type End = fn(&mut RefreshTokenRepository<'_>, &RefreshToken) -> Result<RevocationReport, Error>;
type One = fn(&mut RefreshTokenRepository<'_>, &RefreshToken) -> bool;

fn end(scene: &mut Scene) {
    let ends: [End; 11] = [
        |tokens, token| tokens.revoke_token_chain(token.id),
        |tokens, token| tokens.revoke_session(token.session_id),
        |tokens, token| tokens.revoke_session_by_hash(&token.token_hash),
        |tokens, token| tokens.end_session(token.session_id),
        |tokens, token| tokens.end_session_by_hash(&token.token_hash),
        |tokens, token| tokens.revoke_all_for_user(token.user_id),
        |tokens, token| tokens.revoke_all_for_user_except(token.user_id, Uuid::new_v4()),
        |tokens, token| tokens.revoke_all_for_user_except_session(token.user_id, Uuid::new_v4()),
        |tokens, token| tokens.revoke_all_for_user_in_org(token.user_id, token.active_org_id),
        |tokens, token| tokens.revoke_all_for_org(token.active_org_id),
        |tokens, _| tokens.revoke_all_for_everyone(),
    ];
    for end in ends {
        let token = scene.create();
        for _ in 0..2 {
            end(&mut scene.tokens(), &token).unwrap(); // revoked, and then nothing
        }
    }
    let ones: [One; 2] = [
        |tokens, token| tokens.revoke(token.id).unwrap().is_revoked(),
        |tokens, token| tokens.revoke_by_hash(&token.token_hash).unwrap().is_revoked(),
    ];
    for revoke in ones {
        let [live, spent] = [scene.create(), scene.create()];
        let mut tokens = scene.tokens();
        let _ = tokens.rotate(&spent.token_hash, &successor(), Binding::ANY).unwrap();
        assert!(revoke(&mut tokens, &live) && revoke(&mut tokens, &spent) && !revoke(&mut tokens, &spent));
    }
}

fn clean_up(scene: &mut Scene) {
    scene.expired_rows(10);
    let (policy, budget) = (RetentionPolicy::default(), CleanupBudget::default());
    let one_by_one = budget.clone().batch(1);
    let mut tokens = scene.tokens();
    tokens.retention_backlog(&policy).unwrap();
    tokens.preview_cleanup(&policy, &budget).unwrap();
    tokens.cleanup(&policy, &budget.clone().max_rows(1)).unwrap();
    tokens.cleanup(&policy, &one_by_one.clone().max_time(Duration::ZERO)).unwrap();
    tokens.cleanup_with(&policy, &one_by_one, |_| ControlFlow::Break(())).unwrap();
    tokens.cleanup(&policy, &budget).unwrap();
    tokens.cleanup_expired(30).unwrap();
    for _ in 0..2 {
        tokens.create_archive_partitions(0).unwrap(); // prepared, and then nothing
    }
    tokens.archive_partitions().unwrap();
    scene.sql(
        "CREATE TABLE past PARTITION OF refresh_tokens_archive
             FOR VALUES FROM ('2001-01-01 00:00:00+00') TO ('2001-02-01 00:00:00+00')",
    );
    for _ in 0..2 {
        let now = race::now(&mut scene.conn);
        scene.tokens().drop_archived_before(now).unwrap();
    }
}
