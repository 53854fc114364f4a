//! What becomes of the callers when a connection, or one of them, is lost.

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
    assert_eq!(lost.join().unwrap(), Err(Error::ConnectionLost));
    assert!(is_rotated(&waiting.join().unwrap()), "on another connection");
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
    let outcomes: Vec<_> = callers.into_iter().map(JoinHandle::join).collect();
    assert!(outcomes[0].is_err(), "it panicked");
    for lost in &outcomes[1..3] {
        assert!(matches!(lost, Ok(Err(Error::ConnectionLost))), "{lost:?}");
    }
    assert!(outcomes[3..].iter().all(|outcome| outcome.as_ref().is_ok_and(is_rotated)), "{outcomes:?}");
    assert!(rest[..3].iter().all(|token| is_valid(&group.database, token)), "its transaction was rolled back");
}

/// Long enough for a busy machine to check a connection.
const WAIT: Duration = Duration::from_secs(1);

/// The pool has no connection to give: all who wait hear so at once, and the group works again when it has.
#[test]
fn without_a_connection_everybody_is_told() {
    let database = Database::migrated();
    let pool = Pool::builder()
        .max_size(1)
        .connection_timeout(WAIT)
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
    for outcome in join_all(callers) {
        assert_eq!(outcome, Err(Error::PoolExhausted { waited: WAIT }));
    }
    drop(taken);
    assert!(is_rotated(&group.rotate(&token, &successor(), Binding::ANY)));
}
