//! Back to full strength: restarts, and what a pool does that restarts too often (R27, R28).

use super::{Core, Effect, Effects, Note, Phase, call::Call};
use crate::{
    CallId, Now, WorkerRef,
    failure::{Doom, End, Failure},
    restart::Verdict,
    timers::Timer,
    worker::Process,
};

impl Core {
    /// Whether the slot gets a new process, and when.
    pub(super) fn restart_or_rest(
        &mut self,
        now: Now,
        at: WorkerRef,
        end: End,
        live_since: Option<Now>,
        fx: &mut Effects,
    ) {
        let ordered = matches!(end.doom, Some(Doom::Idle | Doom::Shutdown));
        if !ordered {
            fx.push(Effect::Note(match live_since {
                Some(_) => Note::Died(at, end),
                None => Note::StartFailed(at, end),
            }));
        }
        let counts = !ordered && live_since.is_none_or(|since| self.intensity.is_early(now - since));
        let slot = self.slot_mut(at.worker);
        slot.start_failed = live_since.is_none() && !ordered;
        slot.failures = if counts { slot.failures + 1 } else { 0 };
        let (failures, base) = (slot.failures, slot.base);
        if base && matches!(self.phase, Phase::Running | Phase::Draining { .. }) {
            let start_at = now + self.intensity.backoff(failures);
            self.slot_mut(at.worker).process = Process::Scheduled { at: start_at };
            self.timers.set(start_at, Timer::Worker(at.worker));
        }
        match self.phase {
            Phase::Running | Phase::Draining { .. } if counts => {
                if let Verdict::Escalate { retry_at } = self.intensity.count(now) {
                    self.rest(retry_at, fx);
                }
            }
            Phase::Probing if !self.probe_is_out() => {
                if let Verdict::Escalate { retry_at } = self.intensity.escalate(now) {
                    self.rest(retry_at, fx);
                }
            }
            _ => {}
        }
    }

    fn probe_is_out(&self) -> bool {
        let out =
            |slot: &crate::worker::Slot| matches!(slot.process, Process::Starting { .. } | Process::Scheduled { .. });
        self.slots.iter().any(|slot| slot.base && out(slot))
    }

    /// Too many restarts: nothing is started before the probe. Workers that live go on (documented in semantics.md).
    fn rest(&mut self, retry_at: Now, fx: &mut Effects) {
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
        fx.push(Effect::Note(Note::Failed(retry_at)));
    }

    /// In a failed pool without a living worker nobody waits: each call has its answer at once.
    pub(super) fn answer_if_failed(&mut self, now: Now, fx: &mut Effects) {
        let retry_at = match self.phase {
            Phase::Failed { retry_at } => retry_at,
            Phase::Probing => now,
            _ => return,
        };
        let hope = |slot: &crate::worker::Slot| matches!(slot.process, Process::Live { .. } | Process::Starting { .. });
        if self.slots.iter().any(hope) {
            return;
        }
        for id in self.waiting_calls() {
            if self.calls.get(&id).is_some_and(Call::is_queued) {
                self.counters.closed += 1;
                self.withdraw(now, id, Failure::PoolFailed { retry_at }, fx);
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
    pub(super) fn probe_due(&mut self, now: Now, fx: &mut Effects) {
        let Phase::Failed { retry_at } = self.phase else { return };
        if now < retry_at {
            return self.timers.set(retry_at, Timer::Pool);
        }
        let absent = |slot: &&mut crate::worker::Slot| slot.base && matches!(slot.process, Process::Absent);
        self.phase = match self.slots.iter_mut().find(absent) {
            Some(slot) => {
                slot.process = Process::Scheduled { at: now };
                Phase::Probing
            }
            None => Phase::Running,
        };
        self.start_due(now, fx);
    }

    /// A worker came up in a failed pool: the others may start again.
    pub(super) fn recover(&mut self, now: Now, fx: &mut Effects) {
        if !matches!(self.phase, Phase::Failed { .. } | Phase::Probing) {
            return;
        }
        self.phase = Phase::Running;
        self.intensity.recovered();
        fx.push(Effect::Note(Note::Recovered));
        for slot in self.slots.iter_mut().filter(|slot| slot.base && matches!(slot.process, Process::Absent)) {
            slot.process = Process::Scheduled { at: now };
        }
    }
}
