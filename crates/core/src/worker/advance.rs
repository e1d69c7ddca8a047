//! The attempts in advance of a process: how they begin, and how they are taken back when the oldest running call turns
//! out to be slow, or when their calls have waited too long. Which calls are sent in advance is decided elsewhere.

use super::{Attempt, InAdvance, Slot, Workers, workers::index};
use crate::{CallId, Effect, Effects, Timestamp, WireId, WorkerId, WorkerRef};

impl Workers {
    /// Returns the calls in advance, over all slots.
    #[inline]
    pub(crate) fn in_advance(&self) -> InAdvance {
        self.index.counts.in_advance
    }

    /// Returns the calls in advance in all processes. For checks: costs the number of attempts.
    pub(crate) fn calls_in_advance(&self) -> impl Iterator<Item = CallId> {
        self.iter().flat_map(|slot| slot.attempts.iter_in_advance()).filter_map(Attempt::call)
    }

    /// Returns the process that can be sent a call in advance: the one with the fewest; base workers first. Only asked
    /// if none can run the call at once.
    pub(crate) fn first_for_advance(&self) -> Option<WorkerId> {
        self.first_that_accepts().map(|slot| slot.worker.id)
    }

    /// Counts the next attempt in advance as begun, if a place is free for it. Returns its call, or `None` within if that
    /// is settled. Called whenever a place may have become free.
    pub(crate) fn begin_next(&mut self, now: Timestamp, worker: WorkerId) -> Option<Option<CallId>> {
        let slot = &mut self.slots[index(worker)];
        let before = slot.attempts.in_advance();
        if before.is_empty() {
            return None;
        }
        let call = slot.attempts.begin_next(now, slot.pace.places())?.call();
        self.in_advance_changed(now, worker, before);
        Some(call)
    }

    /// Counts the attempts in advance up to this one as begun, however many places there are. Returns their calls.
    pub(crate) fn begin_up_to(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId) -> Vec<CallId> {
        let is_waiting = |slot: &&Slot| slot.attempts.is_wire_in_advance(wire);
        let mut begun = Vec::new();
        while self.current(worker).filter(is_waiting).is_some() {
            let before = self.slots[index(worker.id)].attempts.in_advance();
            begun.extend(self.slots[index(worker.id)].attempts.begin_next(now, u32::MAX).and_then(Attempt::call));
            self.in_advance_changed(now, worker.id, before);
        }
        begun
    }

    /// Updates what follows from the attempts in advance of a slot after a change of them.
    #[cold]
    pub(super) fn in_advance_changed(&mut self, now: Timestamp, worker: WorkerId, before: InAdvance) {
        let slot = &mut self.slots[index(worker)];
        self.index.counts.in_advance -= before;
        self.index.counts.in_advance += slot.attempts.in_advance();
        if slot.pace.checked().is_none() && slot.revocable().next().is_some() {
            let oldest = slot.attempts.oldest_running().map(|oldest| oldest.wire);
            self.update(worker, |slot| slot.pace.check_later(now, oldest));
        }
    }

    /// Examines the attempts in advance of a process: if its oldest running call has not changed since this was decided,
    /// they are taken back, except those that no other worker can run. Returns their calls.
    pub(crate) fn check_in_advance(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) -> Vec<CallId> {
        let slot = &self.slots[index(worker)];
        if slot.pace.check_due() > now {
            return Vec::new();
        }
        let oldest = slot.attempts.oldest_running().map(|oldest| oldest.wire);
        let revocable: Vec<WireId> = slot.revocable().map(|attempt| attempt.wire).collect();
        if revocable.is_empty() || slot.pace.checked() != oldest {
            let next = oldest.filter(|_| !revocable.is_empty());
            self.update(worker, |slot| slot.pace.check_later(now, next));
            return Vec::new();
        }
        self.update(worker, |slot| {
            slot.pace.observe_slow();
            slot.pace.check_later(now, None);
        });
        let worker = self.slots[index(worker)].worker;
        revocable.into_iter().filter_map(|wire| self.revoke(worker, wire, effects)).collect()
    }

    /// Asks a process to take back an attempt, if it was not asked before. Returns the call of the attempt.
    pub(crate) fn revoke(&mut self, worker: WorkerRef, wire: WireId, effects: &mut Effects) -> Option<CallId> {
        self.current(worker).filter(|slot| slot.can_revoke())?;
        let is_new = self.update(worker.id, |slot| slot.attempts.revoke(wire));
        let call = self.slot(worker.id).attempts.get(wire).and_then(Attempt::call);
        call.filter(|_| is_new).inspect(|_| effects.push(Effect::Revoke { worker, wire }))
    }

    /// Records that a process gave back an attempt as asked. Returns its call.
    pub(super) fn take_back(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId) -> Option<CallId> {
        let call = self.update(worker.id, |slot| slot.attempts.take_back(wire));
        self.start_timeouts_of_oldest_attempt(now, worker);
        call
    }
}
