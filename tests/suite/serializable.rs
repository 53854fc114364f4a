//! The suite where every transaction is SERIALIZABLE, whatever it asks for, as on a server that knows no other isolation:
//! what such a server rolls back is made again, by the store or by who plays the host.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;
use refresh_tokens_support::Database;
use refresh_tokens_support::database::SERIALIZABLE;

use crate::once_more;

/// What cannot be as it is elsewhere.
const NOT_UNDER: [&str; 48] = [
    // They start poolers or servers of their own, or the suite, or wait for every transaction of a server.
    "pgbouncer::",
    "distributed::",
    "failover::",
    "environment::",
    "killed",
    "indexes::",
    "no_advisory_locks::many_processes_build_the_indexes_at_once_all_the_same",
    "serializable::",
    // They count conflicts, or have no retries; `storm::a_storm_under_serializable` is the storm that has.
    "contention::a_default_of_serializable_costs_nothing",
    "storm::a_storm_breaks",
    "storm::a_storm_with",
    "storm::a_storm_beside",
    // They revoke in a transaction of the host's, which is refused above READ COMMITTED (IsolationTooHigh).
    "contention::a_host_that_locks_in_the_wrong_order_meets_a_conflict_and_not_a_wrong_answer",
    "contention::the_store_runs_a_transaction_again_that_the_server_rolled_back",
    "cutoffs::a_switch_under_the_guard_does_not_wait_for_a_revocation",
    "cutoffs::a_table_without_one_of_the_gates_is_an_error_in_a_hosts_transaction_too",
    "cutoffs::invariant_3_a_login_that_waits_for_a_revocation_is_refused",
    "cutoffs::invariant_3_a_switch_that_waits_for_the_revocation_is_refused",
    "end_session::invariant_3_a_rotation_that_waits_for_it_is_refused",
    "flaws::flaw_6_reuse_reported_as_an_error_undoes_its_own_breach_response",
    "guest::invariant_10_the_hosts_rollback_undoes_every_verb",
    "guest::invariant_3_a_swallowed_error_does_not_turn_commit_into_a_silent_rollback",
    "guest::invariant_3_an_old_snapshot_of_the_hosts_is_an_error",
    "invariants::invariant_3_a_rotation_that_waits_for_a_revocation_is_refused",
    "model::the_library_alone_answers_as_the_model_does",
    "model::the_library_beside_the_reference_answers_as_the_model_does",
    "plans::no_verb_scans_the_table_when_it_runs",
    "redeem::flaw_6_inside_a_transaction_the_outcome_says_what_a_rollback_undoes",
    "redeem::invariant_5_clean_up_between_detection_and_response_hides_nothing",
    "redeem::of_two_replays_one_is_answered",
    "reference::twins::on_the_same_rows_both_revoke_the_same",
    "retention::chains::invariant_5_links_that_expire_in_any_order_cut_nothing",
    "retention::cutoffs::a_cutoff_that_somebody_is_writing_is_left",
    "session_limits::a_login_counts_the_one_that_is_under_way",
    "session_limits::in_a_transaction_of_the_hosts_the_snapshot_must_not_be_older",
    "sessions::a_reason_is_the_callers_or_the_verbs",
    "store::invariant_9_a_wait_at_a_gate_ends_busy",
    // They show what the reference does in READ COMMITTED.
    "flaws::flaw_1_chain_revocation_misses_the_unborn_successor",
    "flaws::flaw_2_also_where_one_session_is_kept",
    "flaws::flaw_2_user_revocation_misses_the_unborn_successor",
    "flaws::flaw_12_a_cyclic_chain_is_never_walked_to_its_end",
    // Their schedule is one of READ COMMITTED: who waits there is rolled back here, and comes later; or their own
    // transaction is.
    "batches::same_as_one_by_one::a_batch_answers_and_leaves_what_one_by_one_does",
    "cutoffs::invariant_9_a_login_queues_behind_a_revocation",
    "invariants::invariant_3_a_pass_that_revokes_nothing_is_not_the_end",
    "retention::invariant_9_clean_up_waits_for_no_lock",
    "revocations::two_revocations_of_a_user_and_a_login_do_not_deadlock",
    "retention::janitor::the_janitors_of_a_fleet_share_the_work",
    "redeem::a_breach_response_and_a_revocation_of_the_user_do_not_deadlock",
];

#[test]
fn who_asks_for_less_has_it_all_the_same() {
    let database = Database::migrated_serializable();
    let isolation = || sql::<Text>("current_setting('transaction_isolation')");
    let mut conn = database.connect();
    let asked = conn.build_transaction().read_committed().run(|conn| diesel::select(isolation()).get_result(conn));
    assert_eq!(asked, Ok("serializable".to_owned()));
    assert_eq!(diesel::select(isolation()).get_result(&mut conn), Ok("serializable".to_owned()));
}

#[test]
fn the_tests_pass_under_it() {
    let passed = once_more::pass(&[(SERIALIZABLE, "1")], &NOT_UNDER);
    once_more::print(&format!("{passed} tests passed under SERIALIZABLE"));
    assert!(passed >= 300, "only {passed} tests ran");
}
