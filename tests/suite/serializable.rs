//! The wire by which the suite passes where every transaction is SERIALIZABLE, whatever it asks for, as on a server that knows
//! no other isolation (`scripts/test --under serializable`): what such a server rolls back is made again, by the store or by
//! who plays the host.

left_out!(module, through pgbouncer, under serializable, on other_tables:
    "it is about the wire that makes every transaction SERIALIZABLE");

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;
use refresh_tokens_support::Database;

#[test]
fn who_asks_for_less_has_it_all_the_same() {
    let database = Database::migrated_serializable();
    let isolation = || sql::<Text>("current_setting('transaction_isolation')");
    let mut conn = database.connect();
    let asked = conn.build_transaction().read_committed().run(|conn| diesel::select(isolation()).get_result(conn));
    assert_eq!(asked, Ok("serializable".to_owned()));
    assert_eq!(diesel::select(isolation()).get_result(&mut conn), Ok("serializable".to_owned()));
}
