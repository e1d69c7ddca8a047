//! The questions that the rest of the pool asks about its workers. Nothing here changes a worker, except that a choice for
//! a new session brings the tournament up to date.

use super::{
    Process, Slot, Transition, WorkerMetrics, Workers,
    load_levels::LoadLevels,
    placement,
    workers::{count, index, loads},
};
use crate::{Timestamp, WorkerId, WorkerRef, due::Due};

/// Questions.
impl Workers {
    #[inline]
    pub(crate) fn slot(&self, worker: WorkerId) -> &Slot {
        &self.slots[index(worker)]
    }

    /// Returns a slot, if the pool has it.
    pub(crate) fn get(&self, worker: WorkerId) -> Option<&Slot> {
        self.slots.get(index(worker))
    }

    /// Returns the slot of a process, if the process is the latest of its slot.
    #[inline]
    pub(crate) fn current(&self, worker: WorkerRef) -> Option<&Slot> {
        self.get(worker.id).filter(|slot| slot.worker == worker)
    }

    #[inline]
    pub(super) fn current_mut(&mut self, worker: WorkerRef) -> Option<&mut Slot> {
        self.slots.get_mut(index(worker.id)).filter(|slot| slot.worker == worker)
    }

    /// Returns all slots, base slots first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns whether this process is ready, so that bindings to it are valid ([I4](crate#invariants)).
    #[inline]
    pub(crate) fn is_alive(&self, worker: WorkerRef) -> bool {
        self.slot(worker.id).holds(worker)
    }

    /// Returns whether health decides which workers get calls (`state_machine`).
    #[inline]
    pub(crate) fn is_health_gated(&self) -> bool {
        self.enhanced_state.has_history()
    }

    /// Returns the metrics of a slot, in a pool with `worker_metrics`.
    pub(crate) fn metrics_of(&self, worker: WorkerId) -> Option<&WorkerMetrics> {
        self.enhanced_state.metrics_of(index(worker))
    }

    /// Returns the last transitions of a slot, the oldest first, or `None` in a pool without `state_machine`.
    pub(crate) fn transitions(&self, worker: WorkerId) -> Option<impl Iterator<Item = &Transition>> {
        self.enhanced_state.transitions((worker.0 as usize).checked_sub(1)?)
    }

    pub(crate) fn has_metrics(&self) -> bool {
        self.enhanced_state.has_metrics()
    }

    /// Returns what is due first in any slot, and when. While `start_batch` processes are starting, no other start is
    /// due.
    pub(crate) fn next_due(&self) -> Option<(Timestamp, Due)> {
        let start = if self.starting() < self.start_batch { self.index.counts.next_start() } else { None };
        self.index.due.first().into_iter().chain(start).min()
    }

    /// Returns when anything is due first in any slot, or [`Timestamp::NEVER`].
    #[inline]
    pub(crate) fn next_due_at(&self) -> Timestamp {
        self.index.next_due_at
    }

    /// Returns the number of slots that are due at some time, apart from scheduled starts.
    pub(crate) fn due_len(&self) -> usize {
        self.index.due.len()
    }

    /// Returns since when a worker has been ready and without attempts, if it is.
    pub(crate) fn idle_since(&self, worker: WorkerRef) -> Option<Timestamp> {
        match *self.current(worker)?.process() {
            Process::Live { idle_since, .. } if self.slot(worker.id).attempts.is_empty() => Some(idle_since),
            _ => None,
        }
    }

    /// Returns whether this process is starting and not being stopped.
    pub(crate) fn is_starting(&self, worker: WorkerRef) -> bool {
        self.current(worker).is_some_and(|slot| matches!(slot.process, Process::Starting { .. }))
    }

    /// Returns whether the slot can accept a call now.
    pub(crate) fn accepts(&self, worker: WorkerId) -> bool {
        self.slot(worker).accepts()
    }

    /// Returns whether the slot can run one more call at once.
    #[inline]
    pub(crate) fn has_place(&self, worker: WorkerId) -> bool {
        self.slot(worker).has_place()
    }

    /// Returns whether this process, the latest of its slot, can run one more call at once.
    #[inline]
    pub(crate) fn can_take(&self, worker: WorkerRef) -> bool {
        self.current(worker).is_some_and(Slot::has_place)
    }

    /// Returns the process with the fewest unfinished calls that can run one more at once; base workers first.
    #[inline(always)]
    pub(crate) fn least_loaded(&self) -> Option<WorkerRef> {
        self.first_that_accepts().filter(|slot| slot.has_place()).map(|slot| slot.worker)
    }

    /// Returns the slot that accepts a call, at once or else in advance, and has the lowest load; base workers first.
    #[inline(always)]
    pub(super) fn first_that_accepts(&self) -> Option<&Slot> {
        self.index
            .levels
            .first(|slot| self.slots[slot].load(self.places).unwrap_or(u32::MAX))
            .map(|slot| &self.slots[slot])
    }

    /// Returns the process for a new session: the one with the fewest sessions, then the fewest calls. An overflow
    /// worker only if no base worker is alive (R12): overflow workers are stopped when idle. `sessions` returns the
    /// number of sessions of a process.
    pub(crate) fn for_new_session(&mut self, sessions: impl Fn(WorkerRef) -> u32) -> Option<WorkerRef> {
        let base_only = self.live_base() > 0;
        let slots = &self.slots;
        let placement = self.index.0.placement.as_mut()?;
        let best = placement.best(base_only, |slot| placement_key(&slots[slot], &sessions));
        best.map(|slot| slots[slot].worker)
    }

    /// Records that the number of sessions of this slot's process changed.
    #[inline]
    pub(crate) fn sessions_changed(&mut self, worker: WorkerId) {
        if let Some(placement) = &mut self.index.placement {
            placement.mark(index(worker));
        }
    }

    /// Returns the base slots with neither a process nor a scheduled start, except for the vacant one. O(slots), or O(1) if there are none.
    pub(crate) fn absent_base(&self) -> impl Iterator<Item = &Slot> {
        let slots = if self.absent_base_len() > 0 { &self.slots[..] } else { &[] };
        let is_absent = |slot: &&Slot| slot.base && matches!(slot.process, Process::Absent);
        slots.iter().filter(is_absent).filter(|slot| self.vacant() != Some(slot.worker.id))
    }

    /// Returns the overflow slots with neither a process nor a scheduled start. O(slots), or O(1) if there are none.
    pub(crate) fn absent_overflow(&self) -> impl Iterator<Item = &Slot> {
        let slots = if self.index.counts.overflow.absent > 0 { &self.slots[..] } else { &[] };
        slots.iter().filter(|slot| !slot.base && matches!(slot.process, Process::Absent))
    }
}

/// Numbers over all slots. Each costs O(1), unless it says otherwise.
impl Workers {
    /// Returns the number of ready processes.
    pub(crate) fn live(&self) -> usize {
        self.index.counts.live()
    }

    pub(crate) fn live_base(&self) -> usize {
        self.index.counts.base.live
    }

    pub(crate) fn starting(&self) -> usize {
        self.index.counts.starting()
    }

    /// Returns the number of base slots with neither a process nor a scheduled start, except for the vacant one.
    pub(crate) fn absent_base_len(&self) -> usize {
        let is_absent = |vacant: &WorkerId| matches!(self.slot(*vacant).process, Process::Absent);
        self.index.counts.base.absent - usize::from(self.vacant().as_ref().is_some_and(is_absent))
    }

    /// Returns the number of processes that have not exited.
    pub(crate) fn processes(&self) -> usize {
        self.index.counts.processes()
    }

    /// Returns the number of unfinished attempts.
    pub(crate) fn in_flight(&self) -> usize {
        self.index.counts.in_flight
    }

    /// Returns the number of attempts that count as begun. O(slots).
    pub(crate) fn begun(&self) -> usize {
        self.slots.iter().map(|slot| slot.attempts.begun() as usize).sum()
    }

    /// Returns the sum of the places of the ready processes: how many calls run at the same time.
    pub(crate) fn capacity(&self) -> usize {
        self.index.counts.capacity
    }

    /// Returns the number of calls that the pool could run at the same time if all processes were ready.
    pub(crate) fn capacity_if_all_run(&self) -> usize {
        let slots = self.slots.len() - usize::from(self.vacant().is_some());
        self.index.counts.capacity + slots.saturating_sub(self.index.counts.live()) * self.places as usize
    }

    /// Returns the capacity of the starting processes.
    pub(crate) fn starting_capacity(&self) -> usize {
        self.index.counts.starting() * self.places as usize
    }

    /// Returns the capacity of the base workers that are starting or scheduled.
    pub(crate) fn coming_base_capacity(&self) -> usize {
        self.index.counts.base.starting_or_scheduled() * self.places as usize
    }

    /// Returns the capacity that is starting or scheduled. An overflow worker in backoff is included: otherwise each
    /// failed start would lead to another one at once. A base worker in backoff is not: until it starts, overflow
    /// workers replace it. O(log slots).
    pub(crate) fn coming_capacity(&self, now: Timestamp) -> usize {
        let (base, overflow) = (&self.index.counts.base, &self.index.counts.overflow);
        (base.starting + base.scheduled.due(now) + overflow.starting_or_scheduled()) * self.places as usize
    }

    /// Returns whether an overflow slot has neither a process nor a scheduled start.
    pub(crate) fn has_absent_overflow(&self) -> bool {
        self.index.counts.overflow.absent > 0
    }

    pub(crate) fn overflow_is_starting_or_scheduled(&self) -> bool {
        self.index.counts.overflow.starting_or_scheduled() > 0
    }

    /// Returns whether a base worker is scheduled, starting, or being stopped before it was ready.
    pub(crate) fn base_start_is_pending(&self) -> bool {
        self.index.counts.base.starting_or_scheduled() + self.index.counts.base.stopping_unready > 0
    }

    /// Reports each invariant that does not hold. For tests.
    pub(crate) fn verify(&self, broken: &mut Vec<String>) {
        let due = self.slots.iter().filter_map(|slot| Some((slot.next_due()?, slot.worker.id.0 - 1)));
        self.index.due.verify("slots", due, broken);
        if self.next_due().map_or(Timestamp::NEVER, |(at, _)| at) != self.index.next_due_at {
            broken.push(format!("I8: {:?} is not when a slot is due", self.index.next_due_at));
        }
        let counted = count(&self.slots);
        if self.index.counts != counted {
            broken.push(format!("workers: {:?}, but the slots give {counted:?}", self.index.counts));
        }
        let mut levels = LoadLevels::new(self.slots.len(), loads(self.window, self.places));
        for (place, slot) in self.slots.iter().enumerate() {
            levels.put(place, slot.load(self.places));
        }
        let outdated = self.slots.iter().filter(|slot| !slot.is_limit_current(self.is_health_gated()));
        broken.extend(outdated.map(|slot| format!("{} accepts calls against the state of its process", slot.worker)));
        if self.index.levels != levels {
            broken.push(format!("workers: {:?}, but the slots give {levels:?}", self.index.levels));
        }
        let overfull =
            self.slots.iter().filter(|slot| slot.is_live() && slot.attempts.count() as usize > slot.window());
        broken.extend(overfull.map(|slot| format!("I2: {} has {} invocations", slot.worker, slot.attempts.count())));
        let inconsistent =
            self.slots.iter().filter(|slot| !slot.attempts.is_consistent() || !slot.is_pace_consistent());
        broken.extend(inconsistent.map(|slot| format!("{slot:?} is not consistent")));
        let idle = self.slots.iter().filter(|slot| slot.attempts.without_timeouts() != (None, None));
        broken.extend(idle.map(|slot| format!("I8: {}: an abandoned attempt has no timeout", slot.worker)));
        let orphaned = self.slots.iter().filter(|slot| !slot.has_process() && slot.in_flight() > 0);
        broken.extend(orphaned.map(|slot| format!("I4: {} has attempts but no process", slot.worker)));
    }
}

/// Checks of the choice for new sessions, for tests.
impl Workers {
    /// Reports a choice for a new session that does not follow from the slots. `sessions` returns the number of sessions
    /// of a process, and whether a change of it was not reported yet.
    pub(crate) fn verify_placement(&self, sessions: impl Fn(WorkerRef) -> (u32, bool), broken: &mut Vec<String>) {
        let Some(placement) = &self.index.placement else { return };
        let key_of = |slot: usize| placement_key(&self.slots[slot], |worker| sessions(worker).0);
        if !placement.is_consistent(key_of, |slot| sessions(self.slots[slot].worker).1) {
            broken.push(format!("workers: {placement:?} does not follow from the slots"));
        }
    }
}

fn placement_key(slot: &Slot, sessions: impl Fn(WorkerRef) -> u32) -> u64 {
    match slot.has_place() {
        true => placement::key(sessions(slot.worker), slot.in_flight()),
        false => placement::NEVER,
    }
}
