//! No verb scans the table: by the plans of its statements, and by the server's own count of scans.

left_out!(module, on other_tables: "it is about PostgreSQL's plans and pages");

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use diesel::connection::{Connection, InstrumentationEvent, SimpleConnection};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Text};
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, CleanupBudget, Error, NewRefreshToken, OnReuse, RefreshToken, RefreshTokenRepository, RetentionPolicy,
    Rotation, RotationRequest, SessionOptions, SessionQuery, Successor,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::{fresh_hash, new_token, successor};

/// 50,000 tokens of 5,000 users, a tenth of them expired, and chains of five.
fn filled() -> Database {
    let database = Database::migrated();
    let mut conn = database.connect();
    conn.batch_execute(
        "INSERT INTO refresh_tokens
             (id, user_id, token_hash, active_org_id, expires_at, rotated_to, session_id, generation)
         SELECT md5('id' || n)::uuid, md5('user' || n / 10)::uuid, md5('hash' || n), md5('org')::uuid,
             now() + CASE WHEN n % 10 = 0 THEN interval '-40 days' ELSE interval '30 days' END,
             CASE WHEN n % 5 < 4 THEN md5('id' || n + 1)::uuid END, md5('session' || n / 5)::uuid, n % 5
         FROM generate_series(0, 49999) n;
         ANALYZE refresh_tokens",
    )
    .expect("the table can be filled");
    RefreshTokenRepository::new(&mut conn).create_archive_partitions(0).expect("the role owns the archive");
    database
}

/// The first of a chain in the middle of the table.
fn sample(conn: &mut PgConnection) -> RefreshToken {
    dsl::refresh_tokens
        .filter(dsl::token_hash.eq(sql::md5("hash25001")))
        .select(RefreshToken::as_select())
        .first(conn)
        .expect("it is there")
}

mod sql {
    use diesel::sql_types::Text;
    diesel::define_sql_function! {
        fn md5(text: Text) -> Text;
    }
}

type Verb = fn(&mut RefreshTokenRepository<'_>, &RefreshToken) -> Result<(), Error>;

const VERBS: [(&str, Verb); 30] = [
    ("create", |tokens, _| tokens.create(&new_token()).map(drop)),
    ("get_by_hash", |tokens, token| tokens.get_by_hash(&token.token_hash).map(drop)),
    ("get_valid_by_hash", |tokens, token| tokens.get_valid_by_hash(&token.token_hash, Binding::ANY).map(drop)),
    ("check_token_reuse", |tokens, token| tokens.check_token_reuse(&token.token_hash).map(drop)),
    ("rotate", |tokens, _| {
        let fresh = tokens.create(&new_token())?;
        let (first, second) = (successor(), successor());
        drop(tokens.rotate(&fresh.token_hash, &first, Binding::ANY)?);
        drop(tokens.rotate(&fresh.token_hash, &first, Binding::ANY)?);
        tokens.rotate(&fresh.token_hash, &second, Binding::ANY).map(drop)
    }),
    ("rotate_many", |tokens, token| {
        let batch = batch(tokens, token)?;
        tokens.rotate_many(&batch).map(drop)
    }),
    ("rotate_many in a transaction", |tokens, token| {
        let batch = batch(tokens, token)?;
        tokens.transaction(|tx| tx.rotate_many(&batch).map(drop))
    }),
    ("get_valid_for_rotation", |tokens, _| {
        let fresh = tokens.create(&new_token())?;
        tokens.transaction(|tx| {
            let locked = tx.get_valid_for_rotation(&fresh.token_hash, Binding::ANY)?;
            locked.map(|locked| locked.rotate_to(&successor())).transpose().map(drop)
        })
    }),
    ("revoke", |tokens, token| tokens.revoke(token.id).map(drop)),
    ("revoke_by_hash", |tokens, token| tokens.revoke_by_hash(&token.token_hash).map(drop)),
    ("revoke_token_chain", |tokens, token| tokens.revoke_token_chain(token.id).map(drop)),
    ("revoke_all_for_user", |tokens, token| tokens.revoke_all_for_user(token.user_id).map(drop)),
    ("revoke_all_for_user_except", |tokens, token| {
        tokens.revoke_all_for_user_except(token.user_id, token.id).map(drop)
    }),
    ("revoke_all_for_user_except_session", |tokens, token| {
        tokens.revoke_all_for_user_except_session(token.user_id, token.session_id).map(drop)
    }),
    ("revoke_session", |tokens, token| tokens.revoke_session(token.session_id).map(drop)),
    ("revoke_session_by_hash", |tokens, token| tokens.revoke_session_by_hash(&token.token_hash).map(drop)),
    ("end_session", |tokens, token| tokens.end_session(token.session_id).map(drop)),
    ("end_session_by_hash", |tokens, token| tokens.end_session_by_hash(&token.token_hash).map(drop)),
    ("revoke_all_for_user_in_org", |tokens, token| {
        tokens.revoke_all_for_user_in_org(token.user_id, token.active_org_id).map(drop)
    }),
    ("revoke_all_for_org", |tokens, token| tokens.revoke_all_for_org(token.active_org_id).map(drop)),
    ("revoke_all_for_everyone", |tokens, _| tokens.revoke_all_for_everyone().map(drop)),
    ("redeem", |tokens, token| {
        tokens.redeem(&token.token_hash, &successor(), Binding::ANY, OnReuse::RevokeSession).map(drop)
    }),
    ("rotate to another organisation", |tokens, token| {
        let fresh = tokens.create(&new_token())?;
        let successor = successor().active_org_id(token.active_org_id);
        tokens.rotate(&fresh.token_hash, &successor, Binding::ANY).map(drop)
    }),
    ("create, told when", |tokens, _| {
        let session = SessionOptions::default().authenticated_at(tokens.now()?);
        tokens.create(&NewRefreshToken { session, ..new_token() }).map(drop)
    }),
    ("list_sessions", |tokens, token| {
        tokens.list_sessions(&SessionQuery::of_user(token.user_id).include_ended().limit(5)).map(drop)
    }),
    ("get_active_tokens_for_user", |tokens, token| tokens.get_active_tokens_for_user(token.user_id).map(drop)),
    ("cleanup_expired", |tokens, _| tokens.cleanup_expired(30).map(drop)),
    ("cleanup", |tokens, _| tokens.cleanup(&retention(), &CleanupBudget::default()).map(drop)),
    ("cleanup, archiving", |tokens, _| tokens.cleanup(&retention().archive(), &CleanupBudget::default()).map(drop)),
    ("preview_cleanup", |tokens, _| tokens.preview_cleanup(&retention(), &CleanupBudget::default()).map(drop)),
];

fn retention() -> RetentionPolicy {
    RetentionPolicy::default().keep_rotated_for(TimeDelta::days(7)).longest_lifetime(TimeDelta::days(30))
}

/// Good requests and bad ones, one of which has the id of another token.
fn batch(tokens: &mut RefreshTokenRepository<'_>, taken: &RefreshToken) -> Result<Vec<RotationRequest>, Error> {
    let mut batch = vec![RotationRequest::new(taken.token_hash.clone(), successor())];
    for _ in 0..3 {
        batch.push(RotationRequest::new(tokens.create(&new_token())?.token_hash, successor()));
    }
    let id = Successor::expiring_at(taken.id, fresh_hash(), taken.expires_at);
    batch.push(RotationRequest::new(tokens.create(&new_token())?.token_hash, id));
    Ok(batch)
}

#[derive(QueryableByName)]
struct Plan {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    line: String,
}

/// The generic plan, which a prepared statement must be content with whatever its arguments are.
fn generic_plan(conn: &mut PgConnection, statement: &str) -> String {
    #[derive(QueryableByName)]
    struct Prepared {
        #[diesel(sql_type = Integer)]
        parameters: i32,
    }
    conn.batch_execute(&format!("SET plan_cache_mode = force_generic_plan; PREPARE it AS {statement}"))
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    let prepared: Prepared =
        sql_query("SELECT cardinality(parameter_types) AS parameters FROM pg_prepared_statements WHERE name = 'it'")
            .get_result(conn)
            .expect("it was prepared");
    let arguments = vec!["NULL"; usize::try_from(prepared.parameters).unwrap_or(0)].join(", ");
    let execute = if arguments.is_empty() { "it".to_owned() } else { format!("it({arguments})") };
    let plan: Vec<Plan> = sql_query(format!("EXPLAIN EXECUTE {execute}")).load(conn).expect("it can be explained");
    conn.batch_execute("DEALLOCATE it").expect("it was prepared");
    plan.into_iter().map(|Plan { line }| line + "\n").collect()
}

#[test]
fn no_statement_of_any_verb_is_planned_as_a_scan_of_the_table() {
    let database = filled();
    let mut conn = database.connect();
    let token = sample(&mut conn);
    let mut planner = database.connect();
    let mut plans = BTreeMap::new();
    for (name, verb) in VERBS {
        let statements = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&statements);
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { query, .. } = event {
                let text = query.to_string();
                let statement = text.rsplit_once(" -- binds: ").map_or(text.as_str(), |(statement, _)| statement);
                seen.lock().unwrap().push(statement.to_owned());
            }
        });
        verb(&mut RefreshTokenRepository::new(&mut conn), &token).unwrap();
        let statements = statements.lock().unwrap().clone();
        let on_the_table: Vec<_> = statements.iter().filter(|text| text.contains("refresh_tokens")).collect();
        assert!(!on_the_table.is_empty(), "{name}: {statements:?}");
        for statement in on_the_table {
            plans.insert(statement.clone(), (name, generic_plan(&mut planner, statement)));
        }
    }
    assert!(plans.len() >= 12, "{plans:#?}");
    for (statement, (name, plan)) in plans {
        assert!(!plan.contains("Seq Scan on refresh_tokens"), "{name}: {statement}\n{plan}");
        assert!(plan.contains("Index") || statement.contains("-- create"), "{name}: {statement}\n{plan}");
    }
}

left_out!(under serializable: "it revokes in a transaction of the host's, which is refused above READ COMMITTED");
#[test]
fn no_verb_scans_the_table_when_it_runs() {
    #[derive(QueryableByName)]
    struct Scans {
        #[diesel(sql_type = BigInt)]
        seq_scan: i64,
        #[diesel(sql_type = BigInt)]
        idx_scan: i64,
    }
    let database = filled();
    let mut conn = database.connect();
    let token = sample(&mut conn);
    for (name, verb) in VERBS {
        conn.test_transaction(|conn| {
            verb(&mut RefreshTokenRepository::new(conn), &token).unwrap();
            // Counted for this transaction alone, and at once.
            let scans: Scans = sql_query(
                "SELECT coalesce(sum(seq_scan), 0)::bigint AS seq_scan, coalesce(sum(idx_scan), 0)::bigint AS idx_scan
                 FROM pg_stat_xact_user_tables
                 WHERE relname = 'refresh_tokens' AND schemaname = current_schema()",
            )
            .get_result(conn)?;
            assert_eq!(scans.seq_scan, 0, "{name}");
            assert!(scans.idx_scan > 0 || name.starts_with("create"), "{name}");
            QueryResult::Ok(())
        });
    }
}

#[test]
fn flaw_10_clean_up_cannot_use_its_index() {
    let database = filled();
    let mut conn = database.connect();
    let of_reference = "DELETE FROM refresh_tokens
         WHERE expires_at < clock_timestamp() - interval '1 day' * $1 RETURNING id";
    let plan = generic_plan(&mut conn, of_reference);
    assert!(plan.contains("Seq Scan on refresh_tokens"), "{plan}");

    let ours = concat!(
        include_str!("../../src/sql/retention_span.sql"),
        include_str!("../../src/sql/retention_due.sql"),
        include_str!("../../src/sql/retention_delete.sql"),
        include_str!("../../src/sql/retention_taken.sql")
    );
    let plan = generic_plan(&mut conn, ours);
    assert!(plan.contains("Index Scan using refresh_tokens_expires_at_idx"), "{plan}");
    // As a condition and not a filter: it reads what has expired, and stops.
    assert!(plan.contains("Index Cond: ((expires_at >= $4) AND (expires_at <= GREATEST("), "{plan}");
    assert!(!plan.contains("Seq Scan"), "{plan}");
}

/// Rotations of tokens all over the table leave its indexes alone: every new version finds room on its page.
#[test]
fn a_rotation_is_a_hot_update() {
    #[derive(QueryableByName)]
    struct Updates {
        #[diesel(sql_type = BigInt)]
        all: i64,
        #[diesel(sql_type = BigInt)]
        hot: i64,
    }
    let database = filled();
    let mut conn = database.connect();
    let live: Vec<RefreshToken> = dsl::refresh_tokens
        .filter(dsl::rotated_to.is_null())
        .filter(dsl::expires_at.gt(diesel::dsl::now))
        .order(sql::md5(dsl::token_hash))
        .limit(500)
        .select(RefreshToken::as_select())
        .load(&mut conn)
        .unwrap();
    assert_eq!(live.len(), 500);
    let updates: Updates = conn
        .transaction(|conn| {
            for token in &live {
                let outcome =
                    RefreshTokenRepository::new(conn).rotate(&token.token_hash, &successor(), Binding::ANY)?;
                assert!(matches!(outcome, Rotation::Rotated(_)), "{outcome:?}");
            }
            let counted = "SELECT sum(n_tup_upd)::bigint AS all, sum(n_tup_hot_upd)::bigint AS hot
                FROM pg_stat_xact_user_tables WHERE relname = 'refresh_tokens' AND schemaname = current_schema()";
            Ok::<_, Error>(sql_query(counted).get_result(conn)?)
        })
        .unwrap();
    assert_eq!((updates.all, updates.hot), (500, 500));
}
