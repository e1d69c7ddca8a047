//! What is due for a process, and its answers to pings (R28).

use crate::{
    Effects, ProcessActivity, StopMethod, Timestamp, WorkerId, WorkerRef,
    failure::KillReason,
    pool::Core,
    worker::{PingOutcome, Process},
};

impl Core {
    /// Handles a slot that is due: its start, its start timeout or its ping.
    pub(in crate::pool) fn worker_due(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) {
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

    /// Handles the answer to a ping.
    pub(in crate::pool) fn on_pong(&mut self, now: Timestamp, worker: WorkerRef, nonce: u64, effects: &mut Effects) {
        let outcome = self.workers.pong(now, worker, nonce);
        self.apply_ping_outcome(now, worker, outcome, effects);
    }

    /// Handles the result of the examination of a process that did not answer a ping.
    pub(in crate::pool) fn on_examined(
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
