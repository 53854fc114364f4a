//! Where several refusals apply, the first is given, in the order that `Refusal` documents.

use diesel::prelude::*;
use refresh_tokens::{Binding, RefreshToken, RefreshTokenRepository, Rotation, RotationRequest, Successor};
use refresh_tokens_support::doc::{connection, successor};
use uuid::Uuid;

use crate::common::{chain, create, expire, row};

/// What a rotation is refused as, alone and in a batch.
fn refused(conn: &mut PgConnection, token: &RefreshToken, to: &Successor, binding: Binding) -> [&'static str; 2] {
    let mut tokens = RefreshTokenRepository::new(conn);
    let alone = tokens.rotate(&token.token_hash, to, binding);
    let request = RotationRequest::new(token.token_hash.clone(), to.clone()).binding(binding);
    let batch = tokens.rotate_many(&[request]).unwrap().remove(0);
    [alone, batch].map(|outcome| match outcome {
        Ok(Rotation::Refused(refusal)) => refusal.as_str(),
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_token_of_somebody_else_is_that_whatever_has_become_of_it() {
    let mut conn = connection();
    let token = create(&mut conn);
    for stranger in [Binding::user(Uuid::new_v4()), Binding::user(token.user_id).org(Uuid::new_v4())] {
        assert_eq!(refused(&mut conn, &token, &successor(), stranger), ["binding_mismatch"; 2], "live");
    }
    let stranger = Binding::user(Uuid::new_v4());
    assert!(RefreshTokenRepository::new(&mut conn).revoke(token.id).unwrap().is_revoked());
    assert_eq!(refused(&mut conn, &token, &successor(), stranger), ["binding_mismatch"; 2], "revoked");
    assert_eq!(refused(&mut conn, &token, &successor(), Binding::ANY), ["revoked"; 2]);
    // But of a spent one anybody is told that it is reuse.
    let spent = chain(&mut conn, 2).remove(0);
    let spent = row(&mut conn, &spent);
    assert_eq!(refused(&mut conn, &spent, &successor(), stranger), ["reused"; 2]);
}

#[test]
fn that_an_organisation_was_revoked_comes_before_that_the_token_expired() {
    let mut conn = connection();
    let (token, org_id) = (create(&mut conn), Uuid::new_v4());
    RefreshTokenRepository::new(&mut conn).revoke_all_for_user_in_org(token.user_id, org_id).unwrap();
    expire(&mut conn, &token.token_hash, 1);
    let switch = || successor().active_org_id(org_id);
    assert_eq!(refused(&mut conn, &token, &switch(), Binding::ANY), ["org_revoked"; 2]);
    let elsewhere = successor().active_org_id(Uuid::new_v4());
    assert_eq!(refused(&mut conn, &token, &elsewhere, Binding::ANY), ["expired"; 2]);
}
