//! Each row of the table in `docs/threat_model.md`: who can do what with what they have got hold of.

use chrono::TimeDelta;
use diesel::prelude::*;
use hmac::{Hmac, KeyInit, Mac};
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, Login, Pepper, Peppers, Refresh, RefreshOutcome, RefreshToken, ReuseKind, SessionPolicy, SessionService,
    TokenSecret,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::store;
use sha2::Sha256;
use uuid::Uuid;

use crate::common::row;

const PEPPER: [u8; 32] = [7; 32];

struct Scene {
    database: Database,
    service: SessionService,
    /// What the client got at login.
    first: String,
}

impl Scene {
    fn new() -> Self {
        let database = Database::migrated();
        let peppers = Peppers::new(Pepper::new(1, &PEPPER).unwrap());
        let service = SessionService::new(store(&database), peppers, SessionPolicy::default()).unwrap();
        let first = service.start_session(&Login::new(Uuid::new_v4(), Uuid::new_v4())).unwrap();
        Self { database, service, first: first.secret.expose().to_owned() }
    }

    fn refresh(&self, presented: &str) -> Refresh {
        self.service.refresh(presented, Binding::ANY).unwrap()
    }

    /// Expects to get a token for it.
    fn gets(&self, presented: &str) -> String {
        let outcome = self.refresh(presented);
        outcome.issued().expect("it is given").secret.expose().to_owned()
    }

    /// Expects it to be noticed, and answered with the end of the session.
    fn is_noticed(&self, presented: &str, expected: ReuseKind) {
        let outcome = self.refresh(presented);
        let Refresh::Reused { kind, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(kind, expected);
        let live = dsl::refresh_tokens.filter(dsl::rotated_to.is_null()).filter(dsl::revoked_at.is_null());
        assert_eq!(live.count().get_result(&mut self.database.connect()), Ok(0_i64));
    }

    /// The grace periods of all tokens end.
    fn later(&self) {
        let long_ago = self.service.now().unwrap() - TimeDelta::minutes(10);
        diesel::update(dsl::refresh_tokens.filter(dsl::rotated_to.is_not_null()))
            .set(dsl::rotated_at.eq(long_ago))
            .execute(&mut self.database.connect())
            .unwrap();
    }

    /// All that the database holds.
    fn dump(&self) -> Vec<RefreshToken> {
        dsl::refresh_tokens.select(RefreshToken::as_select()).load(&mut self.database.connect()).unwrap()
    }
}

#[test]
fn client_loses_an_answer_and_asks_again_in_time() {
    let scene = Scene::new();
    let lost = scene.gets(&scene.first);
    assert_eq!(scene.gets(&scene.first), lost);
    scene.later();
    scene.gets(&lost);
    assert_eq!(
        (scene.service.counts().of(RefreshOutcome::Rotated), scene.service.counts().of(RefreshOutcome::Repeated)),
        (2, 1)
    );
}

#[test]
fn client_loses_an_answer_and_asks_again_too_late() {
    let scene = Scene::new();
    let _lost = scene.gets(&scene.first);
    scene.later();
    scene.is_noticed(&scene.first, ReuseKind::SuccessorUnused);
}

#[test]
fn second_tab_at_the_same_moment() {
    let scene = Scene::new();
    let [one, other] = std::thread::scope(|scope| {
        [(); 2].map(|()| scope.spawn(|| scene.gets(&scene.first))).map(|tab| tab.join().unwrap())
    });
    assert_eq!(one, other);
    scene.gets(&one);
}

#[test]
fn second_tab_that_slept_until_the_first_had_used_the_successor() {
    let scene = Scene::new();
    let second = scene.gets(&scene.first);
    scene.gets(&second);
    scene.is_noticed(&scene.first, ReuseKind::SuccessorUsed);
}

/// The thief shares the client's successor; whichever of the two is second to use it, after its grace period, is noticed.
#[test]
fn thief_with_the_old_token_within_the_grace_period() {
    let scene = Scene::new();
    let of_client = scene.gets(&scene.first);
    let of_thief = scene.gets(&scene.first);
    assert_eq!(of_client, of_thief);
    scene.gets(&of_client);
    scene.later();
    scene.is_noticed(&of_thief, ReuseKind::SuccessorUnused);
}

#[test]
fn thief_with_the_old_token_later() {
    let scene = Scene::new();
    let second = scene.gets(&scene.first);
    let _third = scene.gets(&second);
    scene.later();
    scene.is_noticed(&scene.first, ReuseKind::SuccessorUsed);
}

#[test]
fn thief_with_the_new_token_before_the_client() {
    let scene = Scene::new();
    let of_thief = scene.gets(&scene.first);
    scene.later();
    scene.is_noticed(&scene.first, ReuseKind::SuccessorUnused);
    assert_eq!(scene.refresh(&of_thief).as_str(), "revoked");
}

/// They take turns within the grace period, so that each gets what the other one made: what ends it is the session's end.
#[test]
fn thief_who_is_as_quick_as_the_client_goes_on_until_the_session_ends() {
    let scene = Scene::new();
    let mut both_have = scene.first.clone();
    for _ in 0..5 {
        let of_thief = scene.gets(&both_have);
        assert_eq!(scene.gets(&both_have), of_thief);
        scene.later();
        both_have = of_thief;
    }
    let counts = scene.service.counts();
    assert_eq!(
        counts.iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>(),
        [(RefreshOutcome::Rotated, 5), (RefreshOutcome::Repeated, 5)]
    );
    let over = dsl::session_expires_at.eq(Some(scene.service.now().unwrap()));
    diesel::update(dsl::refresh_tokens).set(over).execute(&mut scene.database.connect()).unwrap();
    assert_eq!(scene.refresh(&both_have).as_str(), "expired");
}

/// The client never comes back: nobody else can find it out.
#[test]
fn thief_whom_the_client_never_meets_again_goes_on_until_a_revocation() {
    let scene = Scene::new();
    let mut of_thief = scene.gets(&scene.first);
    for _ in 0..5 {
        scene.later();
        of_thief = scene.gets(&of_thief);
    }
    let user_id = scene.dump()[0].user_id;
    assert_eq!(scene.service.end_all_sessions(user_id).unwrap().live, 1);
    assert_eq!(scene.refresh(&of_thief).as_str(), "revoked");
}

/// Neither what is stored, nor anything that is made of it without the pepper.
#[test]
fn holder_of_a_dump_can_present_nothing() {
    let scene = Scene::new();
    scene.gets(&scene.first);
    let guess = Peppers::new(Pepper::new(1, &[0; 32]).unwrap());
    for token in scene.dump() {
        let stored = token.token_hash.expose();
        assert_eq!(scene.refresh(stored).as_str(), "malformed");
        // The digest in the dress of a secret: what presenting it would hash to is something else.
        let dressed = derive([0; 32], &token, guess.generate().unwrap().expose());
        assert_eq!(scene.refresh(&dressed).as_str(), "not_found");
    }
    assert!(!format!("{:?}", scene.dump()).contains(&scene.first[11..54]));
}

#[test]
fn holder_of_a_pepper_can_make_secrets_that_nobody_has() {
    let scene = Scene::new();
    let forged = Peppers::new(Pepper::new(1, &PEPPER).unwrap()).generate().unwrap();
    assert_eq!(scene.refresh(forged.expose()).as_str(), "not_found");
    assert_eq!(scene.service.counts().of(RefreshOutcome::NotFound), 1);
}

/// It tells which secrets are in the dump, and no more.
#[test]
fn holder_of_a_dump_and_its_pepper_can_check_a_secret() {
    let scene = Scene::new();
    let peppers = Peppers::new(Pepper::new(1, &PEPPER).unwrap());
    let is_in_dump = |secret: &TokenSecret| {
        let hash = peppers.hash(secret).unwrap();
        scene.dump().iter().any(|token| token.token_hash == hash)
    };
    assert!(is_in_dump(&scene.first.parse().unwrap()));
    assert!(!is_in_dump(&peppers.generate().unwrap()));
}

/// The one who can go on from a spent token: this is what keeps pepper and database apart. Noticed when client and thief
/// both go on, as with any live token that was stolen.
#[test]
fn holder_of_a_dump_its_pepper_and_a_spent_token_has_its_successors() {
    let scene = Scene::new();
    let second = scene.gets(&scene.first);
    scene.later();
    let spent: TokenSecret = scene.first.parse().unwrap();
    let hash = Peppers::new(Pepper::new(1, &PEPPER).unwrap()).hash(&spent).unwrap();
    let stolen = derive(PEPPER, &row(&mut scene.database.connect(), &hash), &scene.first);
    assert_eq!(stolen, second);
    scene.gets(&stolen);
    scene.later();
    scene.is_noticed(&second, ReuseKind::SuccessorUnused);
}

/// The derivation by its specification, independently of the library's.
fn derive(pepper: [u8; 32], spent: &RefreshToken, presented: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&pepper).unwrap();
    mac.update(b"refresh-tokens/1/successor\0");
    mac.update(&base64_decoded(&presented[11..54]));
    mac.update(spent.rotated_to.unwrap_or_default().as_bytes());
    text_of(&mac.finalize().into_bytes())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64_decoded(text: &str) -> Vec<u8> {
    let bits: Vec<u8> = text
        .bytes()
        .flat_map(|char| {
            let value = ALPHABET.iter().position(|known| *known == char).unwrap();
            (0..6).rev().map(move |bit| u8::from(value >> bit & 1 == 1))
        })
        .collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | bit)).collect()
}

fn text_of(secret: &[u8]) -> String {
    let bits: Vec<usize> =
        secret.iter().flat_map(|byte| (0..8).rev().map(move |bit| usize::from(byte >> bit & 1))).collect();
    let char = |six: &[usize]| {
        let value = six.iter().chain([0; 6].iter()).take(6).fold(0, |value, bit| value << 1 | bit);
        char::from(ALPHABET[value])
    };
    let checked = format!("rtk1_00001_{}", bits.chunks(6).map(char).collect::<String>());
    let checksum = crc32fast::hash(checked.as_bytes());
    format!("{checked}_{checksum:08x}")
}
