//! The cell: all state of one pool, confined to the thread of one arbiter, outliving each single actor. [`step`] is the one way
//! to change it: the core decides, then the effects are carried out. No await, no I/O, no user code inside.

mod activity;
mod call;
mod effects;
mod exits;
mod link;
mod outbox;
mod rebuild;
mod state;
mod submit;
mod suspects;
mod sweep;

pub(crate) use call::{Answer, Incoming};
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

/// A pool's state, shared by its actors. The supervisor's is the one that lasts: who only answers callers holds a [`WeakSharedState`].
pub(crate) type SharedState = Rc<RefCell<State>>;

/// For those who must not keep the state of a pool that is gone.
pub(crate) type WeakSharedState = Weak<RefCell<State>>;

/// THE step: something happened to the pool.
pub(crate) fn step(shared_state: &SharedState, input: Input) {
    let _ = with(shared_state, |state| state.handle(input)); // a panic in it was answered, counted and posted by the rebuild
}

/// Runs one synchronous change of the state and carries out what follows from it. If it panics, the pool is built anew:
/// nothing that a torn step left behind is used again, and the panic is the answer.
pub(crate) fn with<T>(shared_state: &SharedState, change: impl FnOnce(&mut State) -> T) -> Result<T> {
    let mut state = shared_state.borrow_mut();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let value = change(&mut state);
        state.apply_effects();
        value
    }));
    outcome.map_err(|panic| state.rebuild(&*panic))
}
