//! Restarts, and the failure of a pool that restarts its workers too often (R27, R28).

use crate::{
    CallId, Effect, Effects, LogEvent, Timestamp, WorkerId,
    calls::Call,
    failure::{CallFailure, KillReason},
    pool::Core,
    restarts::{AfterExit, Probe},
    worker::DeadProcess,
};

impl Core {
    /// Decides whether the slot of a dead process gets a new one, and when. The pool may fail by that.
    pub(super) fn plan_restart(&mut self, now: Timestamp, dead: &DeadProcess, effects: &mut Effects) {
        let event = match (dead.exit.is_expected(), dead.live_since) {
            (false, Some(_)) => Some(LogEvent::WorkerDied(dead.worker, dead.exit)),
            (false, None) => Some(LogEvent::StartFailed(dead.worker, dead.exit)),
            // The end of a pool is reported as a whole.
            (true, Some(_)) if dead.exit.kill_reason != Some(KillReason::Shutdown) => {
                Some(LogEvent::WorkerStopped(dead.worker, dead.exit))
            }
            (true, _) => None,
        };
        effects.extend(event.map(Effect::Log));
        let base_start_is_pending = self.workers.base_start_is_pending();
        if self.workers.vacant() == Some(dead.worker.id) {
            // Another process has taken over from it, or it was to take over from another one. It is no restart.
            self.restarts.base_start_cancelled(now, base_start_is_pending);
            return self.exited_in_reload(now, dead, effects);
        }
        match self.restarts.exited(now, dead, base_start_is_pending) {
            AfterExit::StartAt(at) => self.workers.schedule(dead.worker.id, at),
            AfterExit::Nothing => {}
            AfterExit::CancelOverflowStarts => self.workers.cancel_overflow_starts(),
            AfterExit::CancelStarts(failed_until) => {
                self.workers.cancel_starts();
                if let Some(retry_at) = failed_until {
                    effects.push(Effect::Log(LogEvent::PoolFailed(retry_at)));
                }
            }
        }
        self.exited_in_reload(now, dead, effects);
    }

    /// Fails all waiting calls of a failed pool that has no live or starting worker.
    pub(super) fn fail_waiting_calls_of_failed_pool(&mut self, now: Timestamp, effects: &mut Effects) {
        let Some(retry_at) = self.restarts.failed_until(now) else { return };
        if self.workers.live() + self.workers.starting() > 0 {
            return;
        }
        for id in self.waiting_calls() {
            if self.calls.get(id).is_some_and(Call::is_waiting) {
                self.counters.failed_by_pool += 1;
                self.settle_queued(now, id, CallFailure::PoolFailed { retry_at }, effects);
            }
        }
    }

    /// Returns the waiting calls in the order of admission.
    fn waiting_calls(&self) -> Vec<CallId> {
        if self.waiting.len() == 0 {
            return Vec::new();
        }
        let mut waiting: Vec<CallId> = self.calls.iter().filter(|call| call.is_waiting()).map(|call| call.id).collect();
        waiting.sort_unstable();
        waiting
    }

    /// Starts the probe of a failed pool.
    pub(in crate::pool) fn probe_due(&mut self, now: Timestamp, effects: &mut Effects) {
        match self.restarts.probe(now, self.first_absent_base()) {
            Probe::Postponed => return,
            Probe::Start(worker) => self.workers.schedule(worker, now),
            Probe::Recovered => self.start_after_recovery(now, effects),
        }
        self.start_due_processes(now, effects);
        self.start_processes_for_waiting_calls(now, effects);
    }

    /// Schedules the missing base workers of a pool that has recovered from its failure.
    pub(super) fn start_after_recovery(&mut self, now: Timestamp, effects: &mut Effects) {
        effects.push(Effect::Log(LogEvent::PoolRecovered));
        for worker in self.workers.absent_base().map(|slot| slot.worker.id).collect::<Vec<WorkerId>>() {
            self.workers.schedule(worker, now);
        }
    }

    /// Returns the first base slot with neither a process nor a scheduled start.
    pub(super) fn first_absent_base(&self) -> Option<WorkerId> {
        self.workers.absent_base().next().map(|slot| slot.worker.id)
    }
}
