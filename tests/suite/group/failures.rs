//! What becomes of the callers when a connection, or one of them, is lost.

use diesel::connection::SimpleConnection;
use diesel::r2d2::HandleEvent;
use diesel::r2d2::event::TimeoutEvent;
use diesel::sql_query;

use super::*;

/// Ends the one connection that waits for a lock.
fn terminate_the_blocked(conn: &mut PgConnection, blocker: i32) {
    sql_query(format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {blocker} = ANY (pg_blocking_pids(pid))"
    ))
    .execute(conn)
    .unwrap();
}

#[test]
fn a_lost_connection_is_told_and_replaced() {
    let group = Group::new(1, &GroupConfig::default());
    let [held, waits] = group.tokens();
    let mut holder = group.database.connect();
    let (lost, waiting) = holder
        .transaction(|conn| {
            let pid = race::pid(conn);
            rotate(By::Library, conn, &held);
            let lost = group.start(&held);
            let observer = &mut group.database.connect_directly();
            race::wait_until_blocked(observer, pid, 1);
            let waiting = group.queue_up(&waits, 1);
            terminate_the_blocked(observer, pid);
            QueryResult::Ok((lost, waiting))
        })
        .unwrap();
    assert_eq!(answer(lost), Err(Error::ConnectionLost));
    assert!(is_rotated(&answer(waiting)), "on another connection");
    assert_eq!(row(&mut group.database.connect(), &waits).generation, 0);
}

/// A leader that dies takes its own batch with it, whose outcome nobody knows, and nobody else.
#[test]
fn a_leader_that_panics_leaves_nobody_waiting() {
    let group = Group::new(1, &GroupConfig::default().max_batch(3));
    let [held, rest @ ..] = group.tokens::<7>();
    let (_, callers) = group.while_waiting_for(&held, |group| {
        *group.sent.panic_at.lock().unwrap() = Some("array_position");
        (1..).zip(&rest).map(|(length, token)| group.queue_up(token, length)).collect::<Vec<_>>()
    });
    let outcomes: Vec<_> =
        callers.into_iter().map(|caller| race::join(caller, "a caller's wait for an answer")).collect();
    assert!(outcomes[0].is_err(), "it panicked");
    for lost in &outcomes[1..3] {
        assert!(matches!(lost, Ok(Err(Error::ConnectionLost))), "{lost:?}");
    }
    assert!(outcomes[3..].iter().all(|outcome| outcome.as_ref().is_ok_and(is_rotated)), "{outcomes:?}");
    assert!(rest[..3].iter().all(|token| is_valid(&group.database, token)), "its transaction was rolled back");
}

/// The server gives way to another transaction at each attempt: all who were in the batch hear so, and none goes on alone.
#[test]
fn a_batch_that_fails_is_told_to_all_who_are_in_it() {
    let group = Group::new(1, &GroupConfig::default());
    let [held, rest @ ..] = group.tokens::<4>();
    group
        .database
        .connect_directly()
        .batch_execute(
            "CREATE FUNCTION give_way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 RAISE EXCEPTION 'could not serialize access' USING ERRCODE = 'serialization_failure';
             END $$;
             CREATE TRIGGER give_way BEFORE INSERT ON refresh_tokens FOR EACH ROW
                 WHEN (current_query() LIKE '%array_position%') EXECUTE FUNCTION give_way()",
        )
        .unwrap();
    let (first, (callers, before)) = group.while_waiting_for(&held, |group| {
        let callers: Vec<_> = (1..).zip(&rest).map(|(length, token)| group.queue_up(token, length)).collect();
        (callers, group.sent.begins())
    });
    assert!(is_rotated(&first), "it is no batch");
    for outcome in join_all(callers) {
        assert_eq!(outcome, Err(Error::Conflict));
    }
    assert_eq!(group.sent.begins() - before, 4, "one transaction for all of them, and three retries of it");
    assert!(rest.iter().all(|token| is_valid(&group.database, token)));
}

/// Long enough for a busy machine to check a connection, and for three callers to come.
const WAIT: Duration = Duration::from_secs(2);

/// Counts the waits for a connection that came to nothing.
#[derive(Debug, Default, Clone)]
struct InVain(Arc<AtomicUsize>);

impl HandleEvent for InVain {
    fn handle_timeout(&self, _: TimeoutEvent) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The pool has no connection to give: all who wait hear so at once, and the group works again when it has.
#[test]
fn without_a_connection_everybody_is_told() {
    let database = Database::migrated();
    let in_vain = InVain::default();
    let pool = Pool::builder()
        .max_size(1)
        .connection_timeout(WAIT)
        .event_handler(Box::new(in_vain.clone()))
        .build(ConnectionManager::<PgConnection>::new(database.url()))
        .unwrap();
    database.customize(&mut pool.get().unwrap());
    let group = GroupRotator::new(RefreshTokenStore::from_pool(pool.clone()), &GroupConfig::default());
    let token = create(&mut database.connect()).token_hash;
    let taken = pool.get().unwrap();
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (group, token) = (group.clone(), token.clone());
            thread::spawn(move || group.rotate(&token, &successor(), Binding::ANY))
        })
        .collect();
    race::wait_until_that("one leads, and two wait behind it", || group.waiting() == 2);
    for outcome in join_all(callers) {
        assert_eq!(outcome, Err(Error::PoolExhausted { waited: WAIT }));
    }
    assert_eq!(in_vain.0.load(Ordering::SeqCst), 1, "one has waited for all of them");
    drop(taken);
    assert!(is_rotated(&group.rotate(&token, &successor(), Binding::ANY)));
}
