//! [`with`] and [`step`], the only ways to change the shared state, and the sweep of expired sessions on request, which takes
//! many small steps. Holds no state.

use super::State;
use crate::{Error, Result};
use herder_core::Input;
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::{Rc, Weak},
    time::Duration,
};

/// A pool's state, shared by its actors. The supervisor's reference keeps it alive; code that only answers callers holds a
/// [`WeakSharedState`].
pub(crate) type SharedState = Rc<RefCell<State>>;

/// A reference for code that must not keep the state of a stopped pool alive.
pub(crate) type WeakSharedState = Weak<RefCell<State>>;

/// Runs one step: passes the input to the core and applies the effects.
pub(crate) fn step(shared_state: &SharedState, input: Input) {
    // A panic is not lost with the error: the rebuild has failed the calls, counted the panic and queued a log event.
    let _ = with(shared_state, |state| state.handle(input));
}

/// Runs one synchronous change of the state and applies the effects that follow from it.
///
/// If either panics, the state is rebuilt: nothing that the interrupted step left behind is used again.
///
/// # Errors
/// [`Error::Internal`] with the text of the panic.
pub(crate) fn with<T>(shared_state: &SharedState, change: impl FnOnce(&mut State) -> T) -> Result<T> {
    // The borrow is held until the rebuild is done. Code that runs when something is dropped in here (an orphan guard, the
    // affinity actor) must therefore use `try_borrow_mut`.
    let mut state = shared_state.borrow_mut();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let value = change(&mut state);
        state.apply_effects();
        value
    }));
    outcome.map_err(|panic| state.rebuild(&*panic))
}

/// The number of rows per step, which takes 70 to 200 us.
const SWEEP_BUDGET: usize = 256;
/// The pause between two steps. Yielding is not enough: the runtime polls its sockets only once in 61 tasks, so that steps
/// without a pause delayed all calls by several milliseconds each (measured).
const PAUSE: Duration = Duration::from_millis(1);

/// Removes or marks all sessions that are due, and returns how many were removed. The periodic sweep is a timer of the
/// core. Cancel safe: what was removed stays removed, and the rest is left for the next sweep.
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
