//! The shutdown of a pool: it admits no more calls, the pending ones finish or fail at the end of the drain, and then
//! the workers stop.

use super::Core;
use crate::{
    Effect, Effects, StopMethod, Timestamp, WorkerRef,
    failure::{CallFailure, KillReason},
};

impl Core {
    /// Begins the drain, or ends it at once if it has no time.
    pub(super) fn begin_shutdown(&mut self, now: Timestamp, until: Timestamp, effects: &mut Effects) {
        if !self.restarts.drain(until) {
            return;
        }
        if self.restarts.phase_end(now).is_some() {
            self.abort_remaining(now, effects);
        } else {
            // Batches get no more calls, and are not waited for any longer.
            self.fill_workers(now, effects);
            self.close_if_drained(now, effects);
        }
    }

    /// Closes a pool that drains, once no call is queued or unfinished.
    #[inline]
    pub(super) fn close_if_drained(&mut self, now: Timestamp, effects: &mut Effects) {
        if self.restarts.is_draining() && self.calls.is_empty() && self.workers.in_flight() == 0 {
            self.close_pool(now, effects);
        }
    }

    /// Ends the drain at its time limit: the remaining calls fail, and their workers are killed.
    pub(super) fn abort_remaining(&mut self, now: Timestamp, effects: &mut Effects) {
        // Before the calls are settled, which would otherwise end the drain and close the pool in the middle of this
        // loop.
        self.restarts.close(now + self.settings.stop_timeout);
        // The last one first: otherwise the next call of a session would be sent to a worker, only to be cancelled at
        // once.
        for id in self.calls.in_order().into_iter().rev() {
            let may_have_run = self.calls.get(id).is_some_and(|call| call.attempts > 0);
            self.counters.failed_by_pool += 1;
            self.settle_without_answer(now, id, CallFailure::PoolClosed { may_have_run }, effects);
        }
        self.close_pool(now, effects);
    }

    /// Stops all processes.
    fn close_pool(&mut self, now: Timestamp, effects: &mut Effects) {
        self.restarts.close(now + self.settings.stop_timeout);
        self.workers.cancel_starts();
        for worker in self.processes().collect::<Vec<WorkerRef>>() {
            let busy = self.slot(worker.id).in_flight() > 0;
            // The callers of a busy worker have been answered before, so nothing is gained by waiting for it.
            let method = if busy { StopMethod::Kill } else { StopMethod::Graceful };
            self.stop_process(now, worker, KillReason::Shutdown, method, effects);
        }
        self.stop_pool_if_empty(effects);
    }

    /// Continues the shutdown after the exit of a process.
    pub(super) fn continue_shutdown(&mut self, now: Timestamp, effects: &mut Effects) {
        if self.restarts.is_closing() {
            self.stop_pool_if_empty(effects);
        } else {
            self.close_if_drained(now, effects);
        }
    }

    fn stop_pool_if_empty(&mut self, effects: &mut Effects) {
        if self.workers.processes() == 0 {
            self.stop_pool(effects);
        }
    }

    /// Ends the shutdown.
    pub(super) fn stop_pool(&mut self, effects: &mut Effects) {
        self.restarts.stop();
        effects.push(Effect::Stopped);
    }
}
