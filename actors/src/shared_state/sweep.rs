//! The removal of sessions that are over when somebody asks for it, in steps so small that no call notices. Holds no state. What nobody
//! asks for is a timer of the core.

use super::{WeakSharedState, with};
use crate::{Error, Result};
use std::time::Duration;

/// Rows one step looks at: 70 to 200 us.
const SWEEP_BUDGET: usize = 256;
/// Between two steps. To yield is not enough: the runtime looks at its sockets only once in 61 tasks, so that steps without a pause hold
/// up all calls for some milliseconds each (seen).
const PAUSE: Duration = Duration::from_millis(1);

/// Removes, or marks, all that is due: how many sessions were removed. Cancel safe: what it removed is gone, the rest stays.
///
/// # Errors
/// When the pool is gone, or a step panicked.
#[expect(clippy::disallowed_methods, reason = "pauses between two steps, so that calls are served")]
pub(crate) async fn sweep(shared_state: &WeakSharedState) -> Result<usize> {
    let mut removed = 0;
    loop {
        let shared_state = shared_state.upgrade().ok_or(Error::closed(false))?;
        let (gone, more) =
            with(&shared_state, |state| state.ask(|core, now, effects| core.sweep(now, SWEEP_BUDGET, effects)))?;
        drop(shared_state);
        removed += gone;
        if !more {
            return Ok(removed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
