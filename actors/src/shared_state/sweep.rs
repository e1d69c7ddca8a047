//! Removes expired sessions on request, in steps that are too small to delay calls. Holds no state. The periodic sweep is a
//! timer of the core.

use super::{WeakSharedState, with};
use crate::{Error, Result};
use std::time::Duration;

/// The number of rows per step, which takes 70 to 200 us.
const SWEEP_BUDGET: usize = 256;
/// The pause between two steps. Yielding is not enough: the runtime polls its sockets only once in 61 tasks, so that steps
/// without a pause delayed all calls by several milliseconds each (measured).
const PAUSE: Duration = Duration::from_millis(1);

/// Removes or marks all sessions that are due, and returns how many were removed. Cancel safe: what was removed stays
/// removed, and the rest is left for the next sweep.
///
/// # Errors
/// Fails if the pool is gone or a step panicked.
#[expect(clippy::disallowed_methods, reason = "pauses between two steps, so that calls are served")]
pub(crate) async fn sweep(shared_state: &WeakSharedState) -> Result<usize> {
    let mut removed = 0;
    loop {
        let shared_state = shared_state.upgrade().ok_or(Error::closed(false))?;
        let (count, more) =
            with(&shared_state, |state| state.with_core(|core, now, effects| core.sweep(now, SWEEP_BUDGET, effects)))?;
        drop(shared_state); // a sweep must not keep a pool alive during the pause
        removed += count;
        if !more {
            return Ok(removed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
