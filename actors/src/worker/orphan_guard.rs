//! Reports a process that lost its actor, by a panic or because the actor was stopped (R29). Nothing else would notice that.

use crate::{
    child::ChildHandle,
    shared_state::{Deferred, SharedState},
};
use herder_core::WorkerRef;
use std::rc::Rc;

/// Armed while the process is served. If it is dropped armed, it kills the process and tells the supervisor to await the
/// exit.
pub(super) struct OrphanGuard {
    shared_state: SharedState,
    worker: WorkerRef,
    child: Option<Rc<dyn ChildHandle>>,
}

impl OrphanGuard {
    pub(super) fn new(shared_state: SharedState, worker: WorkerRef, child: Rc<dyn ChildHandle>) -> Self {
        Self { shared_state, worker, child: Some(child) }
    }

    /// Disarms the guard: the exit of the process was noticed.
    pub(super) fn disarm(mut self) {
        self.child = None;
    }
}

impl Drop for OrphanGuard {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        child.kill();
        // If the state is borrowed, this drop happens inside a step that unwinds, or while the pool is dropped. Both kill all
        // processes, and a second `borrow_mut` would panic during the unwinding and abort the host.
        if let Ok(mut state) = self.shared_state.try_borrow_mut() {
            state.defer(Deferred::Orphaned(self.worker, child));
        }
    }
}
