//! Which callers the bounds of a group count: those who wait for somebody's lock as well as those who wait for a turn.

use super::*;

/// A login of the holder's that is not committed: whoever writes a token of this id waits for its end.
fn be_born(conn: &mut PgConnection) -> Uuid {
    create(conn).id
}

#[test]
fn who_waits_for_a_lock_counts_in_the_bound_of_the_queue() {
    let group = Group::new(2, &GroupConfig::default().max_queue(2));
    let [held, busy, turned_away] = group.tokens();
    let mut other = group.database.connect();
    let (first, (again, late)) = group.while_waiting_for(&held, |group| {
        // Two wait beside the one that has a connection to wait on, and the other connection is busy as well.
        let again = [1, 2].map(|length| group.queue_up(&held, length));
        let late = other.transaction(|conn| {
            let taken = be_born(conn);
            let late = group.start_with(&busy, Successor::expiring_at(taken, fresh_hash(), in_days(30)));
            race::wait_until_blocked(&mut group.database.connect_directly(), race::pid(conn), 1);
            let outcome = group.rotator.rotate(&turned_away, &successor(), Binding::ANY);
            assert_eq!(outcome, Err(Error::QueueFull { max: 2 }));
            QueryResult::Ok(late)
        });
        (again, late.unwrap())
    });
    assert!(is_rotated(&first));
    assert_eq!(late.join().unwrap(), Err(Error::DuplicateId));
    assert!(again.map(|caller| caller.join().unwrap()).iter().all(|outcome| !is_rotated(outcome)));
    assert!(is_valid(&group.database, &turned_away));
}

/// Long enough for a busy machine to give the first caller its turn.
const TURN: Duration = Duration::from_secs(2);

#[test]
fn invariant_9_a_wait_for_a_turn_at_a_lock_ends_busy() {
    let group = Group::new(2, &GroupConfig::default().queue_timeout(TURN));
    let [held] = group.tokens();
    let (first, given_up) = group.while_waiting_for(&held, |group| {
        let given_up = group.queue_up(&held, 1);
        race::wait_for(|| given_up.is_finished());
        assert_eq!(group.rotator.waiting(), 0);
        given_up
    });
    assert_eq!(given_up.join().unwrap(), Err(Error::Busy(Wait::Queue)));
    assert!(is_rotated(&first));
}

/// It asks the pool for no more connections than that has: who comes when all are busy waits in the queue.
#[test]
fn a_group_has_no_more_connections_than_its_pool() {
    let mut group = Group::new(1, &GroupConfig::default());
    let store = RefreshTokenStore::from_pool(group.pool.clone());
    group.rotator = GroupRotator::new(store, &GroupConfig::default().connections(8));
    let [held, waits] = group.tokens();
    let (first, waiting) = group.while_waiting_for(&held, |group| group.queue_up(&waits, 1));
    assert!(is_rotated(&first) && is_rotated(&waiting.join().unwrap()));
}

/// The response to reuse is the one that the caller chose.
#[test]
fn reuse_that_is_only_to_be_reported_is_only_reported() {
    let database = Database::migrated();
    let session = chain(&mut database.connect(), 2);
    let group = GroupRotator::new(store(&database), &GroupConfig::default());
    let outcome = group.redeem(&session[0], &successor(), Binding::ANY, OnReuse::ReportOnly).unwrap();
    let Redemption::Reused { response, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(response, BreachResponse::ReportedOnly);
    assert!(is_valid(&database, &session[1]));
}

/// A connection that has rotated outside of a group has prepared the statement that waits for a lock: in the group it is the
/// other one that it sends.
#[test]
fn a_connection_that_knows_how_to_wait_does_not_wait_for_a_group() {
    let group = Group::new(2, &GroupConfig::default());
    let [held, free, before @ ..] = group.tokens::<4>();
    let mut both = [(); 2].map(|()| group.pool.get().unwrap());
    for (conn, token) in both.iter_mut().zip(&before) {
        rotate(By::Library, conn, token);
    }
    drop(both);
    let (first, (again, other)) = group.while_waiting_for(&held, |group| {
        let again = group.queue_up(&held, 1);
        (again, group.start(&free).join().unwrap())
    });
    assert!(is_rotated(&first) && is_rotated(&other));
    assert!(!is_rotated(&again.join().unwrap()));
}
