//! Which processes are started, and when: those that are scheduled, and those that waiting calls need (R13). When waiting
//! calls start overflow workers is decided in [`overflow`](super::overflow).

use crate::{Effect, Effects, Timestamp, WorkerId, WorkerRef, pool::Core, worker::Capabilities};

impl Core {
    /// Starts the processes that are scheduled and due, at most `start_batch` at a time (R13).
    pub(super) fn start_due_processes(&mut self, now: Timestamp, effects: &mut Effects) {
        if !self.restarts.may_start() {
            return;
        }
        let mut room = (self.settings.start_batch as usize).saturating_sub(self.workers.starting());
        while room > 0
            && let Some(worker) = self.workers.next_start(now)
        {
            let is_wanted = match self.slot(worker).base {
                true => {
                    !self.restarts.starts_on_demand()
                        || self.waiting.for_base_workers() > self.workers.starting_capacity()
                }
                false => self.calls_waiting_for_overflow() > 0,
            };
            if is_wanted {
                self.start(now, worker, effects);
                room -= 1;
            } else {
                // The calls that needed it have been served or abandoned.
                self.workers.cancel_start(worker);
                if self.slot(worker).base {
                    self.restarts.base_start_cancelled(now, self.workers.base_start_is_pending());
                }
            }
        }
    }

    fn start(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) {
        let worker_ref = self.workers.start(now, worker);
        self.counters.starts += 1;
        effects.push(Effect::Start(worker_ref));
    }

    /// Handles the ready frame of a process: waiting calls are sent to it, and a failed pool may have recovered.
    pub(in crate::pool) fn on_ready(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        process: Capabilities,
        effects: &mut Effects,
    ) {
        if !self.workers.ready(now, worker, process) {
            return;
        }
        // A recovery comes first: it may schedule more starts, which `start_due_processes` begins. Both come before
        // `fill_worker`, which uses this worker's capacity, so that `start_processes_for_waiting_calls` at the end sees
        // only calls that still wait.
        if self.restarts.ready(worker.id) {
            self.start_after_recovery(now, effects);
        }
        // Before calls are sent to it: if it takes over from another worker, that one gets none any more.
        self.ready_in_reload(now, worker, effects);
        self.start_due_processes(now, effects);
        self.fill_worker(now, worker.id, effects);
        if !self.slot(worker.id).base {
            self.workers.set_idle_check(worker.id, now + self.settings.overflow_idle_timeout);
        }
        self.start_processes_for_waiting_calls(now, effects);
    }

    /// Starts the processes that waiting calls need, besides those that are scheduled.
    pub(in crate::pool) fn start_processes_for_waiting_calls(&mut self, now: Timestamp, effects: &mut Effects) {
        if self.restarts.is_idle() && self.waiting.len() > 0 {
            self.wake(now, effects);
        }
        if self.restarts.may_request_base_workers() {
            self.start_base_workers(now, effects);
        }
        if self.restarts.is_running() {
            self.request_overflow_workers(now, effects);
        }
    }

    /// Starts the base workers of a lazy pool. Its first call waits: no worker can have taken it.
    fn wake(&mut self, now: Timestamp, effects: &mut Effects) {
        self.restarts.wake();
        self.schedule_base_workers(now);
        self.start_due_processes(now, effects);
    }

    pub(in crate::pool) fn schedule_base_workers(&mut self, now: Timestamp) {
        for worker in (1..=self.settings.pool_size).map(WorkerId) {
            self.workers.schedule(worker, now);
        }
    }

    /// Starts base workers for waiting calls in a pool that shuts down. There, no base worker is restarted without
    /// need, since the supervisor of a service may have stopped all of them on purpose. But calls that wait need one,
    /// or they would wait until the drain ends.
    fn start_base_workers(&mut self, now: Timestamp, effects: &mut Effects) {
        while self.waiting.for_base_workers() > self.workers.coming_base_capacity() {
            let Some(worker) = self.first_absent_base() else { break };
            self.workers.schedule(worker, self.restarts.base_start_at(now, worker));
        }
        self.start_due_processes(now, effects);
    }
}
