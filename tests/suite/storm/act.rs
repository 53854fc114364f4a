//! Carries out what was drawn, on the store, and puts the answer into the words of the history.

use chrono::Duration;
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, CleanupBudget, CleanupEnd, Durability, Error, GroupRotator, NewRefreshToken, Redemption,
    RefreshTokenRepository, RefreshTokenStore, Refusal, Result, RetentionPolicy, Rotation, RotationRequest,
    SessionOptions, SessionQuery, SessionState, Successor, TokenHash, TokenTransaction,
};
use refresh_tokens_support::doc::in_days;
use refresh_tokens_support::reference;
use uuid::Uuid;

use super::draw::Drawn;
use super::history::{Answer, By, Frame, Login, Op, Request, Row, Target, Why};

/// How long a token lives that is to expire during the storm.
const SHORT: Duration = Duration::milliseconds(60);

/// Who calls: an application with its store, and with so much patience for conflicts.
pub(super) struct Host {
    pub(super) store: RefreshTokenStore,
    pub(super) retries: u32,
}

impl Host {
    /// [`RefreshTokenStore::with`], from its start again after a conflict, as the store does with its own verbs.
    fn with<T>(&self, verb: impl Fn(&mut RefreshTokenRepository<'_>) -> Result<T>) -> Result<T> {
        for _ in 0..self.retries {
            match self.store.with(&verb) {
                Err(Error::Conflict) => {}
                outcome => return outcome,
            }
        }
        self.store.with(verb)
    }
}

fn hash(token: Uuid) -> TokenHash {
    TokenHash::new(token.simple().to_string()).unwrap()
}

/// What was called, with what it was answered.
pub(super) fn act(host: &Host, group: &GroupRotator, drawn: &Drawn) -> Vec<(Op, Answer)> {
    match drawn {
        Drawn::One(op) => vec![(op.clone(), act_one(host, group, op))],
        Drawn::Batch { requests, frame } => {
            let answers = rotate_many(host, requests, *frame);
            let op = |request: &Request| Op::Rotate { by: By::Many, request: *request, frame: *frame };
            requests.iter().map(op).zip(answers).collect()
        }
    }
}

fn failed(error: &Error) -> Answer {
    Answer::Failed(format!("{error:?}"))
}

fn act_one(host: &Host, group: &GroupRotator, op: &Op) -> Answer {
    let answer = match op {
        Op::Create(login) => create(host, login),
        Op::Rotate { by, request, frame: Frame::Group } => rotate_in_group(group, *by, request),
        Op::Rotate { by, request, frame } => rotate(host, *by, request, *frame),
        Op::Revoke { target, frame } => framed(host, *frame, |tokens| revoke(tokens, *target)),
        Op::GetValid(token) => host.store.get_valid_by_hash(&hash(*token), Binding::ANY).map(|found| rows(&found)),
        Op::CheckReuse(token) => host.store.check_token_reuse(&hash(*token)).map(|found| rows(&found)),
        Op::GetActive { user } => host.store.get_active_tokens_for_user(*user).map(|found| rows(&found)),
        Op::ListSessions { user } => list_sessions(host, *user),
        Op::Expire(token) => hosted(host, false, |tx| {
            let expired = diesel::update(dsl::refresh_tokens.find(token)).set(dsl::expires_at.eq(in_days(-1)));
            Ok(Answer::Rows(expired.execute(tx.connection())?))
        }),
        Op::Age(token) => hosted(host, false, |tx| age(tx.connection(), *token).map(Answer::Rows)),
        Op::AgeBetween(session) => age_between(host, *session).map(Answer::Rows),
        Op::CleanUp => host.store.cleanup_expired(0).map(Answer::Rows),
        Op::CleanUpBy { archives, batch } => clean_up(&host.store, *archives, *batch),
    };
    answer.unwrap_or_else(|error| failed(&error))
}

fn age(conn: &mut PgConnection, token: Uuid) -> Result<usize> {
    let rotated = diesel::update(dsl::refresh_tokens.find(token)).filter(dsl::rotated_at.is_not_null());
    Ok(rotated.set(dsl::rotated_at.eq(in_days(-1))).execute(conn)?)
}

/// A transaction for each: it knows nothing of the order of locks, and would deadlock with a revocation.
fn age_between(host: &Host, session: Uuid) -> Result<usize> {
    let between = dsl::refresh_tokens.filter(dsl::session_id.eq(session)).filter(dsl::generation.gt(0));
    let tokens: Vec<Uuid> = hosted(host, false, |tx| Ok(between.select(dsl::id).load(tx.connection())?))?;
    tokens.into_iter().map(|token| hosted(host, false, |tx| age(tx.connection(), token))).sum()
}

fn clean_up(store: &RefreshTokenStore, archives: bool, batch: u32) -> Result<Answer> {
    let policy = RetentionPolicy::default()
        .keep_expired_for(Duration::zero())
        .keep_rotated_for(Duration::hours(1))
        .keep_revoked_for(Duration::zero());
    let policy = if archives { policy.archive() } else { policy };
    let report = store.cleanup(&policy, &CleanupBudget::default().batch(batch))?;
    assert_eq!(report.end, Some(CleanupEnd::Complete), "it has no other bound");
    Ok(Answer::Rows(usize::try_from(report.tokens()).unwrap()))
}

fn rows<'a>(found: impl IntoIterator<Item = &'a refresh_tokens::RefreshToken>) -> Answer {
    Answer::Found(found.into_iter().map(Row::from).collect())
}

fn create(host: &Host, login: &Login) -> Result<Answer> {
    let mut session = SessionOptions::default();
    if let Some(authenticated) = login.authenticated {
        session = session.authenticated_at(authenticated.at);
    }
    let created = host.store.create(&NewRefreshToken {
        id: login.token,
        user_id: login.user,
        token_hash: hash(login.token),
        active_org_id: login.org,
        expires_at: if login.is_short { in_days(0) + SHORT } else { in_days(30) },
        session,
    });
    match created {
        Ok(token) => Ok(Answer::Born(Row::from(&token))),
        Err(Error::RevokedSinceLogin) => Ok(Answer::Refused(Why::RevokedSinceLogin, None)),
        // It had to wait for longer than the token was to live.
        Err(Error::InvalidInput(_)) if login.is_short => Ok(Answer::Refused(Why::Expired, None)),
        Err(error) => Err(error),
    }
}

fn list_sessions(host: &Host, user: Uuid) -> Result<Answer> {
    let page = host.store.list_sessions(&SessionQuery::of_user(user).limit(1_000))?;
    assert!(page.next.is_none(), "a storm has fewer sessions");
    // One may have expired between the statement that lists them and the reading of the clock after it.
    let live = page.sessions.iter().filter(|session| session.state == SessionState::Live);
    Ok(Answer::Sessions(live.map(|session| session.session_id).collect()))
}

fn parts(request: &Request) -> (TokenHash, Successor, Binding) {
    let mut successor = Successor::expiring_at(request.successor, hash(request.successor), in_days(30));
    if let Some(org) = request.org {
        successor = successor.active_org_id(org);
    }
    (hash(request.presented), successor, request.binding.map_or(Binding::ANY, Binding::user))
}

fn rotate_many(host: &Host, requests: &[Request], frame: Frame) -> Vec<Answer> {
    let batch: Vec<RotationRequest> = requests
        .iter()
        .map(|request| {
            let (presented, successor, binding) = parts(request);
            RotationRequest::new(presented, successor).binding(binding)
        })
        .collect();
    let outcomes = if frame == Frame::Own && host.retries > 0 {
        // One that ends in a conflict by itself is made again by itself.
        host.store.rotate_many(&batch)
    } else {
        framed(host, frame, |tokens| {
            let outcomes = tokens.rotate_many(&batch)?;
            // A host in SERIALIZABLE has its whole transaction to make again.
            if host.retries > 0 && outcomes.contains(&Err(Error::Conflict)) {
                Err(Error::Conflict)
            } else {
                Ok(outcomes)
            }
        })
    };
    match outcomes {
        Ok(outcomes) => outcomes
            .into_iter()
            .map(|outcome| outcome.map_or_else(|error| failed(&error), |rotation| rotated(&rotation)))
            .collect(),
        Err(error) => requests.iter().map(|_| failed(&error)).collect(),
    }
}

fn rotate_in_group(group: &GroupRotator, by: By, request: &Request) -> Result<Answer> {
    let (presented, successor, binding) = parts(request);
    match by {
        By::Redeem(on_reuse) => {
            let redemption = group.redeem(&presented, &successor, binding, on_reuse)?;
            Ok(redeemed(&redemption, Frame::Group))
        }
        _ => group.rotate(&presented, &successor, binding).map(|rotation| rotated(&rotation)),
    }
}

fn rotate(host: &Host, by: By, request: &Request, frame: Frame) -> Result<Answer> {
    let (presented, successor, binding) = parts(request);
    match by {
        By::Rotate | By::Many => framed(host, frame, |tokens| {
            tokens.rotate(&presented, &successor, binding).map(|rotation| rotated(&rotation))
        }),
        By::Redeem(on_reuse) => framed(host, frame, |tokens| {
            let redemption = tokens.redeem(&presented, &successor, binding, on_reuse)?;
            Ok(redeemed(&redemption, frame))
        }),
        By::Guard => {
            let answer = hosted(host, frame == Frame::RolledBack, |tx| {
                let Some(locked) = tx.get_valid_for_rotation(&presented, binding)? else {
                    return Ok(Answer::Refused(Why::NotSaid, None));
                };
                let token = locked.rotate_to(&successor)?;
                Ok(Answer::Born(Row::from(&token)))
            });
            match answer {
                Err(Error::RevokedSinceLogin) => Ok(Answer::Refused(Why::OrgRevoked, None)),
                answer => answer,
            }
        }
        By::Reference => hosted(host, frame == Frame::RolledBack, |tx| {
            let new = reference::NewHash {
                id: request.successor,
                token_hash: successor_hash(request),
                expires_at: in_days(30),
                active_org_id: None,
            };
            let rotated = reference::rotate(tx.connection(), presented.expose(), &new, request.binding)?;
            let token = tx.get_by_hash(&hash(request.successor))?;
            Ok(match (rotated, token) {
                (Some(_), Some(token)) => Answer::Born(Row::from(&token)),
                _ => Answer::Refused(Why::NotSaid, None),
            })
        }),
    }
}

fn successor_hash(request: &Request) -> String {
    hash(request.successor).expose().to_owned()
}

fn rotated(rotation: &Rotation) -> Answer {
    match rotation {
        Rotation::Rotated(token) | Rotation::Repeated(token) => Answer::Born(Row::from(token)),
        Rotation::Refused(refusal) => refused(refusal),
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let row = refusal.token().map(Row::from);
    match (refusal, row) {
        (Refusal::Reused(_), Some(row)) => Answer::Reused(row, None),
        (Refusal::BindingMismatch(_), row) => Answer::Refused(Why::BindingMismatch, row),
        (Refusal::Revoked(_), row) => Answer::Refused(Why::Revoked, row),
        (Refusal::OrgRevoked(_), row) => Answer::Refused(Why::OrgRevoked, row),
        (Refusal::Expired(_), row) => Answer::Refused(Why::Expired, row),
        (Refusal::NotFound, row) => Answer::Refused(Why::NotFound, row),
        (refusal, _) => Answer::Failed(format!("a refusal that the checker does not know: {refusal}")),
    }
}

fn redeemed(redemption: &Redemption, frame: Frame) -> Answer {
    let told =
        if matches!(frame, Frame::Own | Frame::Group) { Durability::Committed } else { Durability::PendingYourCommit };
    match redemption {
        Redemption::Rotated { durability, .. }
        | Redemption::Repeated { durability, .. }
        | Redemption::Reused { durability, .. }
            if *durability != told =>
        {
            Answer::Failed(format!("durability: {durability:?}"))
        }
        Redemption::Rotated { token, .. } | Redemption::Repeated { token, .. } => Answer::Born(Row::from(token)),
        Redemption::Reused { token, response, .. } => Answer::Reused(Row::from(token), Some(*response)),
        Redemption::Refused(refusal) => refused(refusal),
    }
}

fn revoke(tokens: &mut RefreshTokenRepository<'_>, target: Target) -> Result<Answer> {
    match target {
        Target::Token(token) => tokens.revoke(token).map(Answer::EndedOne),
        Target::Hash(token) => tokens.revoke_by_hash(&hash(token)).map(Answer::EndedOne),
        Target::Chain(token) => tokens.revoke_token_chain(token).map(Answer::Ended),
        Target::Session(session) => tokens.revoke_session(session).map(Answer::Ended),
        Target::Live(session) => tokens.end_session(session).map(Answer::Ended),
        Target::SessionOf(token) => tokens.revoke_session_by_hash(&hash(token)).map(Answer::Ended),
        Target::User(user) => tokens.revoke_all_for_user(user).map(Answer::Ended),
        Target::Except { user, keep } => tokens.revoke_all_for_user_except(user, keep).map(Answer::Ended),
        Target::ExceptSession { user, session } => {
            tokens.revoke_all_for_user_except_session(user, session).map(Answer::Ended)
        }
        Target::Member { user, org } => tokens.revoke_all_for_user_in_org(user, org).map(Answer::Ended),
        Target::Org(org) => tokens.revoke_all_for_org(org).map(Answer::Ended),
        Target::Everyone => tokens.revoke_all_for_everyone().map(Answer::Ended),
    }
}

fn framed<T>(host: &Host, frame: Frame, verb: impl Fn(&mut RefreshTokenRepository<'_>) -> Result<T>) -> Result<T> {
    match frame {
        Frame::Own | Frame::Group => host.with(verb),
        Frame::Committed => hosted(host, false, |tx| verb(tx)),
        Frame::RolledBack => hosted(host, true, |tx| verb(tx)),
    }
}

/// How a transaction ends that is rolled back on purpose.
enum Undone<T> {
    Answer(Box<T>),
    Failed(Error),
}

impl<T> From<Error> for Undone<T> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn hosted<T>(host: &Host, is_undone: bool, work: impl Fn(&mut TokenTransaction<'_>) -> Result<T>) -> Result<T> {
    // The host has work of its own to do, while others run into what its transaction holds.
    let work = |tx: &mut TokenTransaction<'_>| {
        let answer = work(tx)?;
        for _ in 0..3 {
            tx.now()?;
        }
        Ok::<_, Error>(answer)
    };
    if !is_undone {
        return host.store.transaction(work);
    }
    match host.store.transaction_with(|tx| Err::<T, Undone<T>>(Undone::Answer(Box::new(work(tx)?)))) {
        Ok(answer) => Ok(answer),
        Err(Undone::Answer(answer)) => Ok(*answer),
        Err(Undone::Failed(error)) => Err(error),
    }
}
