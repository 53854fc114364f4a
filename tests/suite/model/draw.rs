//! How often each step is drawn, and with which arguments.

use proptest::prelude::*;

use super::step::{Actor, Bound, Days, Frame, Org, Pick, Step, Turn, User, Way};

/// Who takes part in the sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cast {
    LibraryAlone,
    BesideTheReference,
}

/// Sequences of this many steps. A failing one is shrunk first by leaving steps out: those whose flag is false.
pub(super) fn sequence(cast: Cast, length: usize) -> impl Strategy<Value = (Vec<bool>, Vec<Turn<Pick>>)> {
    let kept = prop::collection::vec(prop::bool::weighted(1.0), length);
    (kept, prop::collection::vec(turn(cast), length))
}

fn turn(cast: Cast) -> impl Strategy<Value = Turn<Pick>> {
    let frame = prop_oneof![
        8 => Just(Frame::Own),
        1 => Just(Frame::HostCommits),
        1 => Just(Frame::HostRollsBack),
    ];
    let step = prop_oneof![
        10 => reading(),
        10 => create(cast),
        24 => rotate(cast),
        5 => rotate_again(),
        9 => ending(cast),
        9 => passing_of_time(cast),
    ];
    (frame, step).prop_map(|(frame, step)| Turn { frame, step })
}

fn reading() -> impl Strategy<Value = Step<Pick>> {
    prop_oneof![
        token().prop_map(Step::GetByHash),
        (token(), bound()).prop_map(|(token, bound)| Step::GetValidByHash(token, bound)),
        token().prop_map(Step::CheckTokenReuse),
        user().prop_map(Step::GetActiveTokensForUser),
    ]
}

fn create(cast: Cast) -> impl Strategy<Value = Step<Pick>> {
    let session_days = prop_oneof![
        14 => Just(None),
        5 => (0..40_i64).prop_map(Some),
        1 => (-3..0_i64).prop_map(Some),
    ];
    (actor(cast), born(), born(), user(), org(), days(), session_days).prop_map(
        |(by, id, hash, user, org, days, session_days)| Step::Create {
            by,
            id,
            hash,
            user,
            org,
            days,
            // The reference has no such column.
            session_days: session_days.filter(|_| by == Actor::Library),
        },
    )
}

fn rotate(cast: Cast) -> impl Strategy<Value = Step<Pick>> {
    let by = match cast {
        Cast::LibraryAlone => prop_oneof![4 => Just(Way::Verb), 1 => Just(Way::Guard)].boxed(),
        Cast::BesideTheReference => {
            prop_oneof![3 => Just(Way::Verb), 1 => Just(Way::Guard), 3 => Just(Way::Reference)].boxed()
        }
    };
    let presented = prop_oneof![
        6 => any::<u8>().prop_map(Pick::Valid),
        2 => token(),
    ];
    let org = prop_oneof![4 => Just(None), 1 => org().prop_map(Some)];
    (by, presented, born(), born(), days(), org, bound()).prop_map(|(by, presented, id, hash, days, org, bound)| {
        Step::Rotate { by, presented, id, hash, days, org, bound }
    })
}

/// The same request again, now and then with another hash or id.
fn rotate_again() -> impl Strategy<Value = Step<Pick>> {
    let by = prop_oneof![9 => Just(Way::Verb), 1 => Just(Way::Guard)];
    let successor = prop_oneof![
        8 => Just((Pick::Made, Pick::Made)),
        1 => Just((Pick::Made, Pick::Fresh)),
        1 => any::<u8>().prop_map(|n| (Pick::Made, Pick::Present(n))),
        1 => any::<u8>().prop_map(|n| (Pick::Present(n), Pick::Made)),
    ];
    (by, any::<u8>(), successor, days(), bound()).prop_map(|(by, n, (id, hash), days, bound)| Step::Rotate {
        by,
        presented: Pick::Spent(n),
        id,
        hash,
        days,
        org: None,
        bound,
    })
}

fn ending(cast: Cast) -> impl Strategy<Value = Step<Pick>> {
    let by = || actor(cast);
    let head = prop_oneof![token(), any::<u8>().prop_map(Pick::BeforeGap)];
    prop_oneof![
        6 => (by(), head).prop_map(|(by, token)| Step::RevokeTokenChain(by, token)),
        3 => (by(), token()).prop_map(|(by, token)| Step::Revoke(by, token)),
        2 => (by(), token()).prop_map(|(by, token)| Step::RevokeByHash(by, token)),
        1 => (by(), user()).prop_map(|(by, user)| Step::RevokeAllForUser(by, user)),
        3 => (by(), user(), token())
            .prop_map(|(by, user, keep)| Step::RevokeAllForUserExcept(by, user, keep)),
    ]
}

fn passing_of_time(cast: Cast) -> impl Strategy<Value = Step<Pick>> {
    // Mostly of links in the middle, so that clean-up cuts chains.
    let aged = prop_oneof![2 => any::<u8>().prop_map(Pick::Middle), 1 => token()];
    let ages = prop::sample::select(vec![-1, -8, -31, -45, -45]);
    let limits = prop_oneof![
        12 => prop::sample::select(vec![0, 0, 7, 30]),
        1 => prop::sample::select(vec![-1, -20, 36_500, 36_501]),
    ];
    prop_oneof![
        5 => (aged, ages).prop_map(|(token, days)| Step::Age(token, days)),
        4 => (actor(cast), limits).prop_map(|(by, days)| Step::CleanupExpired(by, days)),
    ]
}

fn actor(cast: Cast) -> BoxedStrategy<Actor> {
    match cast {
        Cast::LibraryAlone => Just(Actor::Library).boxed(),
        Cast::BesideTheReference => prop_oneof![Just(Actor::Library), Just(Actor::Reference)].boxed(),
    }
}

/// The id or hash of a new token. One that is taken is taken by a row: a deleted one is not given again, since
/// neither a UUID nor a secret comes twice, and the reference has no rule for it.
fn born() -> impl Strategy<Value = Pick> {
    prop_oneof![
        20 => Just(Pick::Fresh),
        1 => any::<u8>().prop_map(Pick::Present),
    ]
}

fn token() -> impl Strategy<Value = Pick> {
    prop_oneof![
        4 => any::<u8>().prop_map(Pick::Valid),
        6 => any::<u8>().prop_map(Pick::Spent),
        4 => any::<u8>().prop_map(Pick::Born),
        1 => Just(Pick::Nobody),
    ]
}

fn days() -> impl Strategy<Value = Days> {
    prop_oneof![
        15 => 0..60_i64,
        1 => -35..0_i64,
    ]
}

fn user() -> impl Strategy<Value = User> {
    (0..3_u8).prop_map(User)
}

fn org() -> impl Strategy<Value = Org> {
    (0..2_u8).prop_map(Org)
}

fn bound() -> impl Strategy<Value = Bound> {
    let user = prop_oneof![4 => Just(None), 1 => user().prop_map(Some)];
    let org = prop_oneof![6 => Just(None), 1 => org().prop_map(Some)];
    (user, org).prop_map(|(user, org)| Bound { user, org })
}
