//! What is asked of every variant by the clock: in rounds, each of which begins with another variant.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Text, Uuid as SqlUuid};
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
    ask: fn(&mut Subject) -> Duration,
}

/// Percent of the live tokens that a round of rotations takes.
const ROTATED: usize = 4;

/// `cleanup_expired` with this deletes somewhat less than a hundredth of the rows.
const DAYS: i32 = 26;

/// Rows of a batch of spent ones, as many as `cleanup_expired` takes at once.
const BATCH: i32 = 1_000;

pub(crate) const ROTATE: Question =
    Question { name: "`rotate`", rounds: 8, of: ALL, ask: |subject| subject.rotate_timed(ROTATED) };

const ALL: fn(&Variant) -> bool = |_| true;

/// All that change anything are rolled back.
pub(crate) const OF_THE_LONG_HISTORY: [Question; 5] = [
    Question { name: "`list_sessions`", rounds: 9, of: ALL, ask: list_sessions },
    Question { name: "by skipping", rounds: 9, of: |variant| variant.skips, ask: list_by_skipping },
    Question { name: "`get_active_tokens_for_user`", rounds: 9, of: ALL, ask: get_active },
    Question { name: "`end_session`", rounds: 9, of: ALL, ask: end_session },
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
    /// Seconds in each round, of each subject that has something to answer with.
    pub(crate) fn ask(&self, subjects: &mut [Subject], measures: bool) -> Vec<Option<Vec<f64>>> {
        let rounds = if measures { self.rounds } else { 1 };
        let mut seconds: Vec<_> = subjects.iter().map(|subject| (self.of)(subject.variant).then(Vec::new)).collect();
        for round in 0..rounds {
            for step in 0..subjects.len() {
                let index = (round + step) % subjects.len();
                if let Some(seconds) = &mut seconds[index] {
                    seconds.push((self.ask)(&mut subjects[index]).as_secs_f64());
                }
            }
        }
        seconds
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let answer = work();
    (began.elapsed(), answer)
}

fn long_user(conn: &mut PgConnection) -> Uuid {
    select_uuid(conn, "user 0")
}

fn select_uuid(conn: &mut PgConnection, name: &str) -> Uuid {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        id: Uuid,
    }
    sql_query("SELECT md5($1)::uuid AS id")
        .bind::<Text, _>(name)
        .get_result::<Row>(conn)
        .expect("it can be computed")
        .id
}

fn list_sessions(subject: &mut Subject) -> Duration {
    let query = SessionQuery::of_user(long_user(&mut subject.conn));
    let mut tokens = RefreshTokenRepository::new(&mut subject.conn);
    let (taken, page) = timed(|| tokens.list_sessions(&query));
    assert_eq!(page.expect("it can be read").sessions.len(), LONG_SESSIONS as usize, "all of them");
    taken
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

fn list_by_skipping(subject: &mut Subject) -> Duration {
    let user_id = long_user(&mut subject.conn);
    let (taken, rows) = timed(|| sql_query(SKIP).bind::<SqlUuid, _>(user_id).execute(&mut subject.conn));
    assert_eq!(rows, Ok(LONG_SESSIONS as usize), "all of them");
    taken
}

fn get_active(subject: &mut Subject) -> Duration {
    let user_id = long_user(&mut subject.conn);
    let mut tokens = RefreshTokenRepository::new(&mut subject.conn);
    let (taken, active) = timed(|| tokens.get_active_tokens_for_user(user_id));
    assert_eq!(active.expect("it can be read").len(), LONG_SESSIONS as usize, "one of each session");
    taken
}

fn end_session(subject: &mut Subject) -> Duration {
    let session_id = select_uuid(&mut subject.conn, "session -1");
    rolled_back(subject, |tokens| {
        assert_eq!(tokens.end_session(session_id).expect("nobody else is there").tokens, 1);
    })
}

fn revoke_all(subject: &mut Subject) -> Duration {
    let user_id = long_user(&mut subject.conn);
    let rows = usize::try_from(LONG_SESSIONS * subject.load.long).expect("a count");
    let taken = rolled_back(subject, |tokens| {
        assert_eq!(tokens.revoke_all_for_user(user_id).expect("nobody else is there").tokens, rows);
    });
    // The next round is to find the table as this one did.
    subject.conn.batch_execute("VACUUM refresh_tokens").expect("the role owns the table");
    taken
}

fn clean_up(subject: &mut Subject) -> Duration {
    let mut deleted = 0;
    let taken = rolled_back(subject, |tokens| {
        deleted = tokens.cleanup_expired(DAYS).expect("nobody else is there");
    });
    assert!(deleted > 0, "old rows");
    taken * 1_000 / u32::try_from(deleted).expect("far fewer")
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

fn delete_spent(subject: &mut Subject) -> Duration {
    let delete = DELETE_SPENT.replace("{age}", subject.variant.age).replace("{batch}", &BATCH.to_string());
    subject.conn.test_transaction::<_, diesel::result::Error, _>(|conn| {
        let (taken, deleted) = timed(|| sql_query(delete).execute(conn));
        assert!(deleted? > 0, "old rows");
        Ok(taken)
    })
}

fn rolled_back(subject: &mut Subject, verb: impl FnOnce(&mut RefreshTokenRepository<'_>)) -> Duration {
    subject.conn.test_transaction::<_, diesel::result::Error, _>(|conn| {
        let mut tokens = RefreshTokenRepository::new(conn);
        Ok(timed(|| verb(&mut tokens)).0)
    })
}

fn revoke_org(subject: &mut Subject) -> Duration {
    let org_id = select_uuid(&mut subject.conn, "org 1");
    rolled_back(subject, |tokens| {
        assert!(tokens.revoke_all_for_org(org_id).expect("nobody else is there").tokens > 0, "live rows");
    })
}

fn live_of_org(subject: &mut Subject) -> Duration {
    let org_id = select_uuid(&mut subject.conn, "org 1");
    let live = "SELECT id FROM refresh_tokens WHERE active_org_id = $1 AND rotated_to IS NULL AND revoked_at IS NULL";
    let (taken, rows) = timed(|| sql_query(live).bind::<SqlUuid, _>(org_id).execute(&mut subject.conn));
    assert!(rows.expect("it can be read") > 0, "live rows");
    taken
}
