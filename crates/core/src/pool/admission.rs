//! Whether the pool takes a call at all: its state, its breaker, its quarantine, the room and the time there is (R34, R36, R37).
//! Knows nothing of sessions' states.

use super::{Core, Phase, call::CallState};
use crate::{
    BreakerStatus, CallId, Fingerprint, Outcome, QuarantineEntry, Timestamp, WireId, WorkerRef,
    breaker::Permit,
    failure::CallFailure,
    worker::{Process, Slot, SlotHolder},
};
use std::time::Duration;

/// How many times longer than its patience a call's wait must be expected to be before it is refused: what was seen of other
/// calls is no more than a hint.
const OVERLOAD_FACTOR: u32 = 2;

impl Core {
    pub(super) fn check_open(&self, now: Timestamp) -> Result<(), CallFailure> {
        let served = || self.slots.iter().any(|slot| slot.is_live());
        match self.phase {
            Phase::Running => Ok(()),
            Phase::Failed { .. } | Phase::Probing if served() => Ok(()),
            Phase::Failed { retry_at } => Err(CallFailure::PoolFailed { retry_at }),
            Phase::Probing => Err(CallFailure::PoolFailed { retry_at: now }),
            Phase::Draining { .. } | Phase::Closing { .. } | Phase::Stopped => {
                Err(CallFailure::PoolClosed { may_have_run: false })
            }
        }
    }

    pub(super) fn check_poison(&mut self, now: Timestamp, fingerprint: Option<Fingerprint>) -> Result<(), CallFailure> {
        let Some(fingerprint) = fingerprint else { return Ok(()) };
        self.quarantine.check(now, fingerprint).map_or(Ok(()), |found| Err(CallFailure::Poison(found)))
    }

    pub(super) fn take_permit(&mut self, now: Timestamp) -> Result<Permit, CallFailure> {
        match &mut self.breaker {
            Some(breaker) => breaker.permit(now).map_err(|retry_at| CallFailure::BreakerOpen { retry_at }),
            None => Ok(Permit::NONE),
        }
    }

    /// Every permit comes back here, whatever became of its call.
    pub(super) fn return_permit(&mut self, now: Timestamp, permit: Permit, outcome: Outcome) {
        if let Some(breaker) = &mut self.breaker {
            breaker.return_permit(now, permit, outcome);
        }
    }

    pub(super) fn check_room(&self) -> Result<(), CallFailure> {
        let limit = self.settings.queue.limit;
        if self.queued >= limit { Err(CallFailure::QueueFull { limit }) } else { Ok(()) }
    }

    /// Refuses a call whose turn would come too late at that place.
    pub(super) fn check_expected_wait(
        &mut self,
        now: Timestamp,
        id: CallId,
        state: CallState,
        ahead: usize,
    ) -> Result<(), CallFailure> {
        let (Some(expected), Some(call)) = (self.expected_wait(state, ahead), self.calls.get(&id)) else {
            return Ok(());
        };
        let patience = match state {
            CallState::AnyWorkerQueue | CallState::UnboundQueue => call.queue_until.min(call.deadline) - now,
            _ => call.deadline - now,
        };
        if expected <= patience * OVERLOAD_FACTOR {
            return Ok(());
        }
        self.counters.shed += 1;
        Err(CallFailure::Overloaded { expected_wait: expected, max_wait: patience })
    }

    /// How many calls stand before one that would wait there.
    pub(super) fn ahead_of(&self, state: CallState) -> usize {
        match state {
            CallState::AnyWorkerQueue | CallState::UnboundQueue => {
                self.any_worker_queue.len() + self.unbound_queue.len()
            }
            CallState::WorkerQueue(worker) => self.slot(worker.id).queue.len(),
            _ => 0,
        }
    }

    /// How long a call would wait there behind so many, should the pool go on as it did lately, with every worker it may have.
    pub(super) fn expected_wait(&self, state: CallState, ahead: usize) -> Option<Duration> {
        let places = match state {
            CallState::WorkerQueue(worker) => self.slot(worker.id).window(),
            CallState::SessionQueue => 1,
            _ => self.slots.iter().map(|slot| self.call_capacity_of(slot)).sum(),
        };
        self.service_time.as_ref()?.expected(ahead, places)
    }

    fn call_capacity_of(&self, slot: &Slot) -> usize {
        match slot.process {
            Process::Live { window, .. } => window as usize,
            _ => self.settings.window() as usize,
        }
    }
}

/// The breaker and the quarantine by hand.
impl Core {
    /// The breaker; `None` in a pool that has none.
    pub fn breaker(&self, now: Timestamp) -> Option<BreakerStatus> {
        self.breaker.as_ref().map(|breaker| breaker.status(now))
    }

    /// Closes the breaker. False in a pool that has none.
    pub fn reset_breaker(&mut self) -> bool {
        self.breaker.as_mut().map(|breaker| breaker.reset()).is_some()
    }

    /// Counts an outcome that somebody else saw. False in a pool without a breaker.
    pub fn record_outcome(&mut self, now: Timestamp, outcome: Outcome) -> bool {
        self.breaker.as_mut().map(|breaker| breaker.record(now, outcome)).is_some()
    }

    /// Whether submissions need a fingerprint: some payload has ended workers.
    pub fn needs_fingerprints(&self) -> bool {
        !self.quarantine.is_empty()
    }

    /// Whether an end needs its suspects.
    pub fn needs_suspects(&self) -> bool {
        self.quarantine.is_on()
    }

    /// What is suspected of ending workers, and what is quarantined for it.
    pub fn quarantine_entries(&self, now: Timestamp) -> Vec<QuarantineEntry> {
        self.quarantine.list(now)
    }

    /// An attempt of this payload came to an end by itself and its worker lives: whatever ended others with it was not this. Asked by
    /// the shell at a final frame while the pool [watches](Self::needs_fingerprints) some: it knows every attempt's payload, also of
    /// calls that were admitted before, and of those that are settled.
    pub fn clear_payload(&mut self, fingerprint: Fingerprint) {
        self.quarantine.clear_payload(fingerprint);
    }

    /// Lets a payload go. False if it was not watched.
    pub fn release_payload(&mut self, fingerprint: Fingerprint) -> bool {
        self.quarantine.release(fingerprint)
    }

    /// The attempts a process has not finished, and the calls that wait for them.
    pub fn unfinished(&self, worker: WorkerRef) -> impl Iterator<Item = (WireId, Option<CallId>)> + '_ {
        let slot = self.slots.get((worker.id.0 as usize).wrapping_sub(1)).filter(|slot| slot.worker == worker);
        let attempts = slot.map_or(&[][..], |slot| &slot.running);
        attempts.iter().map(|attempt| match attempt.holder {
            SlotHolder::Call(call) => (attempt.wire, Some(call)),
            SlotHolder::Abandoned { .. } => (attempt.wire, None),
        })
    }
}
