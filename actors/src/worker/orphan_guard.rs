//! Reports that a process lost its actor: by a panic, or because somebody stopped the actor (R29). Nothing else notices that.

use crate::{
    child::ChildHandle,
    shared_state::{Deferred, SharedState},
};
use herder_core::WorkerRef;
use std::rc::Rc;

/// Armed as long as the process is served. Dropped armed, it kills the process and tells the supervisor.
pub(super) struct OrphanGuard {
    shared_state: SharedState,
    worker: WorkerRef,
    child: Option<Rc<dyn ChildHandle>>,
}

impl OrphanGuard {
    pub(super) fn new(shared_state: SharedState, worker: WorkerRef, child: Rc<dyn ChildHandle>) -> Self {
        Self { shared_state, worker, child: Some(child) }
    }

    /// The process's end was noticed in the ordinary way.
    pub(super) fn disarm(mut self) {
        self.child = None;
    }
}

impl Drop for OrphanGuard {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        child.kill();
        // A cell that is borrowed belongs to a step that is unwinding or to a pool that is being dropped: both kill all.
        if let Ok(mut state) = self.shared_state.try_borrow_mut() {
            state.defer(Deferred::Orphaned(self.worker, child));
        }
    }
}
