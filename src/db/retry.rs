//! Work that is made again, from its start, because the server rolled its transaction back in favour of another one.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::telemetry::conflict_retry;

/// Two transactions that met once seldom meet again; more is for a host whose default is SERIALIZABLE.
pub(crate) const CONFLICT_RETRIES: u32 = 3;

/// Of one step of a verb that goes step by step: it is short, and each conflict is somebody else's COMMIT.
pub(crate) const STEP_RETRIES: u32 = 20;

/// Runs `work` until it ends in something else than [`Error::Conflict`], but at most so many times more than once.
pub(crate) fn on_conflict<T>(retries: u32, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    for retry in 0..retries {
        match work() {
            Err(Error::Conflict) => {
                conflict_retry();
                pause_before(retry);
            }
            outcome => return outcome,
        }
    }
    work()
}

/// 2 ms, then twice as long each time, but never more than 64: as long as most transactions take.
fn pause_before(retry: u32) {
    #[expect(clippy::disallowed_methods, reason = "a bounded back-off, and not a test that hopes")]
    std::thread::sleep(Duration::from_millis(2 << retry.min(5)));
}
