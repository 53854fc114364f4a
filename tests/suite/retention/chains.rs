//! Invariant 5 under every policy: what clean-up takes out of a chain neither revives a token nor hides one from a revocation.

use chrono::TimeDelta;
use diesel::prelude::*;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, BreachResponse, CleanupBudget, OnReuse, Redemption, RefreshToken, RefreshTokenRepository, Refusal,
    RetentionPolicy, ReuseKind, RevocationReport, Rotation, TokenHash,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::successor;

use super::policy;
use crate::common::{chain, expire, is_valid, row};

const LINKS: usize = 7;

/// Rotations that happened so long ago that the policy takes the spent tokens, but for those at these places.
fn age_rotations(conn: &mut PgConnection, but: &[&TokenHash]) {
    let old = dsl::refresh_tokens.filter(dsl::rotated_to.is_not_null()).filter(dsl::token_hash.ne_all(but.to_vec()));
    let weeks_ago = RefreshTokenRepository::new(conn).now().unwrap() - TimeDelta::days(20);
    // With its trigger, the table would take this for somebody else's rotation.
    diesel::update(old).set(dsl::rotated_at.eq(weeks_ago)).execute(conn).unwrap();
}

/// How a breach is answered, or a session ended.
type End = fn(&mut RefreshTokenRepository<'_>, &TokenHash, &RefreshToken) -> RevocationReport;

const ENDS: [(&str, End); 6] = [
    ("revoke_token_chain", |tokens, _, first| tokens.revoke_token_chain(first.id).unwrap()),
    ("revoke_session", |tokens, _, first| tokens.revoke_session(first.session_id).unwrap()),
    ("end_session", |tokens, _, first| tokens.end_session(first.session_id).unwrap()),
    ("revoke_session_by_hash", |tokens, stale, _| tokens.revoke_session_by_hash(stale).unwrap()),
    ("end_session_by_hash", |tokens, stale, _| tokens.end_session_by_hash(stale).unwrap()),
    ("redeem", |tokens, stale, _| {
        let redemption = tokens.redeem(stale, &successor(), Binding::ANY, OnReuse::RevokeChain).unwrap();
        // The reuse of a token that is kept is noticed.
        let Redemption::Reused { kind: ReuseKind::SuccessorUsed, response: BreachResponse::Revoked(receipt), .. } =
            redemption
        else {
            panic!("{redemption:?}")
        };
        receipt
    }),
];

left_out!(on other_tables: "it archives");
/// Every way to end a session, from its oldest token, where everything between that and the live one was cleaned up.
#[test]
fn invariant_5_a_session_ends_from_a_stale_token_whatever_is_gone_between() {
    for archives in [false, true] {
        for (name, end) in ENDS {
            let database = Database::migrated();
            let mut conn = database.connect();
            let hashes = chain(&mut conn, LINKS);
            age_rotations(&mut conn, &[&hashes[0]]);
            let policy = if archives { policy().archive() } else { policy() };
            let mut tokens = RefreshTokenRepository::new(&mut conn);
            tokens.create_archive_partitions(0).unwrap();
            let report = tokens.cleanup(&policy, &CleanupBudget::default()).unwrap();
            assert_eq!(report.rotated, LINKS as u64 - 2, "{name}");
            assert!(is_valid(&database, &hashes[LINKS - 1]), "{name}");
            let first = row(&mut conn, &hashes[0]);
            let receipt = end(&mut RefreshTokenRepository::new(&mut conn), &hashes[0], &first);
            assert_eq!((receipt.sessions, receipt.live), (1, 1), "{name}");
            assert!(hashes.iter().all(|hash| !is_valid(&database, hash)), "{name}");
        }
    }
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
/// The links expire in any order, as callers choose, and go one after the other: after each step, no dead token is
/// valid, the live one is, and a breach response from any token that is left ends it.
#[test]
fn invariant_5_links_that_expire_in_any_order_cut_nothing() {
    for first_to_go in 0..LINKS - 1 {
        let database = Database::migrated();
        let mut conn = database.connect();
        let hashes = chain(&mut conn, LINKS);
        // Middle links first, then outwards; the live one last of all.
        for step in 0..LINKS - 1 {
            let place = (first_to_go + step * 2) % (LINKS - 1);
            expire(&mut conn, &hashes[place], 31);
            RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &CleanupBudget::default()).unwrap();
            assert!(hashes[..LINKS - 1].iter().all(|hash| !is_valid(&database, hash)));
            assert!(is_valid(&database, &hashes[LINKS - 1]));
            let rotation =
                RefreshTokenRepository::new(&mut conn).rotate(&hashes[place], &successor(), Binding::ANY).unwrap();
            assert_eq!(rotation, Rotation::Refused(Refusal::NotFound));
            let stale = dsl::refresh_tokens
                .filter(dsl::rotated_to.is_not_null())
                .order(dsl::generation)
                .select(dsl::id)
                .first(&mut conn)
                .optional()
                .unwrap();
            if let Some(stale) = stale {
                conn.test_transaction(|conn| {
                    let mut tokens = RefreshTokenRepository::new(conn);
                    assert_eq!(tokens.revoke_token_chain(stale).unwrap().live, 1);
                    assert!(tokens.get_valid_by_hash(&hashes[LINKS - 1], Binding::ANY).unwrap().is_none());
                    QueryResult::Ok(())
                });
            }
        }
    }
}

/// A token whose row is gone is unknown: not valid, not reuse; and nobody is logged out by it.
#[test]
fn a_spent_token_is_reuse_until_it_is_cleaned_up_and_unknown_afterwards() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let hashes = chain(&mut conn, 3);
    let redeem = |conn: &mut PgConnection| {
        let mut tokens = RefreshTokenRepository::new(conn);
        tokens.redeem(&hashes[0], &successor(), Binding::ANY, OnReuse::ReportOnly).unwrap()
    };
    assert_eq!(redeem(&mut conn).as_str(), "reused_successor_used");
    age_rotations(&mut conn, &[]);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let kept_longer = RetentionPolicy::default().keep_rotated_for(TimeDelta::days(21));
    assert_eq!(tokens.cleanup(&kept_longer, &CleanupBudget::default()).unwrap().tokens(), 0);
    assert_eq!(redeem(&mut conn).as_str(), "reused_successor_used");
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    assert_eq!(tokens.cleanup(&policy(), &CleanupBudget::default()).unwrap().rotated, 2);
    assert_eq!(redeem(&mut conn), Redemption::Refused(Refusal::NotFound));
    assert!(is_valid(&database, &hashes[2]));
}

/// An hour is the least, so that a request that is sent again finds what it made.
#[test]
fn invariant_6_clean_up_leaves_the_same_request_its_answer() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let hashes = chain(&mut conn, 1);
    let successor = successor();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let first = tokens.rotate(&hashes[0], &successor, Binding::ANY).unwrap();
    let strictest = RetentionPolicy::default()
        .keep_expired_for(TimeDelta::zero())
        .keep_rotated_for(TimeDelta::hours(1))
        .keep_revoked_for(TimeDelta::zero());
    assert_eq!(tokens.cleanup(&strictest, &CleanupBudget::default()).unwrap().tokens(), 0);
    let again = tokens.rotate(&hashes[0], &successor, Binding::ANY).unwrap();
    let (Rotation::Rotated(first), Rotation::Repeated(again)) = (first, again) else { panic!() };
    assert_eq!(first, again);
}
