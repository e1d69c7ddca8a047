//! What a change of a session needs from the rest of the pool. Owns nothing.

use crate::{CallId, Effects, Epoch, Timestamp, WorkerRef, calls::Calls, failure::ProcessExit, worker::Workers};

/// The parts of the pool that a change of a session reads or writes, borrowed for one step.
pub(crate) struct Step<'a> {
    pub(crate) now: Timestamp,
    pub(crate) workers: &'a Workers,
    pub(crate) calls: &'a Calls,
    pub(crate) effects: &'a mut Effects,
}

impl Step<'_> {
    /// Returns whether this process is ready, so that bindings to it are valid ([I4](crate#invariants)).
    pub(super) fn is_alive(&self, worker: WorkerRef) -> bool {
        self.workers.is_alive(worker)
    }

    /// Returns how this process ended, if it is the last of its slot that has ended.
    pub(super) fn exit_of(&self, worker: WorkerRef) -> Option<ProcessExit> {
        self.workers.slot(worker.id).exit_of(worker)
    }

    /// Returns the epoch in which a strict call was admitted; `None` for other calls, and for settled ones.
    pub(crate) fn epoch_of_call(&self, call: CallId) -> Option<Epoch> {
        self.calls.get(call)?.role.epoch()
    }
}
