//! Overflow workers (R12): started when calls wait that they could run, and stopped when idle.

use super::{Core, Phase};
use crate::{Effects, StopMethod, Timestamp, WorkerRef, failure::KillReason, timers::Timer, worker::Process};

impl Core {
    /// Starts overflow workers while more calls wait that they could run than capacity is starting (R12).
    pub(super) fn request_overflow_workers(&mut self, now: Timestamp, effects: &mut Effects) {
        self.request_base_workers(now, effects);
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        // Each round schedules one slot, which raises `coming_capacity`, so the loop ends.
        while self.calls_waiting_for_overflow() > self.workers.coming_capacity(now) {
            // While starts fail, one is tried at a time: what prevents one overflow worker from starting prevents the
            // others too.
            if self.overflow.is_failing() && self.workers.overflow_is_starting_or_scheduled() {
                return;
            }
            // This search costs the number of slots, but each one leads to a start.
            let absent = self.workers.absent_overflow();
            let Some(slot) = absent.min_by_key(|slot| slot.cooldown_until.max(now)) else { return };
            let start_at = now.max(slot.cooldown_until).max(self.overflow.cooldown_until());
            let worker = slot.worker.id;
            self.workers.schedule(worker, start_at);
            self.timers.set(start_at, Timer::Worker(worker));
            self.start_due(now, effects);
        }
    }

    /// Returns the number of waiting calls that an overflow worker could run.
    pub(super) fn calls_waiting_for_overflow(&self) -> usize {
        // Sessions are bound to base workers as long as one is alive.
        if self.has_live_base_worker() { self.waiting.for_any_worker() } else { self.waiting.for_base_workers() }
    }

    /// Handles an overflow worker that exited before it was ready. This does not make the pool fail, which depends on
    /// base workers only.
    pub(super) fn overflow_start_failed(&mut self, now: Timestamp) {
        self.overflow.record_failure(now, &self.intensity);
        // Overflow workers that wait for room in the batch were scheduled before this failure. `request_overflow_workers`
        // schedules one of them again, after the backoff.
        self.workers.cancel_overflow_starts();
    }

    /// Stops an overflow worker that has been idle long enough and holds no session's state (R12). Otherwise renews its
    /// timer.
    pub(super) fn overflow_idle_due(&mut self, now: Timestamp, worker: WorkerRef, effects: &mut Effects) {
        if !self.is_alive(worker) {
            return;
        }
        let bound = self.sessions.bound_to(worker);
        let slot = self.slot(worker.id);
        let Process::Live { idle_since, .. } = *slot.process() else { return };
        let idle = slot.in_flight() == 0 && bound == 0;
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
