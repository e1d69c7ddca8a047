//! Calls in advance: those that a worker is sent although it cannot run them at once, so that it need not wait for the
//! host between two short calls (`pipeline = "auto"`). They still wait: they count in the limits of the queue, in the
//! estimated wait and as demand for overflow workers, and `queue.timeout` applies to them. They are taken back if the
//! worker turns out to be slow.
//!
//! Every call in advance comes from a queue, so that it has its position there if it is taken back.

use crate::{
    AttemptState, CallId, Effects, Timestamp, WireId, WorkerId, WorkerRef, failure::CallFailure, pool::Core,
    session::SessionEventKind, waiting::Queue,
};

impl Core {
    /// Sends calls of this queue in advance if a process accepts any. No process with a free place takes them.
    pub(super) fn send_in_advance(&mut self, now: Timestamp, queue: Queue, effects: &mut Effects) {
        let worker = match queue {
            Queue::AnyWorker => self.workers.first_for_advance(),
            Queue::Worker(worker) => self.is_alive(worker).then_some(worker.id),
            // The first call of a session binds it, and the others wait for the one before them.
            Queue::Unbound | Queue::Session => None,
        };
        if let Some(worker) = worker {
            self.fill_worker(now, worker, effects);
        }
    }

    /// Counts the calls in advance that a process runs now, after one of its places has become free.
    #[inline(always)]
    pub(in crate::pool) fn begin_in_advance(&mut self, now: Timestamp, worker: WorkerId) {
        // By far the most frequent case. Costs one comparison.
        if !self.workers.in_advance().is_empty() {
            self.begin_next_in_advance(now, worker);
        }
    }

    #[inline(never)]
    fn begin_next_in_advance(&mut self, now: Timestamp, worker: WorkerId) {
        while let Some(call) = self.workers.begin_next(now, worker) {
            if let Some(id) = call {
                self.calls.begin(now, id);
            }
        }
    }

    /// Takes back the calls in advance of a process whose oldest running call is slow.
    pub(in crate::pool) fn in_advance_due(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) {
        for id in self.workers.check_in_advance(now, worker, effects) {
            self.calls.set_revoked(id);
        }
    }

    /// Takes back a call in advance that has waited too long. If it has begun in the meantime, it goes on.
    pub(in crate::pool) fn revoke_call(&mut self, id: CallId, effects: &mut Effects) {
        let Some((worker, wire)) = self.calls.get(id).and_then(|call| call.attempt()) else { return };
        self.workers.revoke(worker, wire, effects);
        // Also if the worker was asked before: the call is not due again before its deadline.
        self.calls.set_revoked(id);
    }

    /// Handles the answer of a worker that was asked to stop an attempt or to take it back.
    pub(in crate::pool) fn on_attempt_state(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        wire: WireId,
        state: AttemptState,
        effects: &mut Effects,
    ) {
        let taken_back = self.workers.attempt_state(now, worker, wire, state);
        if state != AttemptState::Withdrawn || self.workers.current(worker).is_none() {
            return;
        }
        // A withdrawn attempt leaves its place to the next one.
        self.begin_in_advance(now, worker.id);
        if let Some(id) = taken_back {
            self.requeue(now, id, worker, effects);
        }
    }

    /// Handles the final frame of an attempt that was taken back. `call` is its call, if the worker's answer has not
    /// arrived before the frame.
    #[cold]
    pub(in crate::pool) fn finish_taken_back(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        call: Option<CallId>,
        effects: &mut Effects,
    ) {
        self.begin_in_advance(now, worker.id);
        if let Some(id) = call {
            self.requeue(now, id, worker, effects);
        }
        self.fill_worker(now, worker.id, effects);
        self.close_if_drained(now, effects);
    }

    /// Settles a call whose wait for any worker is over, and returns true.
    fn ends_by_queue_timeout(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) -> bool {
        let is_over = self.calls.get(id).is_some_and(|call| !call.role.is_strict() && now >= call.queue_until);
        if is_over {
            self.counters.timeouts += 1;
            self.settle_queued(now, id, CallFailure::QueueTimeout, effects);
            self.close_if_drained(now, effects);
        }
        is_over
    }

    /// Lets a call that was sent to `worker` and has not begun wait again, at its earlier position, or sends it to a process
    /// with a free place.
    pub(in crate::pool) fn requeue(&mut self, now: Timestamp, id: CallId, worker: WorkerRef, effects: &mut Effects) {
        self.calls.take_back(id, now, self.waiting.wait_until(now));
        if let Some(row) = self.calls.get(id).and_then(|call| call.role.row()) {
            self.sessions.record(now, row, SessionEventKind::TakenBack, Some(worker));
        }
        if self.ends_as_poison(now, id, effects) || self.ends_by_queue_timeout(now, id, effects) {
            return;
        }
        self.dispatch_or_enqueue(now, id, effects);
    }
}
