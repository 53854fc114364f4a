//! Three callers of a group who are certain to be carried in one batch.

use std::thread;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use refresh_tokens::Result;
use refresh_tokens_support::race;

use crate::lab::Host;

/// Calls for all three while the store's only connection is taken, and gives it back when one of them leads and the
/// others wait behind it.
///
/// What they were told: all three answers, or the error that is the same for all.
///
/// # Panics
///
/// If they were not one batch, or if the transaction failed for some of them only.
pub(crate) fn together<T: Sync>(
    host: &Host,
    requests: &[T; 3],
    call: impl Fn(&T) -> Result<String> + Sync,
) -> Result<String> {
    let held = host.conn()?;
    let recorder = DebuggingRecorder::new();
    let told: Vec<Result<String>> = thread::scope(|scope| {
        let caller = |request| metrics::with_local_recorder(&recorder, || call(request));
        let callers: Vec<_> = requests.iter().map(|request| scope.spawn(move || caller(request))).collect();
        let is_ready = || host.group.waiting() == 2 || callers.iter().any(thread::ScopedJoinHandle::is_finished);
        race::wait_until_that("one leads, and two wait behind it", is_ready);
        drop(held);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    match batches(&recorder).as_slice() {
        [3] => assert!(told.iter().all(Result::is_ok) || told.iter().all(|said| *said == told[0]), "{told:?}"),
        // Those whose token a rival holds go on alone, each once, and it is well with the batch that they leave.
        [3, alone @ ..] if alone.len() <= 3 && alone.iter().all(|size| *size == 1) => {
            assert!(told.iter().filter(|said| said.is_err()).count() <= alone.len(), "{} alone: {told:?}", alone.len());
        }
        [] => assert!(told.iter().all(Result::is_err), "nothing was carried: {told:?}"),
        batches => panic!("batches of {batches:?}: {told:?}"),
    }
    Ok(told.into_iter().collect::<Result<Vec<String>>>()?.join(", "))
}

/// How many rotations each batch carried.
fn batches(recorder: &DebuggingRecorder) -> Vec<u64> {
    let recorded = recorder.snapshotter().snapshot().into_vec();
    let sizes = recorded.into_iter().filter_map(|(key, _, _, value)| match value {
        DebugValue::Histogram(sizes) if key.key().name() == "refresh_tokens_group_batch_rotations" => Some(sizes),
        _ => None,
    });
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they count callers")]
    sizes.flatten().map(|size| size.into_inner() as u64).collect()
}
