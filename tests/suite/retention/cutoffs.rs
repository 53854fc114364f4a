//! Cutoffs are kept for as long as somebody may come with an authentication from before them.

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use refresh_tokens::{CleanupBudget, Error, NewRefreshToken, RefreshTokenRepository, RetentionPolicy, SessionOptions};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::new_token;
use uuid::Uuid;

fn policy() -> RetentionPolicy {
    RetentionPolicy::default().keep_cutoffs_for(TimeDelta::days(10))
}

fn cutoffs(conn: &mut PgConnection) -> i64 {
    diesel::table! { refresh_token_cutoffs (user_id, org_id) { user_id -> Uuid, org_id -> Uuid, } }
    refresh_token_cutoffs::table.count().get_result(conn).unwrap()
}

/// As if every cutoff had been written that long before.
fn age(conn: &mut PgConnection, days: i32) {
    let aged = format!("UPDATE refresh_token_cutoffs SET revoked_at = revoked_at - interval '{days} days'");
    conn.batch_execute(&aged).unwrap();
}

#[test]
fn old_cutoffs_go_and_that_of_everybody_stays() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    tokens.revoke_all_for_everyone().unwrap();
    for number in 1..=2_500 {
        // More than one statement looks at.
        let (user, org) = (Uuid::from_u128(number), Uuid::from_u128(number * 7));
        if number % 500 == 0 {
            tokens.revoke_all_for_user_in_org(user, org).unwrap();
        }
    }
    conn.batch_execute(
        "INSERT INTO refresh_token_cutoffs (user_id, org_id, revoked_at)
         SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000000', now() FROM generate_series(1, 2500)",
    )
    .unwrap();
    age(&mut conn, 11);
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let recent = new_token();
    tokens.revoke_all_for_user(recent.user_id).unwrap();
    assert_eq!(tokens.cleanup(&RetentionPolicy::default(), &CleanupBudget::default()).unwrap().cutoffs, 0);
    assert_eq!(tokens.preview_cleanup(&policy(), &CleanupBudget::default()).unwrap().cutoffs, 0);
    let interrupted = tokens.cleanup(&policy(), &CleanupBudget::default().max_rows(0)).unwrap();
    assert_eq!(interrupted.cutoffs, 0, "they come after the tokens");
    assert_eq!(tokens.cleanup(&policy(), &CleanupBudget::default()).unwrap().cutoffs, 2_505);
    assert_eq!(cutoffs(&mut conn), 2);

    // Both still refuse whom they have to.
    let mut tokens = RefreshTokenRepository::new(&mut conn);
    let before = tokens.now().unwrap() - TimeDelta::days(30);
    for new in [new_token(), recent] {
        let session = SessionOptions::default().authenticated_at(before);
        assert_eq!(tokens.create(&NewRefreshToken { session, ..new }), Err(Error::RevokedSinceLogin));
    }
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
#[test]
fn a_cutoff_that_somebody_is_writing_is_left() {
    let database = Database::migrated();
    let (mut holder, mut conn) = (database.connect(), database.connect());
    conn.batch_execute("SET lock_timeout = '5s'").unwrap();
    let user = Uuid::new_v4();
    RefreshTokenRepository::new(&mut holder).revoke_all_for_user(user).unwrap();
    age(&mut holder, 11);
    holder
        .transaction(|holder| {
            RefreshTokenRepository::new(holder).revoke_all_for_user(user).unwrap();
            let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &CleanupBudget::default()).unwrap();
            assert_eq!(report.cutoffs, 0);
            QueryResult::Ok(())
        })
        .unwrap();
    let report = RefreshTokenRepository::new(&mut conn).cleanup(&policy(), &CleanupBudget::default()).unwrap();
    assert_eq!((report.cutoffs, cutoffs(&mut conn)), (0, 1));
}
