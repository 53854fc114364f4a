//! Look-ups on a replica, on an ordinary server: what they ask, and of which moment they speak. `failover.rs` has a
//! standby.

use std::sync::mpsc::channel;

use diesel::connection::InstrumentationEvent;
use diesel::prelude::*;
use refresh_tokens::{Binding, RefreshTokenRepository, ReplicaReader, SessionQuery};
use refresh_tokens_support::doc::new_token;
use refresh_tokens_support::{Database, race};
use uuid::Uuid;

use crate::common::create;

#[test]
fn a_look_up_on_a_replica_is_bound() {
    let database = Database::migrated();
    let mut conn = database.connect();
    let token = create(&mut conn);
    let mut replica = ReplicaReader::new(&mut conn);
    let mut found =
        |binding| replica.get_valid_by_hash(&token.token_hash, binding).unwrap().into_inner().map(|found| found.id);
    let own = Binding::user(token.user_id).org(token.active_org_id);
    for binding in [Binding::ANY, Binding::user(token.user_id), Binding::ANY.org(token.active_org_id), own] {
        assert_eq!(found(binding), Some(token.id), "{binding:?}");
    }
    for binding in [Binding::user(Uuid::new_v4()), own.org(Uuid::new_v4())] {
        assert_eq!(found(binding), None, "{binding:?}");
    }
}

/// Somebody logs in between the two: what is looked up is no older than the moment that the answer names.
#[test]
fn the_moment_is_read_before_what_is_looked_up() {
    let database = Database::migrated();
    let (mut conn, mut beside) = (database.connect(), database.connect());
    let new = new_token();
    let user_id = new.user_id;
    let (told, hears) = channel();
    let mut statements = 0;
    conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if matches!(event, InstrumentationEvent::StartQuery { .. }) {
            statements += 1;
            if statements == 2 {
                told.send(RefreshTokenRepository::new(&mut beside).create(&new).unwrap()).unwrap();
            }
        }
    });
    let found = ReplicaReader::new(&mut conn).list_sessions(&SessionQuery::of_user(user_id)).unwrap();
    let born_at = race::hear(&hears, "the login between the two statements").created_at;
    assert!(found.as_of().unwrap() < born_at, "the answer names a moment after what it has looked up");
    assert_eq!(found.into_inner().sessions.len(), 1, "it was committed before it was looked up");
}
