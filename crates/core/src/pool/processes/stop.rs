//! The stop of a process, and what leads to it: a start timeout, missed pings (R26), an abandoned call that does not end
//! (R35), or idleness (R12). `death` handles its exit.

use crate::{
    Effect, Effects, ProcessActivity, StopMethod, Timestamp, WireId, WorkerId, WorkerRef,
    failure::KillReason,
    pool::Core,
    worker::{BeforeStop, PingOutcome},
};

impl Core {
    /// Kills a process.
    pub(in crate::pool) fn kill(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        kill_reason: KillReason,
        effects: &mut Effects,
    ) {
        self.stop_process(now, worker, kill_reason, StopMethod::Kill, effects);
    }

    /// Stops a process. Its calls are settled when it has exited, since an answer may still arrive before.
    pub(in crate::pool) fn stop_process(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        kill_reason: KillReason,
        method: StopMethod,
        effects: &mut Effects,
    ) {
        let was_ready = match self.workers.stop(now, worker, kill_reason, method) {
            None => return,
            Some(BeforeStop::Stopping(kill_reason, before)) => {
                // The process is already being stopped, and the first reason is kept. A kill must not wait for the graceful
                // stop, whose steps take seconds, nor a graceful stop for calls, which may take until their deadlines.
                if method == StopMethod::Kill || method > before {
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
            self.start_due_processes(now, effects);
        }
        if self.waiting.unbound() > 0 && !self.has_live_base_worker() {
            // Without a live base worker, overflow workers may take new sessions (R12).
            self.fill_workers(now, effects);
        }
    }

    /// Handles the timeout of an abandoned attempt.
    pub(in crate::pool) fn attempt_due(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        wire: WireId,
        effects: &mut Effects,
    ) {
        if let Some(worker) = self.workers.attempt_due(now, worker, wire, effects) {
            self.kill(now, worker, KillReason::CancelTimeout, effects);
        }
    }

    /// Stops an overflow worker that has been idle long enough and holds no session's state (R12). Otherwise examines it
    /// again later.
    pub(in crate::pool) fn overflow_idle_due(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) {
        let worker_ref = self.slot(worker).worker;
        let bound = self.sessions.bound_to(worker_ref);
        let idle_since = self.workers.idle_since(worker_ref).filter(|_| bound == 0);
        let over = idle_since.unwrap_or(now) + self.settings.overflow_idle_timeout;
        if idle_since.is_some() && now >= over {
            return self.stop_process(now, worker_ref, KillReason::Idle, StopMethod::Graceful, effects);
        }
        self.workers.set_idle_check(worker, over);
    }

    /// Handles the answer to a ping.
    pub(in crate::pool) fn on_pong(&mut self, now: Timestamp, worker: WorkerRef, nonce: u64, effects: &mut Effects) {
        let outcome = self.workers.pong(now, worker, nonce);
        self.apply_ping_outcome(now, worker, outcome, effects);
    }

    /// Handles the result of the examination of a process that did not answer a ping.
    pub(in crate::pool) fn on_activity(
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

    /// Stops a process whose health function has failed. It gets no more calls, and those that it has may end.
    pub(in crate::pool) fn on_unhealthy(&mut self, now: Timestamp, worker: WorkerRef, effects: &mut Effects) {
        if self.is_alive(worker) {
            self.stop_process(now, worker, KillReason::Unhealthy, StopMethod::AfterCalls, effects);
        }
    }

    pub(super) fn apply_ping_outcome(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        outcome: PingOutcome,
        effects: &mut Effects,
    ) {
        match outcome {
            PingOutcome::Unchanged => {}
            PingOutcome::Restored => self.fill_worker(now, worker.id, effects),
            PingOutcome::Failed(reason) => self.stop_process(now, worker, reason, StopMethod::Graceful, effects),
        }
    }
}
