//! What each verb does where nothing runs beside it.

use refresh_tokens::{
    Binding, Error, NewRefreshToken, NewSession, RefreshTokenRepository, Refusal, RevokedReason,
    Rotation, Successor,
};
use refresh_tokens_support::doc::{connection, fresh_hash, in_days, new_token, successor};
use uuid::Uuid;

#[test]
fn smoke() {
    let mut conn = connection();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let a = tokens.create(&new_token()).unwrap();
    let s = successor();
    let Rotation::Rotated(b) = tokens.rotate(&a.token_hash, &s, Binding::ANY).unwrap() else {
        panic!()
    };
    assert_eq!(b.session_id, a.session_id);
    assert_eq!(b.generation, 1);
    let Rotation::Rotated(b2) = tokens.rotate(&a.token_hash, &s, Binding::ANY).unwrap() else {
        panic!()
    };
    assert_eq!(b, b2);
    let Rotation::Refused(Refusal::Reused(stale)) = tokens
        .rotate(&a.token_hash, &successor(), Binding::ANY)
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(tokens.revoke_token_chain(stale.id).unwrap(), 2);
    let _ = (
        Error::DuplicateId,
        NewSession::default(),
        RevokedReason::ChainRevoked,
        in_days(1),
        fresh_hash(),
        Uuid::nil(),
    );
    let _ = |n: NewRefreshToken, s: Successor| (n, s);
    assert_eq!(tokens.cleanup_expired(30).unwrap(), 0);
}
