//! Workers beyond the base (R12): started when calls wait that could run there, kept for a while, ended when idle.

use super::{Core, Effects, Phase, StopMethod};
use crate::{
    Timestamp, WorkerRef,
    failure::KillReason,
    timers::Timer,
    worker::{Process, Slot},
};

impl Core {
    /// Starts overflow workers while more calls wait that could run there than places are on their way (R12).
    pub(super) fn want_overflow(&mut self, now: Timestamp, effects: &mut Effects) {
        self.want_base(now, effects);
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        while self.calls_waiting_for_overflow() > self.capacity_to_come(now) {
            let idle = |slot: &&mut Slot| !slot.base && matches!(slot.process, Process::Absent);
            let may_start = !(self.overflow.is_failing() && self.overflow_is_starting_or_scheduled());
            let idle = self.slots.iter_mut().filter(idle).min_by_key(|slot| slot.cooldown_until.max(now));
            let Some(slot) = idle.filter(|_| may_start) else { return };
            let start_at = now.max(slot.cooldown_until).max(self.overflow.cooldown_until());
            slot.process = Process::Scheduled { at: start_at };
            self.timers.set(start_at, Timer::Worker(slot.worker.id));
            self.start_due(now, effects);
        }
    }

    /// How many calls wait that an overflow worker could take.
    pub(super) fn calls_waiting_for_overflow(&self) -> usize {
        let unbound_queue = if self.base_lives() { 0 } else { self.unbound_queue.len() };
        self.any_worker_queue.len() + unbound_queue
    }

    fn overflow_is_starting_or_scheduled(&self) -> bool {
        self.slots.iter().any(|slot| !slot.base && slot.is_starting_or_scheduled())
    }

    /// An overflow worker in backoff is on its way: were it not, each one that fails would call for another, as fast as they fail. A
    /// base worker in backoff is not: until it starts the overflow stands in for it.
    fn capacity_to_come(&self, now: Timestamp) -> usize {
        let coming = |slot: &&Slot| match slot.process {
            Process::Starting { .. } => true,
            Process::Scheduled { at } => !slot.base || at <= now,
            _ => false,
        };
        self.slots.iter().filter(coming).count() * self.settings.window() as usize
    }

    /// An overflow worker was not ready when it ended. That is no matter of the pool's: base workers alone decide whether it failed.
    pub(super) fn overflow_start_failed(&mut self, now: Timestamp) {
        self.overflow.failed(now, &self.intensity);
        // Those that wait for room in the batch were called for before this one failed. `want_overflow` calls for one of them again.
        for slot in self.slots.iter_mut().filter(|slot| !slot.base) {
            if matches!(slot.process, Process::Scheduled { .. }) {
                slot.process = Process::Absent;
            }
        }
    }

    /// Ends an overflow worker that was idle long enough and holds no session's state (R12).
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
