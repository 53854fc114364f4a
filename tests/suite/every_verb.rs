//! Every verb that an application runs, for tests of what goes wrong around it: with what to call it, and the word for
//! its answer, the first time and when it is sent again.

use diesel::prelude::*;
use refresh_tokens::{
    Binding, BreachResponse, Error, NewRefreshToken, OnReuse, Redemption, RefreshToken, RefreshTokenRepository, Result,
    Rotation, RotationRequest, SessionLimit, SessionOptions, SessionQuery, Successor, TokenHash,
};
use refresh_tokens_support::doc::{new_token, successor};
use uuid::Uuid;

/// A session of its own user: a live token, and a spent one before it.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) login: NewRefreshToken,
    pub(crate) spent: TokenHash,
    pub(crate) live: RefreshToken,
    pub(crate) successor: Successor,
}

impl Case {
    pub(crate) fn new(conn: &mut PgConnection) -> Self {
        let mut tokens = RefreshTokenRepository::new(conn);
        let spent = tokens.create(&new_token()).unwrap().token_hash;
        let rotation = tokens.rotate(&spent, &successor(), Binding::ANY).unwrap();
        let Rotation::Rotated(live) = rotation else { panic!("{rotation:?}") };
        Self { login: new_token(), spent, live, successor: successor() }
    }

    fn hash(&self) -> &TokenHash {
        &self.live.token_hash
    }

    /// Neither was it created, nor is the live one spent or ended.
    pub(crate) fn is_untouched(&self, conn: &mut PgConnection) -> bool {
        let mut tokens = RefreshTokenRepository::new(conn);
        tokens.get_valid_by_hash(self.hash(), Binding::ANY).unwrap().is_some()
            && tokens.get_by_hash(&self.login.token_hash).unwrap().is_none()
    }
}

type Call = fn(&mut RefreshTokenRepository<'_>, &Case) -> Result<&'static str>;

pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) call: Call,
    pub(crate) first: &'static str,
    pub(crate) again: Result<&'static str>,
}

impl Verb {
    pub(crate) fn writes(&self) -> bool {
        self.again != Ok(self.first)
    }
}

const fn reads(name: &'static str, call: Call, answer: &'static str) -> Verb {
    Verb { name, call, first: answer, again: Ok(answer) }
}

const fn rotates(name: &'static str, call: Call, again: &'static str) -> Verb {
    Verb { name, call, first: "rotated", again: Ok(again) }
}

const fn ends(name: &'static str, call: Call) -> Verb {
    Verb { name, call, first: "ended", again: Ok("nothing left") }
}

const fn creates(name: &'static str, call: Call) -> Verb {
    Verb { name, call, first: "created", again: Err(Error::DuplicateId) }
}

#[expect(clippy::needless_pass_by_value, reason = "it ends a chain of calls")]
fn some<T>(found: Option<T>) -> &'static str {
    if found.is_some() { "some" } else { "none" }
}

fn ended(is_any: bool) -> &'static str {
    if is_any { "ended" } else { "nothing left" }
}

fn rotation(rotation: &Rotation) -> &'static str {
    match rotation {
        Rotation::Rotated(_) => "rotated",
        Rotation::Repeated(_) => "repeated",
        Rotation::Refused(_) => "refused",
    }
}

fn redeem(tokens: &mut RefreshTokenRepository<'_>, presented: &TokenHash, case: &Case) -> Result<&'static str> {
    Ok(match tokens.redeem(presented, &case.successor, Binding::ANY, OnReuse::RevokeSession)? {
        Redemption::Rotated { .. } => "rotated",
        Redemption::Repeated { .. } => "repeated",
        Redemption::Reused { response, .. } => ended(matches!(response, BreachResponse::Revoked(_))),
        Redemption::Refused(_) => "refused",
    })
}

pub(crate) const VERBS: &[Verb] = &[
    reads("now", |tokens, _| tokens.now().map(|_| "now"), "now"),
    reads("get_by_hash", |tokens, case| tokens.get_by_hash(case.hash()).map(some), "some"),
    reads("get_valid_by_hash", |tokens, case| tokens.get_valid_by_hash(case.hash(), Binding::ANY).map(some), "some"),
    reads("check_token_reuse", |tokens, case| tokens.check_token_reuse(&case.spent).map(some), "some"),
    reads(
        "get_active_tokens_for_user",
        |tokens, case| tokens.get_active_tokens_for_user(case.live.user_id).map(|found| some(found.first())),
        "some",
    ),
    reads(
        "list_sessions",
        |tokens, case| {
            let page = tokens.list_sessions(&SessionQuery::of_user(case.live.user_id).include_ended())?;
            Ok(some(page.sessions.first()))
        },
        "some",
    ),
    creates("create", |tokens, case| tokens.create(&case.login).map(|_| "created")),
    creates("create, authenticated and limited", |tokens, case| {
        let session =
            SessionOptions::default().authenticated_at(case.live.created_at).limit(SessionLimit::end_oldest(5));
        tokens.create(&NewRefreshToken { session, ..case.login.clone() }).map(|_| "created")
    }),
    rotates(
        "rotate",
        |tokens, case| tokens.rotate(case.hash(), &case.successor, Binding::ANY).map(|it| rotation(&it)),
        "repeated",
    ),
    rotates(
        "rotate to another organisation",
        |tokens, case| {
            let successor = case.successor.clone().active_org_id(case.login.active_org_id);
            tokens.rotate(case.hash(), &successor, Binding::ANY).map(|it| rotation(&it))
        },
        "repeated",
    ),
    rotates(
        "rotate_many",
        |tokens, case| {
            let outcomes = tokens.rotate_many(&[RotationRequest::new(case.hash().clone(), case.successor.clone())])?;
            outcomes[0].as_ref().map(rotation).map_err(Clone::clone)
        },
        "repeated",
    ),
    rotates(
        "rotate_to",
        |tokens, case| {
            tokens.transaction(|tx| match tx.get_valid_for_rotation(case.hash(), Binding::ANY)? {
                Some(locked) => locked.rotate_to(&case.successor).map(|_| "rotated"),
                None => Ok("refused"),
            })
        },
        "refused",
    ),
    rotates("redeem", |tokens, case| redeem(tokens, case.hash(), case), "repeated"),
    ends("redeem of a spent one", |tokens, case| redeem(tokens, &case.spent, case)),
    ends("revoke", |tokens, case| tokens.revoke(case.live.id).map(|it| ended(it.is_revoked()))),
    ends("revoke_by_hash", |tokens, case| tokens.revoke_by_hash(case.hash()).map(|it| ended(it.is_revoked()))),
    ends("revoke_token_chain", |tokens, case| tokens.revoke_token_chain(case.live.id).map(|it| ended(it.live > 0))),
    ends("revoke_session", |tokens, case| tokens.revoke_session(case.live.session_id).map(|it| ended(it.live > 0))),
    ends("revoke_session_by_hash", |tokens, case| {
        tokens.revoke_session_by_hash(case.hash()).map(|it| ended(it.live > 0))
    }),
    ends("end_session", |tokens, case| tokens.end_session(case.live.session_id).map(|it| ended(it.live > 0))),
    ends("end_session_by_hash", |tokens, case| tokens.end_session_by_hash(case.hash()).map(|it| ended(it.live > 0))),
    ends("revoke_all_for_user", |tokens, case| {
        tokens.revoke_all_for_user(case.live.user_id).map(|it| ended(it.live > 0))
    }),
    ends("revoke_all_for_user_except", |tokens, case| {
        // A token of somebody else, and so of none of the user's sessions.
        tokens.revoke_all_for_user_except(case.live.user_id, Uuid::from_u128(1)).map(|it| ended(it.live > 0))
    }),
    ends("revoke_all_for_user_except_session", |tokens, case| {
        tokens.revoke_all_for_user_except_session(case.live.user_id, Uuid::from_u128(1)).map(|it| ended(it.live > 0))
    }),
    ends("revoke_all_for_user_in_org", |tokens, case| {
        tokens.revoke_all_for_user_in_org(case.live.user_id, case.live.active_org_id).map(|it| ended(it.live > 0))
    }),
    ends("revoke_all_for_org", |tokens, case| {
        tokens.revoke_all_for_org(case.live.active_org_id).map(|it| ended(it.live > 0))
    }),
    ends("revoke_all_for_everyone", |tokens, _| tokens.revoke_all_for_everyone().map(|it| ended(it.live > 0))),
];

/// Each does on a server without faults what it says here.
#[test]
fn every_verb_answers_as_it_is_said_here() {
    let mut conn = refresh_tokens_support::doc::connection();
    for verb in VERBS {
        let case = Case::new(&mut conn);
        let mut tokens = RefreshTokenRepository::new(&mut conn);
        assert_eq!((verb.call)(&mut tokens, &case), Ok(verb.first), "{}", verb.name);
        assert_eq!((verb.call)(&mut tokens, &case), verb.again, "{}", verb.name);
        assert_eq!(case.is_untouched(&mut conn), !verb.writes(), "{}", verb.name);
    }
}
