//! The end of a pool: no new calls, those there are finish or run out of time, then the workers end.

use super::{Core, Effect, Effects, Phase, StopMethod, call::Call};
use crate::{
    Timestamp, WorkerRef,
    failure::{CallFailure, KillReason},
    timers::Timer,
    worker::Process,
};

impl Core {
    pub(super) fn begin_drain(&mut self, now: Timestamp, until: Timestamp, effects: &mut Effects) {
        let until = match self.phase {
            Phase::Draining { until: before } => before.min(until),
            Phase::Closing { .. } | Phase::Stopped => return,
            _ => until,
        };
        self.phase = Phase::Draining { until };
        self.timers.set(until, Timer::Pool);
        if now >= until { self.abort_remaining(now, effects) } else { self.drain(now, effects) }
    }

    /// The pool's own timer: the probe of a failed pool, the end of a drain, or the end of the wait for workers.
    pub(super) fn pool_due(&mut self, now: Timestamp, effects: &mut Effects) {
        match self.phase {
            Phase::Draining { until } if now >= until => self.abort_remaining(now, effects),
            Phase::Closing { until } if now >= until => self.stop(effects),
            Phase::Draining { until } | Phase::Closing { until } => self.timers.set(until, Timer::Pool),
            _ => self.probe_due(now, effects),
        }
    }

    /// Goes on to close the pool once nothing is queued or unfinished.
    pub(super) fn drain(&mut self, now: Timestamp, effects: &mut Effects) {
        if self.calls.is_empty() && self.slots.iter().all(|slot| slot.running.is_empty()) {
            self.close(now, effects);
        }
    }

    /// The time is up: what is left is answered, and its workers are killed.
    fn abort_remaining(&mut self, now: Timestamp, effects: &mut Effects) {
        self.phase = self.closing(now); // settling the calls below must not begin the close
        let mut left: Vec<_> = self.calls.keys().copied().collect();
        left.sort_unstable_by(|a, b| b.cmp(a)); // the last first, so that no turn passes to one that is sent just to be cancelled
        for id in left {
            let may_have_run = self.calls.get(&id).is_some_and(|call: &Call| call.attempts > 0);
            self.counters.failed_by_pool += 1;
            self.settle_early(now, id, CallFailure::PoolClosed { may_have_run }, effects);
        }
        self.close(now, effects);
    }

    fn close(&mut self, now: Timestamp, effects: &mut Effects) {
        self.phase = self.closing(now);
        for slot_index in 0..self.slots.len() {
            let slot = &mut self.slots[slot_index];
            if matches!(slot.process, Process::Scheduled { .. }) {
                slot.process = Process::Absent;
            }
            let (worker, busy) = (slot.worker, !slot.running.is_empty());
            let how = if busy { StopMethod::Kill } else { StopMethod::Graceful };
            self.stop_process(now, worker, KillReason::Shutdown, how, effects);
        }
        self.stop_if_empty(effects);
        if let Phase::Closing { until } = self.phase {
            self.timers.set(until, Timer::Pool);
        }
    }

    /// Workers have a bounded time to end: a start that never resolves, or a process that even SIGKILL does not end, must
    /// not keep the pool for ever.
    fn closing(&self, now: Timestamp) -> Phase {
        Phase::Closing { until: now + self.settings.stop_timeout }
    }

    /// A process is gone: that may end the drain, or the pool.
    pub(super) fn after_exit(&mut self, now: Timestamp, effects: &mut Effects) {
        match self.phase {
            Phase::Draining { .. } => self.drain(now, effects),
            Phase::Closing { .. } => self.stop_if_empty(effects),
            _ => {}
        }
    }

    fn stop_if_empty(&mut self, effects: &mut Effects) {
        if !self.slots.iter().any(|slot| slot.has_process()) {
            self.stop(effects);
        }
    }

    fn stop(&mut self, effects: &mut Effects) {
        self.phase = Phase::Stopped;
        effects.push(Effect::Stopped);
    }

    /// The processes that were started and whose end has not been reported.
    pub fn processes(&self) -> impl Iterator<Item = WorkerRef> {
        self.slots.iter().filter(|slot| slot.has_process()).map(|slot| slot.worker)
    }
}
