//! The shared state: all state of one pool. It is confined to the thread of one arbiter and outlives each single actor except
//! the supervisor. [`with`] and [`step`] are the only ways to change it: the core decides, then the effects are applied. A
//! change does not await, does no I/O and runs no user code.

mod activity;
mod call;
mod effects;
mod errors;
mod exits;
mod link;
mod outbox;
mod rebuild;
mod state;
mod submit;
mod suspects;
mod sweep;

pub(crate) use call::{Answer, Incoming};
pub(crate) use errors::{exit_error, start_failed};
pub(crate) use link::{CommandTable, Link};
pub(crate) use outbox::Outbox;
#[cfg(feature = "testing")]
pub(crate) use rebuild::panic_text;
pub(crate) use state::{Deferred, FinalFrame, State};
pub(crate) use sweep::sweep;

use crate::Result;
use herder_core::Input;
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::{Rc, Weak},
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
/// [`Error::Internal`](crate::Error::Internal) with the text of the panic.
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
