//! The shutdown of a pool: it admits no more calls, the pending ones finish or fail at the end of the drain, and then
//! the workers stop.

use super::{Core, Phase};
use crate::{
    Effect, Effects, StopMethod, Timestamp, WorkerRef,
    failure::{CallFailure, KillReason},
    timers::Timer,
};

impl Core {
    pub(super) fn begin_drain(&mut self, now: Timestamp, until: Timestamp, effects: &mut Effects) {
        // A second shutdown can only bring the end of the drain forward.
        let until = match self.phase {
            Phase::Draining { until: before } => before.min(until),
            Phase::Closing { .. } | Phase::Stopped => return,
            _ => until,
        };
        self.phase = Phase::Draining { until };
        self.timers.set(until, Timer::Pool);
        if now >= until { self.abort_remaining(now, effects) } else { self.close_if_idle(now, effects) }
    }

    /// Handles the timer of the pool: the probe of a failed pool, the end of the drain, or the end of the wait for the
    /// workers.
    pub(super) fn pool_due(&mut self, now: Timestamp, effects: &mut Effects) {
        match self.phase {
            Phase::Draining { until } if now >= until => self.abort_remaining(now, effects),
            Phase::Closing { until } if now >= until => self.stop(effects),
            Phase::Draining { until } | Phase::Closing { until } => self.timers.set(until, Timer::Pool),
            _ => self.probe_due(now, effects),
        }
    }

    /// Closes the pool once no call is queued or unfinished.
    pub(super) fn close_if_idle(&mut self, now: Timestamp, effects: &mut Effects) {
        if self.calls.is_empty() && self.workers.in_flight() == 0 {
            self.close_pool(now, effects);
        }
    }

    /// Ends the drain at its time limit: the remaining calls fail, and their workers are killed.
    fn abort_remaining(&mut self, now: Timestamp, effects: &mut Effects) {
        // Before the calls are settled, which would otherwise end the drain and close the pool in the middle of this
        // loop.
        self.phase = self.closing_phase(now);
        // The last one first: otherwise the next call of a session would be sent to a worker, only to be cancelled at
        // once.
        for id in self.calls.in_order().into_iter().rev() {
            let may_have_run = self.calls.get(id).is_some_and(|call| call.attempts > 0);
            self.counters.failed_by_pool += 1;
            self.settle_without_answer(now, id, CallFailure::PoolClosed { may_have_run }, effects);
        }
        self.close_pool(now, effects);
    }

    fn close_pool(&mut self, now: Timestamp, effects: &mut Effects) {
        self.phase = self.closing_phase(now);
        self.workers.cancel_starts();
        for worker in self.processes().collect::<Vec<WorkerRef>>() {
            let busy = self.slot(worker.id).in_flight() > 0;
            // The callers of a busy worker have been answered before, so nothing is gained by waiting for it.
            let method = if busy { StopMethod::Kill } else { StopMethod::Graceful };
            self.stop_process(now, worker, KillReason::Shutdown, method, effects);
        }
        self.stop_if_empty(effects);
        if let Phase::Closing { until } = self.phase {
            self.timers.set(until, Timer::Pool);
        }
    }

    /// Returns the phase in which the pool waits for its workers to stop. The wait is bounded: a start that never ends,
    /// or a process that does not end after SIGKILL, must not keep the pool forever.
    fn closing_phase(&self, now: Timestamp) -> Phase {
        Phase::Closing { until: now + self.settings.stop_timeout }
    }

    /// Continues the shutdown after the exit of a process.
    pub(super) fn continue_shutdown(&mut self, now: Timestamp, effects: &mut Effects) {
        match self.phase {
            Phase::Draining { .. } => self.close_if_idle(now, effects),
            Phase::Closing { .. } => self.stop_if_empty(effects),
            _ => {}
        }
    }

    fn stop_if_empty(&mut self, effects: &mut Effects) {
        if self.workers.processes() == 0 {
            self.stop(effects);
        }
    }

    fn stop(&mut self, effects: &mut Effects) {
        self.phase = Phase::Stopped;
        effects.push(Effect::Stopped);
    }

    /// Returns the processes that were started and whose exit has not been reported.
    pub fn processes(&self) -> impl Iterator<Item = WorkerRef> {
        self.workers.iter().filter(|slot| slot.has_process()).map(|slot| slot.worker)
    }
}
