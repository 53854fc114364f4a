//! The reference and the library on the same rows: each verb by both, with the same answer and the same changes.

use std::collections::BTreeMap;

use diesel::sql_query;
use diesel::sql_types::Text;

use super::*;

/// The rows that a verb changed: deleted, or whether it is revoked and all else that the reference knows of it.
type Changes = BTreeMap<Uuid, Option<(bool, Row)>>;

/// The same rows in two places: the reference runs in one, the library in the other.
struct Twins {
    reference: PgConnection,
    library: PgConnection,
    _databases: [Database; 2],
    rows: Vec<RefreshToken>,
}

impl Twins {
    fn new() -> Self {
        #[derive(QueryableByName)]
        struct Rows {
            #[diesel(sql_type = Text)]
            rows: String,
        }
        let databases = [Database::migrated(), Database::migrated()];
        let [mut reference, mut library] = databases.each_ref().map(Database::connect);
        fill(&mut reference);
        let Rows { rows } = sql_query("SELECT jsonb_agg(to_jsonb(it))::text AS rows FROM refresh_tokens it")
            .get_result(&mut reference)
            .unwrap();
        sql_query("INSERT INTO refresh_tokens SELECT * FROM jsonb_populate_recordset(NULL::refresh_tokens, $1::jsonb)")
            .bind::<Text, _>(rows)
            .execute(&mut library)
            .unwrap();
        let rows = all_rows(&mut library);
        assert_eq!(all_rows(&mut reference), rows);
        Self { reference, library, _databases: databases, rows }
    }

    /// Runs a verb by each, asserts that both answer and do the same, takes it back, and returns the answer.
    fn agree<T: std::fmt::Debug + PartialEq>(
        &mut self,
        by_reference: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
        by_library: impl FnOnce(&mut RefreshTokenRepository<'_>) -> Result<T, Error>,
    ) -> (T, Changes) {
        let rows = &self.rows;
        let theirs =
            self.reference.test_transaction(|conn| QueryResult::Ok((by_reference(conn)?, changes(conn, rows))));
        let ours = self.library.test_transaction(|conn| {
            let answer = by_library(&mut RefreshTokenRepository::new(conn))?;
            Ok::<_, Error>((answer, changes(conn, rows)))
        });
        assert_eq!(ours, theirs);
        ours
    }
}

fn all_rows(conn: &mut PgConnection) -> Vec<RefreshToken> {
    dsl::refresh_tokens.order(dsl::created_at).select(RefreshToken::as_select()).load(conn).unwrap()
}

fn changes(conn: &mut PgConnection, before: &[RefreshToken]) -> Changes {
    let after: BTreeMap<Uuid, RefreshToken> = all_rows(conn).into_iter().map(|token| (token.id, token)).collect();
    let change = |now: &RefreshToken| (now.revoked_at.is_some(), Row { revoked_at: None, ..eight_columns(now) });
    let changed = before.iter().filter(|token| after.get(&token.id) != Some(token));
    changed.map(|token| (token.id, after.get(&token.id).map(change))).collect()
}

/// Sessions of one user in every state, and a session of somebody else, in this order.
fn fill(conn: &mut PgConnection) {
    let live = chain(conn, 4);
    let new = chain(conn, 1);
    let revoked_in_the_middle = chain(conn, 3);
    let ended = chain(conn, 2);
    for hash in [&revoked_in_the_middle[1], &ended[0], &ended[1]] {
        assert_eq!(RefreshTokenRepository::new(conn).revoke_by_hash(hash).map(TokenRevocation::is_revoked), Ok(true));
    }
    let old = chain(conn, 3);
    let idle = chain(conn, 1);
    for (hash, days_ago) in old.iter().zip([45, 31, 8]).chain([(&idle[0], 8)]) {
        expire(conn, hash, days_ago);
    }
    let strangers = chain(conn, 2);
    // A link that the trigger leaves alone: its ends have different users, and so different sessions.
    let [parent, successor] = [&ended[1], &strangers[0]].map(|hash| row(conn, hash).id);
    reference::mark_rotated(conn, parent, successor).unwrap();
    let user_id = row(conn, &new[0]).user_id;
    let theirs = [live, new, revoked_in_the_middle, ended, old, idle].concat();
    diesel::update(dsl::refresh_tokens.filter(dsl::token_hash.eq_any(theirs)))
        .set(dsl::user_id.eq(user_id))
        .execute(conn)
        .unwrap();
}

#[test]
fn on_the_same_rows_both_find_and_rotate_the_same() {
    let mut twins = Twins::new();
    let (mut valid, mut reused, mut rotated) = (0, 0, 0);
    for token in twins.rows.clone() {
        let hash = &token.token_hash;
        let (text, user, org) = (hash.expose(), token.user_id, token.active_org_id);
        let ours = |token: Option<RefreshToken>| token.as_ref().map(eight_columns);
        let found = twins.agree(|conn| reference::get_by_hash(conn, text), |tokens| tokens.get_by_hash(hash).map(ours));
        assert_eq!(found, (Some(eight_columns(&token)), Changes::new()));
        let found = twins
            .agree(|conn| reference::check_token_reuse(conn, text), |tokens| tokens.check_token_reuse(hash).map(ours));
        reused += usize::from(found.0.is_some());
        for (user, org, binding) in [
            (Some(user), Some(org), Binding::user(user).org(org)),
            (Some(org), None, Binding::user(org)),
            (None, Some(user), Binding::ANY.org(user)),
        ] {
            let found = twins.agree(
                |conn| reference::get_valid_by_hash(conn, text, user, org),
                |tokens| tokens.get_valid_by_hash(hash, binding).map(ours),
            );
            valid += usize::from(found.0.is_some());
        }
        for (user, binding) in
            [(None, Binding::ANY), (Some(user), Binding::user(user)), (Some(org), Binding::user(org))]
        {
            let hash = fresh_hash();
            let new = new_hash(&hash);
            let successor = Successor::expiring_at(new.id, hash, new.expires_at);
            let known = |row: Row| (row.id, row.user_id, row.token_hash, row.active_org_id, row.expires_at);
            let (successor, changes) = twins.agree(
                |conn| Ok(reference::rotate(conn, text, &new, user)?.map(known)),
                |tokens| match tokens.rotate(&token.token_hash, &successor, binding)? {
                    Rotation::Rotated(successor) | Rotation::Repeated(successor) => {
                        Ok(Some(known(eight_columns(&successor))))
                    }
                    Rotation::Refused(_) => Ok(None),
                },
            );
            assert_eq!(changes.len(), usize::from(successor.is_some()));
            rotated += changes.len();
        }
    }
    assert_eq!((valid, reused, rotated), (4, 3 + 2 + 2 + 2 + 1, 4 * 2));

    for (user_id, expected) in [(twins.rows[0].user_id, 3), (twins.rows[14].user_id, 1), (Uuid::new_v4(), 0)] {
        let (active, _) = twins.agree(
            |conn| reference::get_active_tokens_for_user(conn, user_id),
            |tokens| Ok(tokens.get_active_tokens_for_user(user_id)?.iter().map(eight_columns).collect::<Vec<_>>()),
        );
        assert_eq!(active.len(), expected);
    }
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
#[test]
fn on_the_same_rows_both_revoke_the_same() {
    let mut twins = Twins::new();
    let rows = twins.rows.clone();
    let everybody: Vec<(Uuid, TokenHash)> =
        rows.iter().map(|token| (token.id, token.token_hash.clone())).chain([(Uuid::new_v4(), fresh_hash())]).collect();
    let mut counts = Vec::new();
    for (id, hash) in &everybody {
        let (count, changes) = twins.agree(
            |conn| reference::revoke_token_chain(conn, *id),
            |tokens| tokens.revoke_token_chain(*id).map(|receipt| receipt.tokens),
        );
        assert_eq!(changes.len(), count);
        counts.push(count);
        let by_id = twins
            .agree(|conn| reference::revoke(conn, *id), |tokens| tokens.revoke(*id).map(TokenRevocation::is_revoked));
        let by_hash = twins.agree(
            |conn| reference::revoke_by_hash(conn, hash.expose()),
            |tokens| tokens.revoke_by_hash(hash).map(TokenRevocation::is_revoked),
        );
        assert_eq!(by_id, by_hash);
        assert_eq!(by_id.0, rows.iter().any(|token| token.id == *id && token.revoked_at.is_none()));
    }
    assert_eq!(counts, [4, 3, 2, 1, 1, 2, 1, 1, 2, 2, 3, 2, 1, 1, 2, 1, 0]);

    let (user, stranger) = (rows[0].user_id, rows[14].user_id);
    for (user_id, expected) in [(user, 11), (stranger, 2), (Uuid::new_v4(), 0)] {
        let (count, changes) = twins.agree(
            |conn| reference::revoke_all_for_user(conn, user_id),
            |tokens| tokens.revoke_all_for_user(user_id).map(|receipt| receipt.tokens),
        );
        assert_eq!((count, changes.len()), (expected, expected));
    }
    // A token that was rotated is left out: there the reference kills the session that was to be kept.
    let is_rotated = |id: Uuid| rows.iter().any(|token| token.id == id && token.rotated_to.is_some());
    let mut counts = Vec::new();
    for (keep, _) in everybody.into_iter().filter(|(id, _)| !is_rotated(*id)) {
        let by_reference = |conn: &mut PgConnection| reference::revoke_all_for_user_except(conn, user, keep);
        counts.push(
            twins
                .agree(by_reference, |tokens| {
                    tokens.revoke_all_for_user_except(user, keep).map(|receipt| receipt.tokens)
                })
                .0,
        );
    }
    assert_eq!(counts, [10, 10, 10, 10, 10, 11, 11]);
}

#[test]
fn on_the_same_rows_both_clean_up_the_same() {
    let mut twins = Twins::new();
    for (days, expected) in [(0, 4), (7, 4), (9, 2), (30, 2), (32, 1), (46, 0)] {
        let (count, changes) =
            twins.agree(|conn| reference::cleanup_expired(conn, days), |tokens| tokens.cleanup_expired(days));
        assert_eq!((count, changes.len()), (expected, expected), "{days}");
        assert!(changes.values().all(Option::is_none));
    }
}
