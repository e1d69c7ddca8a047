//! Restarts, and the failure of a pool that restarts its workers too often (R27, R28).

use super::{Core, Phase};
use crate::{
    CallId, Effect, Effects, LogEvent, Timestamp, WorkerId, WorkerRef,
    calls::Call,
    failure::{CallFailure, KillReason, ProcessExit},
    restart::IntensityVerdict,
    timers::Timer,
};

impl Core {
    /// Decides whether the slot gets a new process, and when. `busy` states whether the process had unfinished attempts.
    pub(super) fn restart_or_cool_down(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        end: ProcessExit,
        live_since: Option<Timestamp>,
        busy: bool,
        effects: &mut Effects,
    ) {
        let stop_requested = matches!(end.kill_reason, Some(KillReason::Idle | KillReason::Shutdown));
        if !stop_requested {
            effects.push(Effect::Log(match live_since {
                Some(_) => LogEvent::WorkerDied(worker, end),
                None => LogEvent::StartFailed(worker, end),
            }));
        }
        // A shortage of descriptors is no failure of the worker: its slot waits as after a failed start, but the pool
        // does not fail because of it.
        let host_shortage = end.kill_reason == Some(KillReason::NoDescriptors);
        let early = !stop_requested && live_since.is_none_or(|since| self.intensity.is_early(now - since));
        let slot = self.slot_mut(worker.id);
        slot.start_failed = live_since.is_none() && !stop_requested;
        let (base, start_failed) = (slot.base, slot.start_failed);
        if start_failed && !base {
            return self.overflow_start_failed(now);
        }
        slot.failures = if early { slot.failures.saturating_add(1) } else { 0 };
        let start_at = now + self.intensity.backoff(self.slot(worker.id).failures);
        if !base {
            self.slot_mut(worker.id).cooldown_until = start_at;
            return;
        }
        if matches!(self.phase, Phase::Running | Phase::Draining { .. })
            || (host_shortage && self.phase == Phase::Probing)
        {
            self.schedule(worker.id, start_at);
        }
        // A death during a call does not count for the pool: otherwise the calls of one caller could make the pool fail
        // for all. The quarantine handles such calls (R37). The slot waits all the same, so that it does not respawn as
        // fast as such calls are submitted.
        self.escalate(now, early && !busy && !host_shortage, effects);
    }

    /// Makes the pool fail if a base worker, or the probe, has ended too often.
    fn escalate(&mut self, now: Timestamp, counts: bool, effects: &mut Effects) {
        let verdict = match self.phase {
            Phase::Running | Phase::Draining { .. } if counts => self.intensity.count(now),
            Phase::Probing if !self.probe_is_running() => self.intensity.escalate(now),
            _ => IntensityVerdict::WithinLimit,
        };
        if let IntensityVerdict::Exceeded { retry_at } = verdict {
            self.enter_cooldown(retry_at, effects);
        }
    }

    pub(super) fn schedule(&mut self, worker: WorkerId, at: Timestamp) {
        self.workers.schedule(worker, at);
        self.timers.set(at, Timer::Worker(worker));
    }

    /// Returns whether the pool shuts down or is about to: a base worker is then started only if a call waits for it.
    pub(super) fn starts_on_demand(&self) -> bool {
        self.shutdown_announced || matches!(self.phase, Phase::Draining { .. })
    }

    /// Starts base workers for waiting calls in a pool that shuts down. There, no base worker is restarted without
    /// need, since the supervisor of a service may have stopped all of them on purpose. But calls that wait need one,
    /// or they would wait until the drain ends.
    pub(super) fn request_base_workers(&mut self, now: Timestamp, effects: &mut Effects) {
        if !self.starts_on_demand() || !matches!(self.phase, Phase::Running | Phase::Draining { .. }) {
            return;
        }
        while self.waiting.for_base_workers() > self.workers.coming_base_capacity() {
            let Some((worker, failures)) = self.first_absent_base() else { break };
            self.schedule(worker, now + self.intensity.backoff(failures));
        }
        self.start_due(now, effects);
    }

    /// Returns whether the probe is scheduled, starting or being stopped. A probe that was not ready in time has failed
    /// only once it has exited.
    fn probe_is_running(&self) -> bool {
        self.workers.base_start_is_pending()
    }

    /// Starts nothing before the probe. Live workers go on serving (documented in semantics.md).
    fn enter_cooldown(&mut self, retry_at: Timestamp, effects: &mut Effects) {
        self.workers.cancel_starts();
        if matches!(self.phase, Phase::Draining { .. }) {
            return;
        }
        self.phase = Phase::Failed { retry_at };
        self.timers.set(retry_at, Timer::Pool);
        effects.push(Effect::Log(LogEvent::PoolFailed(retry_at)));
    }

    /// Fails all waiting calls of a failed pool that has no live or starting worker.
    pub(super) fn fail_waiting_calls_if_failed(&mut self, now: Timestamp, effects: &mut Effects) {
        let retry_at = match self.phase {
            Phase::Failed { retry_at } => retry_at,
            Phase::Probing => now,
            _ => return,
        };
        if self.workers.live() + self.workers.starting() > 0 {
            return;
        }
        for id in self.waiting_calls() {
            if self.calls.get(id).is_some_and(Call::is_queued) {
                self.counters.failed_by_pool += 1;
                self.settle_queued(now, id, CallFailure::PoolFailed { retry_at }, effects);
            }
        }
    }

    /// Returns the waiting calls in the order of admission.
    pub(super) fn waiting_calls(&self) -> Vec<CallId> {
        let mut waiting: Vec<CallId> = self.calls.iter().filter(|call| call.is_queued()).map(|call| call.id).collect();
        waiting.sort_unstable();
        waiting
    }

    /// Starts the probe of a failed pool, if it is due.
    pub(super) fn probe_due(&mut self, now: Timestamp, effects: &mut Effects) {
        let Phase::Failed { retry_at } = self.phase else { return };
        if now < retry_at {
            return self.timers.set(retry_at, Timer::Pool);
        }
        if self.shutdown_announced {
            return self.postpone_probe(now);
        }
        match self.first_absent_base() {
            Some((worker, _)) => {
                self.phase = Phase::Probing;
                self.schedule(worker, now);
            }
            None => self.recover(now, effects),
        }
        self.start_due(now, effects);
        self.request_overflow_workers(now, effects);
    }

    /// Postpones the probe of a pool that is about to shut down.
    fn postpone_probe(&mut self, now: Timestamp) {
        if let IntensityVerdict::Exceeded { retry_at } = self.intensity.escalate(now) {
            self.phase = Phase::Failed { retry_at };
            self.timers.set(retry_at, Timer::Pool);
        }
    }

    /// Returns the first base slot with neither a process nor a scheduled start, and its consecutive failures.
    fn first_absent_base(&self) -> Option<(WorkerId, u32)> {
        self.workers.absent_base().next().map(|slot| (slot.worker.id, slot.failures))
    }

    /// Ends the failure of a pool, after a worker became ready or if no base worker is missing: the other base workers
    /// start, and the next cooldown is short again.
    pub(super) fn recover(&mut self, now: Timestamp, effects: &mut Effects) {
        if !matches!(self.phase, Phase::Failed { .. } | Phase::Probing) {
            return;
        }
        self.phase = Phase::Running;
        self.intensity.record_recovery();
        effects.push(Effect::Log(LogEvent::PoolRecovered));
        for worker in self.workers.absent_base().map(|slot| slot.worker.id).collect::<Vec<WorkerId>>() {
            self.schedule(worker, now);
        }
    }
}
