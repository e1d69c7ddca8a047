//! Back to full strength: restarts, and what a pool does that restarts too often (R27, R28).

use super::{Core, Effect, Effects, LogEvent, Phase, call::Call};
use crate::{
    CallId, Timestamp, WorkerId, WorkerRef,
    failure::{CallFailure, KillReason, ProcessExit},
    restart::IntensityVerdict,
    timers::Timer,
    worker::{Process, Slot},
};

impl Core {
    /// Whether the slot gets a new process, and when. `busy`: it had unfinished calls, settled or not.
    pub(super) fn restart_or_cool_down(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        end: ProcessExit,
        live_since: Option<Timestamp>,
        busy: bool,
        effects: &mut Effects,
    ) {
        let ordered = matches!(end.kill_reason, Some(KillReason::Idle | KillReason::Shutdown));
        if !ordered {
            effects.push(Effect::Log(match live_since {
                Some(_) => LogEvent::WorkerDied(worker, end),
                None => LogEvent::StartFailed(worker, end),
            }));
        }
        // The host's shortage is no failure of the worker's: the slot waits as after one, and the pool does not fail for it.
        let hosts_own = end.kill_reason == Some(KillReason::NoDescriptors);
        let early = !ordered && live_since.is_none_or(|since| self.intensity.is_early(now - since));
        let slot = self.slot_mut(worker.id);
        slot.start_failed = live_since.is_none() && !ordered;
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
        if matches!(self.phase, Phase::Running | Phase::Draining { .. }) || (hosts_own && self.phase == Phase::Probing)
        {
            self.schedule(worker.id, start_at);
        }
        // A death in the middle of a call is that call's matter (R37): were it the pool's, one caller's code could end the service
        // for all. Its slot waits all the same, so that it does not respawn as fast as the calls come.
        self.escalate(now, early && !busy && !hosts_own, effects);
    }

    /// Whether the end of a base worker, or of the probe, means that the pool failed.
    fn escalate(&mut self, now: Timestamp, counts: bool, effects: &mut Effects) {
        let verdict = match self.phase {
            Phase::Running | Phase::Draining { .. } if counts => self.intensity.count(now),
            Phase::Probing if !self.probe_is_out() => self.intensity.escalate(now),
            _ => IntensityVerdict::WithinLimit,
        };
        if let IntensityVerdict::Exceeded { retry_at } = verdict {
            self.enter_cooldown(retry_at, effects);
        }
    }

    fn schedule(&mut self, worker: WorkerId, at: Timestamp) {
        self.slot_mut(worker).process = Process::Scheduled { at };
        self.timers.set(at, Timer::Worker(worker));
    }

    /// Whether the pool ends, or will soon: a base worker is started again only if a call waits for one.
    pub(super) fn starts_on_demand(&self) -> bool {
        self.shutdown_announced || matches!(self.phase, Phase::Draining { .. })
    }

    /// In a pool that ends no base worker is started again for its own sake, as the supervisor of a service may have ended all of them.
    /// While more calls wait than workers are to come, one is: without it they would wait for nobody until the time is up.
    pub(super) fn want_base(&mut self, now: Timestamp, effects: &mut Effects) {
        if !self.starts_on_demand() || !matches!(self.phase, Phase::Running | Phase::Draining { .. }) {
            return;
        }
        while self.wait_for_a_worker() > self.base_places_to_come() {
            let Some(&worker) = self.absent_base().first() else { break };
            let rest = self.intensity.backoff(self.slot(worker).failures);
            self.schedule(worker, now + rest);
        }
        self.start_due(now, effects);
    }

    /// How many calls wait that any base worker could take.
    pub(super) fn wait_for_a_worker(&self) -> usize {
        self.any_worker_queue.len() + self.unbound_queue.len()
    }

    fn base_places_to_come(&self) -> usize {
        self.slots.iter().filter(|slot| slot.base && slot.is_starting_or_scheduled()).count()
            * self.settings.window() as usize
    }

    pub(super) fn places_starting(&self) -> usize {
        let starting = self.slots.iter().filter(|slot| matches!(slot.process, Process::Starting { .. }));
        starting.count() * self.settings.window() as usize
    }

    /// A probe that was not ready in time is out until its exit.
    fn probe_is_out(&self) -> bool {
        let stops = |slot: &Slot| matches!(slot.process, Process::Stopping { live_since: None, .. });
        self.slots.iter().any(|slot| slot.base && (slot.is_starting_or_scheduled() || stops(slot)))
    }

    /// Too many restarts: nothing is started before the probe. Workers that live go on (documented in semantics.md).
    fn enter_cooldown(&mut self, retry_at: Timestamp, effects: &mut Effects) {
        for slot in &mut self.slots {
            if matches!(slot.process, Process::Scheduled { .. }) {
                slot.process = Process::Absent;
            }
        }
        if matches!(self.phase, Phase::Draining { .. }) {
            return;
        }
        self.phase = Phase::Failed { retry_at };
        self.timers.set(retry_at, Timer::Pool);
        effects.push(Effect::Log(LogEvent::PoolFailed(retry_at)));
    }

    /// In a failed pool without a living worker nobody waits: each call has its answer at once.
    pub(super) fn answer_if_failed(&mut self, now: Timestamp, effects: &mut Effects) {
        let retry_at = match self.phase {
            Phase::Failed { retry_at } => retry_at,
            Phase::Probing => now,
            _ => return,
        };
        let hope = |slot: &Slot| matches!(slot.process, Process::Live { .. } | Process::Starting { .. });
        if self.slots.iter().any(hope) {
            return;
        }
        for id in self.waiting_calls() {
            if self.calls.get(&id).is_some_and(Call::is_queued) {
                self.counters.failed_by_pool += 1;
                self.withdraw(now, id, CallFailure::PoolFailed { retry_at }, effects);
            }
        }
    }

    /// Waiting calls in the order of admission.
    pub(super) fn waiting_calls(&self) -> Vec<CallId> {
        let mut waiting: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| call.is_queued()).map(|(id, _)| *id).collect();
        waiting.sort_unstable();
        waiting
    }

    /// Time for the probe of a failed pool.
    pub(super) fn probe_due(&mut self, now: Timestamp, effects: &mut Effects) {
        let Phase::Failed { retry_at } = self.phase else { return };
        if now < retry_at {
            return self.timers.set(retry_at, Timer::Pool);
        }
        if self.shutdown_announced {
            return self.postpone_probe(now);
        }
        match self.absent_base().first() {
            Some(&worker) => {
                self.phase = Phase::Probing;
                self.schedule(worker, now);
            }
            None => self.recover(now, effects),
        }
        self.start_due(now, effects);
        self.want_overflow(now, effects);
    }

    /// A pool that ends starts no probe.
    fn postpone_probe(&mut self, now: Timestamp) {
        if let IntensityVerdict::Exceeded { retry_at } = self.intensity.escalate(now) {
            self.phase = Phase::Failed { retry_at };
            self.timers.set(retry_at, Timer::Pool);
        }
    }

    /// Base slots with neither a process nor a start to come.
    fn absent_base(&self) -> Vec<WorkerId> {
        let absent = |slot: &&Slot| slot.base && matches!(slot.process, Process::Absent);
        self.slots.iter().filter(absent).map(|slot| slot.worker.id).collect()
    }

    /// A worker came up in a failed pool, or none of its base workers is missing: the pool runs again, the others start, and the next
    /// cooldown is short.
    pub(super) fn recover(&mut self, now: Timestamp, effects: &mut Effects) {
        if !matches!(self.phase, Phase::Failed { .. } | Phase::Probing) {
            return;
        }
        self.phase = Phase::Running;
        self.intensity.recovered();
        effects.push(Effect::Log(LogEvent::PoolRecovered));
        for worker in self.absent_base() {
            self.schedule(worker, now);
        }
    }
}
