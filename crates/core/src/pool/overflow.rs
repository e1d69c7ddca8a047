//! Overflow workers (R12): started when calls wait that they could run, and stopped when idle.

use super::{Core, Effects, Phase, StopMethod};
use crate::{
    Timestamp, WorkerRef,
    failure::KillReason,
    timers::Timer,
    worker::{Process, Slot},
};

impl Core {
    /// Starts overflow workers while more calls wait that they could run than capacity is starting (R12).
    pub(super) fn request_overflow_workers(&mut self, now: Timestamp, effects: &mut Effects) {
        self.request_base_workers(now, effects);
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        // Each round schedules one slot, which raises `coming_capacity`, so the loop ends.
        while self.calls_waiting_for_overflow() > self.coming_capacity(now) {
            let idle = |slot: &&mut Slot| !slot.base && matches!(slot.process, Process::Absent);
            // While starts fail, one is tried at a time: what prevents one overflow worker from starting prevents the
            // others too.
            let may_start = !(self.overflow.is_failing() && self.overflow_is_starting_or_scheduled());
            let idle = self.slots.iter_mut().filter(idle).min_by_key(|slot| slot.cooldown_until.max(now));
            let Some(slot) = idle.filter(|_| may_start) else { return };
            let start_at = now.max(slot.cooldown_until).max(self.overflow.cooldown_until());
            slot.process = Process::Scheduled { at: start_at };
            self.timers.set(start_at, Timer::Worker(slot.worker.id));
            self.start_due(now, effects);
        }
    }

    /// Returns the number of waiting calls that an overflow worker could run.
    pub(super) fn calls_waiting_for_overflow(&self) -> usize {
        // Sessions are bound to base workers as long as one is alive.
        let unbound_queue = if self.has_live_base_worker() { 0 } else { self.unbound_queue.len() };
        self.any_worker_queue.len() + unbound_queue
    }

    fn overflow_is_starting_or_scheduled(&self) -> bool {
        self.slots.iter().any(|slot| !slot.base && slot.is_starting_or_scheduled())
    }

    /// Returns the capacity that is starting or scheduled. An overflow worker in backoff is included: otherwise each
    /// failed start would lead to another one at once. A base worker in backoff is not: until it starts, overflow
    /// workers replace it.
    fn coming_capacity(&self, now: Timestamp) -> usize {
        let coming = |slot: &&Slot| match slot.process {
            Process::Starting { .. } => true,
            Process::Scheduled { at } => !slot.base || at <= now,
            _ => false,
        };
        self.slots.iter().filter(coming).count() * self.settings.window() as usize
    }

    /// Handles an overflow worker that exited before it was ready. This does not make the pool fail, which depends on
    /// base workers only.
    pub(super) fn overflow_start_failed(&mut self, now: Timestamp) {
        self.overflow.record_failure(now, &self.intensity);
        // Overflow workers that wait for room in the batch were scheduled before this failure. `request_overflow_workers`
        // schedules one of them again, after the backoff.
        for slot in self.slots.iter_mut().filter(|slot| !slot.base) {
            if matches!(slot.process, Process::Scheduled { .. }) {
                slot.process = Process::Absent;
            }
        }
    }

    /// Stops an overflow worker that has been idle long enough and holds no session's state (R12). Otherwise renews its
    /// timer.
    pub(super) fn overflow_idle_due(&mut self, now: Timestamp, worker: WorkerRef, effects: &mut Effects) {
        if !self.is_alive(worker) {
            return;
        }
        let bound = self.routes().map_or(0, |routes| routes.bound_to(worker));
        let slot = self.slot(worker.id);
        let Process::Live { idle_since, .. } = slot.process else { return };
        let idle = slot.running.is_empty() && bound == 0;
        let over = if idle {
            idle_since + self.settings.overflow_idle_timeout
        } else {
            now + self.settings.overflow_idle_timeout
        };
        if idle && now >= over {
            return self.stop_process(now, worker, KillReason::Idle, StopMethod::Graceful, effects);
        }
        self.timers.set(over, Timer::OverflowIdle(worker));
    }
}
