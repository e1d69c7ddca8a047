//! Processes: their start, their readiness and their stop (R27, R28). `death` handles their exit.

use super::Core;
use crate::{
    Effect, Effects, ProcessActivity, StopMethod, Timestamp, WireId, WorkerId, WorkerRef,
    failure::KillReason,
    worker::{BeforeStop, PingOutcome, Process},
};

impl Core {
    /// Starts the processes that are scheduled and due, at most `start_batch` at a time (R13).
    pub(super) fn start_due(&mut self, now: Timestamp, effects: &mut Effects) {
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
            }
        }
    }

    fn start(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) {
        let worker_ref = self.workers.start(now, worker);
        self.counters.starts += 1;
        effects.push(Effect::Start(worker_ref));
    }

    pub(super) fn on_ready(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        window: u32,
        control: bool,
        effects: &mut Effects,
    ) {
        if !self.workers.ready(now, worker, window, control) {
            return;
        }
        // A recovery comes first: it may schedule more starts, which `start_due` begins. Both come before `fill`, which
        // uses this worker's capacity, so that `request_overflow_workers` at the end sees only calls that still wait.
        if self.restarts.ready(worker.id) {
            self.start_after_recovery(now, effects);
        }
        self.start_due(now, effects);
        self.fill(now, worker.id, effects);
        if worker.id.0 > self.settings.pool_size {
            self.workers.set_idle_check(worker.id, now + self.settings.overflow_idle_timeout);
        }
        self.request_overflow_workers(now, effects);
    }

    /// Stops a process. Its calls are settled when it has exited, since an answer may still arrive before.
    pub(super) fn stop_process(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        kill_reason: KillReason,
        method: StopMethod,
        effects: &mut Effects,
    ) {
        let was_ready = match self.workers.stop(now, worker, kill_reason) {
            None => return,
            Some(BeforeStop::Stopping(kill_reason)) => {
                // The process is already being stopped. A kill must not wait for the graceful stop, whose steps take
                // seconds. The first reason is kept.
                if method == StopMethod::Kill {
                    effects.push(Effect::Stop { worker, method, kill_reason });
                }
                return;
            }
            Some(BeforeStop::Starting) => false,
            Some(BeforeStop::Live) => true,
        };
        effects.push(Effect::Stop { worker, method, kill_reason });
        if !was_ready {
            // The process no longer counts in the batch, however long its exit takes.
            self.start_due(now, effects);
        }
        if self.waiting.unbound() > 0 && !self.has_live_base_worker() {
            // Without a live base worker, overflow workers may take new sessions (R12).
            self.fill_all(now, effects);
        }
    }

    /// Handles a slot that is due: its start, its start timeout or its ping.
    pub(super) fn worker_due(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) {
        let worker_ref = self.slot(worker).worker;
        match *self.slot(worker).process() {
            Process::Scheduled { at } if at <= now => self.start_due(now, effects),
            Process::Starting { until } if now >= until => {
                self.stop_process(now, worker_ref, KillReason::StartTimeout, StopMethod::Kill, effects);
            }
            Process::Live { .. } => {
                let outcome = self.workers.ping_due(now, worker_ref, effects);
                self.apply_ping_outcome(now, worker_ref, outcome, effects);
            }
            _ => {}
        }
    }

    /// Handles the timeout of an abandoned attempt.
    pub(super) fn attempt_due(&mut self, now: Timestamp, worker: WorkerId, wire: WireId, effects: &mut Effects) {
        if let Some(worker) = self.workers.attempt_due(now, worker, wire, effects) {
            self.stop_process(now, worker, KillReason::CancelTimeout, StopMethod::Kill, effects);
        }
    }

    /// Handles the answer to a ping.
    pub(super) fn on_pong(&mut self, now: Timestamp, worker: WorkerRef, nonce: u64, effects: &mut Effects) {
        let outcome = self.workers.pong(now, worker, nonce);
        self.apply_ping_outcome(now, worker, outcome, effects);
    }

    /// Handles the result of the examination of a process that did not answer a ping.
    pub(super) fn on_examined(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        nonce: u64,
        activity: ProcessActivity,
        effects: &mut Effects,
    ) {
        let outcome = self.workers.examined(now, worker, nonce, activity, effects);
        self.apply_ping_outcome(now, worker, outcome, effects);
    }

    fn apply_ping_outcome(&mut self, now: Timestamp, worker: WorkerRef, outcome: PingOutcome, effects: &mut Effects) {
        match outcome {
            PingOutcome::Unchanged => {}
            PingOutcome::Restored => self.fill(now, worker.id, effects),
            PingOutcome::Failed(reason) => self.stop_process(now, worker, reason, StopMethod::Graceful, effects),
        }
    }
}
