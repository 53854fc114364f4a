//! The service, and beside it what it should answer.

mod calls;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, IssuedToken, OnReuse, Pepper, Peppers, RefreshTokenStore, SessionPolicy, SessionService, StoreConfig,
    TokenSecret,
};
use refresh_tokens_support::Database;
use uuid::Uuid;

use crate::draw::{Limit, Rules, Secret, Whom};

pub(crate) struct World {
    /// The newest pepper of each is an older one of the other.
    nodes: [SessionService; 2],
    has_grace: bool,
    on_reuse: OnReuse,
    limit: Limit,
    /// Before all else of the run.
    began_at: DateTime<Utc>,
    users: [User; 2],
    /// The last one is nil.
    orgs: [Uuid; 4],
    /// In the order in which they were issued.
    sessions: Vec<Session>,
    /// How often each outcome of a refresh was due.
    due: BTreeMap<&'static str, u64>,
}

struct User {
    id: Uuid,
    /// Logins from before the run are refused.
    is_cut_off: bool,
}

struct Session {
    id: Uuid,
    began_at: DateTime<Utc>,
    user: usize,
    is_live: bool,
    /// Oldest first: all but the last one are spent.
    tokens: Vec<Token>,
}

struct Token {
    id: Uuid,
    org_id: Uuid,
    secret: TokenSecret,
    /// A breach response was given for it.
    was_answered: bool,
}

/// A secret that was drawn: that of a token of a session, or none of the service's, with the word for it.
enum Presented {
    Token { text: String, session: usize, token: usize },
    Foreign { text: String, outcome: &'static str },
}

impl Presented {
    fn text(&self) -> &str {
        match self {
            Self::Token { text, .. } | Self::Foreign { text, .. } => text,
        }
    }
}

/// With what the model compares of it.
struct Bound {
    binding: Binding,
    user_id: Option<Uuid>,
    org_id: Option<Uuid>,
}

impl Bound {
    fn is_invalid(&self) -> bool {
        [self.user_id, self.org_id].contains(&Some(Uuid::nil()))
    }
}

fn store() -> &'static RefreshTokenStore {
    static STORE: OnceLock<(RefreshTokenStore, Database)> = OnceLock::new();
    let (store, _database) = STORE.get_or_init(|| {
        let database = Database::migrated();
        let config = StoreConfig::default().max_connections(1);
        (RefreshTokenStore::connect(database.url(), &config).expect("the server answers"), database)
    });
    store
}

fn pepper(id: u8) -> Pepper {
    Pepper::new(id.into(), &[id; 32]).expect("it is long enough")
}

impl World {
    pub(crate) fn new(rules: &Rules) -> Self {
        let mut policy = SessionPolicy::default().on_reuse(rules.on_reuse);
        if !rules.has_grace {
            policy = policy.grace(TimeDelta::zero());
        }
        if let Some(limit) = rules.limit.of_policy() {
            policy = policy.session_limit(limit);
        }
        let node = |newest, older| {
            let peppers = Peppers::new(pepper(newest)).accepting(pepper(older)).expect("their ids differ");
            SessionService::new(store().clone(), peppers, policy.clone()).expect("the policy is in range")
        };
        let nodes = [node(2, 1), node(1, 2)];
        let began_at = nodes[0].now().expect("the server answers");
        Self {
            nodes,
            has_grace: rules.has_grace,
            on_reuse: rules.on_reuse,
            limit: rules.limit,
            began_at,
            users: [(); 2].map(|()| User { id: Uuid::new_v4(), is_cut_off: false }),
            orgs: [1, 2, 3, 0].map(Uuid::from_u128),
            sessions: Vec::new(),
            due: BTreeMap::new(),
        }
    }

    fn presented(&self, secret: &Secret) -> Presented {
        let foreign = |id, outcome| {
            let secret = Peppers::new(pepper(id)).generate().expect("there is randomness");
            Presented::Foreign { text: secret.expose().to_owned(), outcome }
        };
        match secret {
            Secret::UnknownKey => foreign(3, "unknown_key"),
            Secret::Known { session, age } if !self.sessions.is_empty() => self.token(*session, *age),
            Secret::Damaged { session, age, place } if !self.sessions.is_empty() => {
                let mut bytes = self.token(*session, *age).text().to_owned().into_bytes();
                let place = usize::from(*place) % bytes.len();
                bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
                let text = String::from_utf8(bytes).expect("it is ASCII");
                Presented::Foreign { text, outcome: "malformed" }
            }
            _ => foreign(1, "not_found"),
        }
    }

    fn token(&self, session: u8, age: u8) -> Presented {
        let session = usize::from(session) % self.sessions.len();
        let tokens = &self.sessions[session].tokens;
        let token = tokens.len() - 1 - usize::from(age) % tokens.len();
        Presented::Token { text: tokens[token].secret.expose().to_owned(), session, token }
    }

    fn bound(&self, whom: &Whom, presented: &Presented) -> Bound {
        let owner = || match presented {
            Presented::Token { session, .. } => Some(self.users[self.sessions[*session].user].id),
            Presented::Foreign { .. } => None,
        };
        let (user_id, org_id) = match whom {
            Whom::Anybody => (None, None),
            Whom::Owner => (owner(), None),
            Whom::OwnerInOrg(number) => (owner(), Some(self.org(*number))),
            Whom::User(number) => (Some(self.users[usize::from(*number) % self.users.len()].id), None),
            Whom::AnyOfOrg(number) => (None, Some(self.org(*number))),
            Whom::Stranger => (Some(Uuid::new_v4()), None),
            Whom::Nil => (Some(Uuid::nil()), None),
        };
        let binding = user_id.map_or(Binding::ANY, Binding::user);
        Bound { binding: org_id.map_or(binding, |org_id| binding.org(org_id)), user_id, org_id }
    }

    fn org(&self, number: u8) -> Uuid {
        self.orgs[usize::from(number) % self.orgs.len()]
    }

    fn matches(&self, bound: &Bound, session: usize, token: usize) -> bool {
        let session = &self.sessions[session];
        bound.user_id.is_none_or(|id| id == self.users[session.user].id)
            && bound.org_id.is_none_or(|id| id == session.tokens[token].org_id)
    }

    /// How many of these sessions were live.
    fn end(&mut self, which: impl Fn(&Session) -> bool) -> usize {
        let ended = self.sessions.iter_mut().filter(|session| session.is_live && which(session));
        ended.map(|session| session.is_live = false).count()
    }

    fn live_of(&self, user: usize) -> usize {
        self.sessions.iter().filter(|session| session.is_live && session.user == user).count()
    }

    /// Two live tokens of a session would be two rows here.
    pub(crate) fn compare_tables(&self) {
        let mut conn = store().pool().get().expect("the connection is free");
        let users = self.users.each_ref().map(|user| user.id);
        let of_users = dsl::refresh_tokens.filter(dsl::user_id.eq_any(users));
        let mut live: Vec<(Uuid, Uuid)> = of_users
            .clone()
            .filter(dsl::rotated_to.is_null())
            .filter(dsl::revoked_at.is_null())
            .select((dsl::session_id, dsl::id))
            .load(&mut conn)
            .expect("the table can be read");
        live.sort_unstable();
        let expected = self.sessions.iter().filter(|session| session.is_live);
        let mut expected: Vec<_> = expected.map(|session| (session.id, newest(session).id)).collect();
        expected.sort_unstable();
        assert_eq!(live, expected, "live tokens by session");
        let rows: i64 = of_users.count().get_result(&mut conn).expect("the table can be read");
        let tokens: usize = self.sessions.iter().map(|session| session.tokens.len()).sum();
        assert_eq!(usize::try_from(rows), Ok(tokens), "tokens that were ever issued");
    }

    pub(crate) fn compare_counts(&self) {
        let counts = self.nodes.each_ref().map(SessionService::counts);
        for (outcome, _) in counts[0].iter() {
            let counted: u64 = counts.iter().map(|counts| counts.of(outcome)).sum();
            assert_eq!(counted, self.due.get(outcome.as_str()).copied().unwrap_or(0), "{outcome}");
        }
    }
}

fn newest(session: &Session) -> &Token {
    session.tokens.last().expect("a session begins with a token")
}

fn token_of(issued: IssuedToken) -> Token {
    let IssuedToken { secret, token, .. } = issued;
    Token { id: token.id, org_id: token.active_org_id, secret, was_answered: false }
}
