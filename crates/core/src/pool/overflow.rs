//! Overflow workers (R12): started when calls wait that they could run, and stopped when idle.

use super::Core;
use crate::{Effects, StopMethod, Timestamp, WorkerId, failure::KillReason};

impl Core {
    /// Starts overflow workers while more calls wait that they could run than capacity is starting (R12).
    pub(super) fn request_overflow_workers(&mut self, now: Timestamp, effects: &mut Effects) {
        self.request_base_workers(now, effects);
        if !self.restarts.is_running() {
            return;
        }
        // Each round schedules one slot, which raises `coming_capacity`, so the loop ends.
        while self.calls_waiting_for_overflow() > self.workers.coming_capacity(now) {
            // This search costs the number of slots, but each one leads to a start.
            let absent = self.workers.absent_overflow().map(|slot| slot.worker.id);
            let is_any_coming = self.workers.overflow_is_starting_or_scheduled();
            let next = self.restarts.next_overflow_start(now, is_any_coming, absent);
            let Some((worker, start_at)) = next else { return };
            self.workers.schedule(worker, start_at);
            self.start_due(now, effects);
        }
    }

    /// Returns the number of waiting calls that an overflow worker could run.
    pub(super) fn calls_waiting_for_overflow(&self) -> usize {
        // Sessions are bound to base workers as long as one is alive.
        if self.has_live_base_worker() { self.waiting.for_any_worker() } else { self.waiting.for_base_workers() }
    }

    /// Stops an overflow worker that has been idle long enough and holds no session's state (R12). Otherwise examines it
    /// again later.
    pub(super) fn overflow_idle_due(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) {
        let worker_ref = self.slot(worker).worker;
        let bound = self.sessions.bound_to(worker_ref);
        let idle_since = self.workers.idle_since(worker_ref).filter(|_| bound == 0);
        let over = idle_since.unwrap_or(now) + self.settings.overflow_idle_timeout;
        if idle_since.is_some() && now >= over {
            return self.stop_process(now, worker_ref, KillReason::Idle, StopMethod::Graceful, effects);
        }
        self.workers.set_idle_check(worker, over);
    }
}
