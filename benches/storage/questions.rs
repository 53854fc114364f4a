//! What is asked of every variant by the clock: in rounds, each of which begins with another variant.

use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Double, Text, Uuid as SqlUuid};
use refresh_tokens::{RefreshTokenRepository, SessionQuery};
use uuid::Uuid;

use crate::load::LONG_SESSIONS;
use crate::subject::Subject;
use crate::variants::{TODAY, Variant};

pub(crate) struct Question {
    pub(crate) name: &'static str,
    rounds: usize,
    /// Which variants have something to answer with.
    of: fn(&Variant) -> bool,
    ask: fn(&mut Subject) -> Answer,
}

/// What it cost to be answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) seconds: f64,
    /// How often a page of the table or of an index was looked at, where that was counted.
    pub(crate) pages: Option<f64>,
}

/// Rotations of a round.
const ROTATED: usize = 500;

/// `cleanup_expired` with this deletes somewhat less than a hundredth of the rows.
const DAYS: i32 = 26;

/// Rows of a batch of spent ones, as many as `cleanup_expired` takes at once.
const BATCH: i32 = 1_000;

pub(crate) const ROTATE: Question = Question { name: "`rotate`", rounds: 25, of: ALL, ask: rotate };

const ALL: fn(&Variant) -> bool = |_| true;

/// All that change anything are rolled back.
pub(crate) const OF_THE_LONG_HISTORY: [Question; 6] = [
    Question { name: "`list_sessions`", rounds: 9, of: ALL, ask: list_sessions },
    Question { name: "by skipping", rounds: 9, of: |variant| variant.skips, ask: list_by_skipping },
    Question { name: "`get_active_tokens_for_user`", rounds: 9, of: ALL, ask: get_active },
    Question { name: "`end_session`", rounds: 9, of: ALL, ask: end_session },
    Question { name: "its token by the user", rounds: 9, of: |variant| variant.skips, ask: newest_by_user },
    Question { name: "`revoke_all_for_user`", rounds: 3, of: ALL, ask: revoke_all },
];

pub(crate) const OF_OLD_ROWS: [Question; 2] = [
    Question { name: "`cleanup_expired`, 1,000 rows", rounds: 5, of: ALL, ask: clean_up },
    Question { name: "1,000 spent rows by age", rounds: 5, of: ALL, ask: delete_spent },
];

/// By the library's walk over the table, and what an index of organisations would find at once.
pub(crate) const OF_A_TENANT: [Question; 2] = [
    Question { name: "`revoke_all_for_org`", rounds: 1, of: |variant| variant.name == TODAY.name, ask: revoke_org },
    Question { name: "its live rows by the index", rounds: 9, of: |variant| variant.by_org, ask: live_of_org },
];

impl Question {
    /// In each round, of each subject that has something to answer with.
    pub(crate) fn ask(&self, subjects: &mut [Subject], measures: bool) -> Vec<Option<Vec<Answer>>> {
        let rounds = if measures { self.rounds } else { 1 };
        let mut answers: Vec<_> = subjects.iter().map(|subject| (self.of)(subject.variant).then(Vec::new)).collect();
        for round in 0..rounds {
            for step in 0..subjects.len() {
                let index = (round + step) % subjects.len();
                if let Some(answers) = &mut answers[index] {
                    answers.push((self.ask)(&mut subjects[index]));
                }
            }
        }
        answers
    }
}

fn rotate(subject: &mut Subject) -> Answer {
    Answer { seconds: subject.rotate_timed(ROTATED), pages: None }
}

fn list_sessions(subject: &mut Subject) -> Answer {
    let query = SessionQuery::of_user(named(subject, "user 0"));
    rolled_back(subject, |conn| {
        let page = RefreshTokenRepository::new(conn).list_sessions(&query).expect("it can be read");
        assert_eq!(page.sessions.len(), LONG_SESSIONS as usize, "all of them");
    })
}

/// The live sessions of a user from an index on (`user_id`, `session_id`, `generation`): from each session to the next,
/// and of each the newest row alone.
const SKIP: &str = "
WITH RECURSIVE session AS (
    (SELECT session_id FROM refresh_tokens WHERE user_id = $1 ORDER BY session_id LIMIT 1)
    UNION ALL
    SELECT next.session_id
    FROM session
    CROSS JOIN LATERAL (
        SELECT session_id
        FROM refresh_tokens
        WHERE user_id = $1 AND session_id > session.session_id
        ORDER BY session_id
        LIMIT 1
    ) next
)
SELECT newest.*
FROM session
CROSS JOIN LATERAL (
    SELECT *
    FROM refresh_tokens
    WHERE user_id = $1 AND session_id = session.session_id
    ORDER BY generation DESC
    LIMIT 1
) newest
WHERE rotated_to IS NULL AND revoked_at IS NULL AND least(expires_at, session_expires_at) > clock_timestamp()
ORDER BY session_started_at DESC, session_id DESC";

fn list_by_skipping(subject: &mut Subject) -> Answer {
    let user_id = named(subject, "user 0");
    rolled_back(subject, |conn| {
        let rows = sql_query(SKIP).bind::<SqlUuid, _>(user_id).execute(conn);
        assert_eq!(rows, Ok(LONG_SESSIONS as usize), "all of them");
    })
}

fn get_active(subject: &mut Subject) -> Answer {
    let user_id = named(subject, "user 0");
    rolled_back(subject, |conn| {
        let active = RefreshTokenRepository::new(conn).get_active_tokens_for_user(user_id).expect("it can be read");
        assert_eq!(active.len(), LONG_SESSIONS as usize, "one of each session");
    })
}

fn end_session(subject: &mut Subject) -> Answer {
    let session_id = named(subject, "session -1");
    rolled_back(subject, |conn| {
        let report = RefreshTokenRepository::new(conn).end_session(session_id).expect("nobody else is there");
        assert_eq!(report.tokens, 1);
    })
}

/// The token that `end_session` ends, where only the user's index knows which one is the newest.
const NEWEST: &str = "
SELECT newest.*
FROM (SELECT user_id FROM refresh_tokens WHERE session_id = $1 LIMIT 1) any_token
CROSS JOIN LATERAL (
    SELECT *
    FROM refresh_tokens
    WHERE user_id = any_token.user_id AND session_id = $1
    ORDER BY generation DESC
    LIMIT 1
) newest";

fn newest_by_user(subject: &mut Subject) -> Answer {
    let session_id = named(subject, "session -1");
    rolled_back(subject, |conn| {
        let rows = sql_query(NEWEST).bind::<SqlUuid, _>(session_id).execute(conn);
        assert_eq!(rows, Ok(1));
    })
}

fn revoke_all(subject: &mut Subject) -> Answer {
    let user_id = named(subject, "user 0");
    let rows = usize::try_from(LONG_SESSIONS * subject.load.long).expect("a count");
    let answer = rolled_back(subject, |conn| {
        let report = RefreshTokenRepository::new(conn).revoke_all_for_user(user_id).expect("nobody else is there");
        assert_eq!(report.tokens, rows);
    });
    // The next round is to find the table as this one did.
    subject.conn.batch_execute("VACUUM refresh_tokens").expect("the role owns the table");
    answer
}

fn clean_up(subject: &mut Subject) -> Answer {
    let mut deleted = 0;
    let answer = rolled_back(subject, |conn| {
        deleted = RefreshTokenRepository::new(conn).cleanup_expired(DAYS).expect("nobody else is there");
    });
    assert!(deleted > 0, "old rows");
    let per_thousand = 1_000.0 / f64::from(u32::try_from(deleted).expect("far fewer"));
    Answer { seconds: answer.seconds * per_thousand, pages: answer.pages.map(|pages| pages * per_thousand) }
}

/// What a retention of spent rows would do that goes by age: a batch of the oldest.
const DELETE_SPENT: &str = "
DELETE FROM refresh_tokens
WHERE id = ANY (ARRAY(
    SELECT id
    FROM refresh_tokens
    WHERE {age} < statement_timestamp() - interval '50 days' AND rotated_to IS NOT NULL
    ORDER BY {age}
    LIMIT {batch}
    FOR UPDATE SKIP LOCKED))";

fn delete_spent(subject: &mut Subject) -> Answer {
    let delete = DELETE_SPENT.replace("{age}", subject.variant.age).replace("{batch}", &BATCH.to_string());
    rolled_back(subject, |conn| {
        assert!(sql_query(delete).execute(conn).expect("nobody else is there") > 0, "old rows");
    })
}

fn revoke_org(subject: &mut Subject) -> Answer {
    let org_id = named(subject, "org 1");
    rolled_back(subject, |conn| {
        let report = RefreshTokenRepository::new(conn).revoke_all_for_org(org_id).expect("nobody else is there");
        assert!(report.tokens > 0, "live rows");
    })
}

fn live_of_org(subject: &mut Subject) -> Answer {
    let org_id = named(subject, "org 1");
    let live = "SELECT id FROM refresh_tokens WHERE active_org_id = $1 AND rotated_to IS NULL AND revoked_at IS NULL";
    rolled_back(subject, |conn| {
        let rows = sql_query(live).bind::<SqlUuid, _>(org_id).execute(conn).expect("it can be read");
        assert!(rows > 0, "live rows");
    })
}

/// The id that the load made of a name.
fn named(subject: &mut Subject, name: &str) -> Uuid {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        id: Uuid,
    }
    let named = sql_query("SELECT md5($1)::uuid AS id").bind::<Text, _>(name);
    named.get_result::<Row>(&mut subject.conn).expect("it can be computed").id
}

fn rolled_back(subject: &mut Subject, work: impl FnOnce(&mut PgConnection)) -> Answer {
    subject.conn.test_transaction::<_, diesel::result::Error, _>(|conn| {
        let before = pages(conn)?;
        let began = Instant::now();
        work(conn);
        let seconds = began.elapsed().as_secs_f64();
        Ok(Answer { seconds, pages: Some(pages(conn)? - before) })
    })
}

/// How often this session has looked at a page, as far as it has not told the server yet; it does not tell within a
/// transaction.
fn pages(conn: &mut PgConnection) -> QueryResult<f64> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Double)]
        pages: f64,
    }
    sql_query(
        "SELECT (pg_stat_get_xact_blocks_fetched('refresh_tokens'::regclass)
             + sum(pg_stat_get_xact_blocks_fetched(indexrelid)))::float8 AS pages
         FROM pg_index WHERE indrelid = 'refresh_tokens'::regclass",
    )
    .get_result(conn)
    .map(|row: Row| row.pages)
}
