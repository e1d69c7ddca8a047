//! The workers of a pool: the only owner of the slots, their processes and their attempts. Whatever changes one of them
//! goes through a method here, which also updates the numbers that follow from it.

use super::{
    Attempt, Escalation, Ping, Process, ProcessActivity, Slot, SlotHolder, WorkerState,
    counts::Counts,
    load_levels::LoadLevels,
    placement::{self, Placement},
};
use crate::{
    Generation, Timestamp, WireId, WorkerId, WorkerRef,
    derived::Derived,
    due::{Due, DueTimes},
    failure::{KillReason, ProcessExit},
};

/// The slots of a pool, base slots first, and the numbers over all of them.
///
/// # Invariants
/// - A process never has more unfinished attempts than its window ([I2](crate#invariants)).
/// - Only the latest process of a slot accepts attempts or holds any ([I4](crate#invariants)).
/// - The index follows from the slots and from the numbers of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Workers {
    slots: Vec<Slot>,
    /// Whether a worker that missed a ping gets no calls (`state_machine`).
    health_gated: bool,
    /// The window of a process that has not said that it accepts fewer calls.
    window: u32,
    index: Derived<Index>,
}

/// What follows from the slots, so that no decision about one call costs their number.
#[derive(Clone, Debug)]
struct Index {
    counts: Counts,
    levels: LoadLevels,
    /// Exists only in pools with affinity ([I5](crate#invariants)).
    placement: Option<Placement>,
    /// What is due first in each slot, apart from a scheduled start ([I8](crate#invariants)).
    due: DueTimes<(Timestamp, Due)>,
}

/// The state that a process had when it exited.
pub(crate) struct Exited {
    pub(crate) state: WorkerState,
    /// How it ended, with the reason for which the pool stopped it, if it did.
    pub(crate) end: ProcessExit,
    /// Since when it was ready, if it ever was.
    pub(crate) live_since: Option<Timestamp>,
    /// Its unfinished attempts, in no defined order.
    pub(crate) running: Vec<Attempt>,
}

/// The state that a process had before it was stopped.
pub(crate) enum BeforeStop {
    /// It was being stopped already.
    Stopping,
    /// It was not ready.
    Starting,
    /// It was ready, in this state.
    Live(WorkerState),
}

impl Workers {
    /// Returns slots without processes. `places_sessions` states whether the pool has affinity.
    pub(crate) fn new(base: u32, overflow: u32, window: u32, health_gated: bool, places_sessions: bool) -> Self {
        let worker = |id| WorkerRef { id: WorkerId(id), generation: Generation(0) };
        let slots: Vec<Slot> = (1..=base + overflow).map(|id| Slot::new(worker(id), id <= base)).collect();
        let index = Index {
            counts: count(&slots),
            levels: LoadLevels::new(slots.len(), window),
            placement: places_sessions.then(|| Placement::new(base as usize, overflow as usize)),
            due: DueTimes::default(),
        };
        Self { slots, health_gated, window, index: Derived(index) }
    }

    /// Continues the generations of earlier slots, so that none is used twice.
    pub(crate) fn continue_generations(&mut self, generations: Vec<Generation>) {
        for (slot, generation) in self.slots.iter_mut().zip(generations) {
            slot.worker.generation = generation;
        }
    }

    /// The only way in which a slot changes, except for its number of attempts.
    fn update<R>(&mut self, worker: WorkerId, change: impl FnOnce(&mut Slot) -> R) -> R {
        let slot = &mut self.slots[index(worker)];
        self.index.counts.remove(slot);
        let result = change(slot);
        self.index.counts.add(slot);
        self.index_load(worker);
        self.index_due(worker);
        result
    }

    /// Updates the choice of a worker after a change of this one.
    fn index_load(&mut self, worker: WorkerId) {
        let slot = &self.slots[index(worker)];
        let load = slot.accepts(self.health_gated).then(|| slot.in_flight());
        self.index.levels.put(index(worker), load);
        self.sessions_changed(worker);
    }

    /// Updates when something in this slot is due, after a change of it.
    fn index_due(&mut self, worker: WorkerId) {
        self.index.due.set(worker.0 - 1, self.slots[index(worker)].next_due());
    }

    fn set_process(&mut self, worker: WorkerId, process: Process) {
        self.update(worker, |slot| slot.process = process);
    }
}

/// Processes.
impl Workers {
    pub(crate) fn schedule(&mut self, worker: WorkerId, at: Timestamp) {
        self.set_process(worker, Process::Scheduled { at });
    }

    /// Cancels the start of a slot that is only scheduled.
    pub(crate) fn cancel_start(&mut self, worker: WorkerId) {
        if matches!(self.slot(worker).process, Process::Scheduled { .. }) {
            self.set_process(worker, Process::Absent);
        }
    }

    /// Cancels all scheduled starts of overflow workers.
    pub(crate) fn cancel_overflow_starts(&mut self) {
        while let Some(worker) = self.index.counts.overflow.scheduled.any() {
            self.set_process(worker, Process::Absent);
        }
    }

    /// Cancels all scheduled starts.
    pub(crate) fn cancel_starts(&mut self) {
        self.cancel_overflow_starts();
        while let Some(worker) = self.index.counts.base.scheduled.any() {
            self.set_process(worker, Process::Absent);
        }
    }

    /// Returns the first slot whose scheduled start is due: base workers first, so that overflow workers start only if
    /// the base workers leave room in the batch.
    pub(crate) fn next_start(&self, now: Timestamp) -> Option<WorkerId> {
        self.index.counts.base.scheduled.first_due(now).or_else(|| self.index.counts.overflow.scheduled.first_due(now))
    }

    /// Starts the next process of a slot and returns it. `until` is the time by which it must be ready.
    pub(crate) fn start(&mut self, worker: WorkerId, until: Timestamp) -> WorkerRef {
        self.update(worker, |slot| {
            // The generation changes before the start: from here on every binding to the previous process is void (I4).
            slot.worker.generation = Generation(slot.worker.generation.0 + 1);
            slot.process = Process::Starting { until };
            slot.worker
        })
    }

    /// Records that a starting process is ready. Returns false if there is no such process.
    pub(crate) fn ready(&mut self, now: Timestamp, worker: WorkerRef, window: u32, ping: Ping) -> bool {
        if !self.is_starting(worker) {
            return false;
        }
        // A worker may offer more calls than the settings allow, or none.
        let window = window.clamp(1, self.window.max(1));
        let idle_check = Derived(Timestamp::NEVER);
        let live =
            Process::Live { since: now, window, ping, misses: 0, unresponsive: None, idle_since: now, idle_check };
        self.set_process(worker.id, live);
        true
    }

    /// Records that a process is being stopped. Returns its state before, or `None` if there is no such process. The
    /// first reason is kept.
    pub(crate) fn stop(&mut self, worker: WorkerRef, kill_reason: KillReason) -> Option<BeforeStop> {
        let slot = self.current(worker)?;
        let before = slot.state(self.health_gated);
        let (live_since, before) = match slot.process {
            Process::Live { since, .. } => (Some(since), BeforeStop::Live(before)),
            Process::Starting { .. } => (None, BeforeStop::Starting),
            Process::Stopping { .. } => return Some(BeforeStop::Stopping),
            Process::Absent | Process::Scheduled { .. } => return None,
        };
        // From here on the process is not live: it gets no more calls, and bindings to it are void. Its slot stays
        // occupied until the exit, so that no successor starts while the process may still run.
        self.set_process(worker.id, Process::Stopping { live_since, kill_reason });
        Some(before)
    }

    /// Removes a process that has exited, and its attempts. Returns `None` if there is no such process.
    pub(crate) fn exited(&mut self, worker: WorkerRef, end: ProcessExit) -> Option<Exited> {
        let slot = self.current(worker).filter(|slot| slot.has_process())?;
        let state = slot.state(self.health_gated);
        let (live_since, kill_reason) = match slot.process {
            Process::Live { since, .. } => (Some(since), end.kill_reason),
            Process::Stopping { live_since, kill_reason } => (live_since, Some(kill_reason)),
            _ => (None, end.kill_reason),
        };
        let end = ProcessExit { kill_reason, ..end };
        let running = self.update(worker.id, |slot| {
            slot.process = Process::Absent;
            // Before the calls are answered: calls of sessions that were bound here report this exit.
            slot.last_end = Some((worker.generation, end));
            std::mem::take(&mut slot.running)
        });
        Some(Exited { state, end, live_since, running })
    }

    /// Sets when an overflow worker is examined, whether it has been idle long enough.
    pub(crate) fn set_idle_check(&mut self, worker: WorkerId, at: Timestamp) {
        self.update(worker, |slot| {
            if let Process::Live { idle_check, .. } = &mut slot.process {
                idle_check.0 = at;
            }
        });
    }

    /// Restarts the idle time of a worker.
    pub(crate) fn set_idle_since(&mut self, worker: WorkerId, now: Timestamp) {
        if let Process::Live { idle_since, .. } = &mut self.slots[index(worker)].process {
            *idle_since = now;
        }
    }
}

/// Attempts.
impl Workers {
    pub(crate) fn start_attempt(&mut self, worker: WorkerId, attempt: Attempt) {
        self.slots[index(worker)].running.push(attempt);
        self.index.counts.in_flight += 1;
        self.index_load(worker);
    }

    /// Removes an attempt of a process, if it is unfinished.
    pub(crate) fn finish_attempt(&mut self, worker: WorkerRef, wire: WireId) -> Option<Attempt> {
        let attempt = self.current_mut(worker)?.take_attempt(wire)?;
        self.index.counts.in_flight -= 1;
        self.index_load(worker.id);
        if attempt.due().is_some() {
            self.index_due(worker.id);
        }
        Some(attempt)
    }

    /// Sets the next step of stopping an attempt whose call is settled.
    pub(crate) fn set_escalation(&mut self, worker: WorkerId, wire: WireId, next: Escalation) {
        self.update(worker, |slot| {
            if let Some(attempt) = slot.running.iter_mut().find(|attempt| attempt.wire == wire) {
                attempt.holder = SlotHolder::Abandoned { next };
            }
        });
    }
}

/// Pings.
impl Workers {
    /// Replaces the state of the pings of a live process.
    pub(crate) fn set_ping(&mut self, worker: WorkerId, next: Ping) {
        self.update(worker, |slot| {
            if let Process::Live { ping, .. } = &mut slot.process {
                *ping = next;
            }
        });
    }

    /// Replaces what a live process does while it does not answer a ping. Returns the earlier value and the number of
    /// missed pings.
    pub(crate) fn set_unresponsive(
        &mut self,
        worker: WorkerId,
        activity: Option<ProcessActivity>,
    ) -> Option<(Option<ProcessActivity>, u32)> {
        let Process::Live { unresponsive, misses, .. } = &mut self.slots[index(worker)].process else { return None };
        Some((std::mem::replace(unresponsive, activity), *misses))
    }

    /// Counts a missed ping of a live process and returns their number.
    pub(crate) fn miss_ping(&mut self, worker: WorkerId) -> Option<u32> {
        self.update(worker, |slot| match &mut slot.process {
            Process::Live { misses, .. } => {
                *misses += 1;
                Some(*misses)
            }
            _ => None,
        })
    }

    /// Resets the missed pings of a live process and returns whether there were any.
    pub(crate) fn reset_misses(&mut self, worker: WorkerId) -> bool {
        self.update(worker, |slot| match &mut slot.process {
            Process::Live { misses, .. } => std::mem::take(misses) > 0,
            _ => false,
        })
    }
}

/// Questions.
impl Workers {
    /// Returns what is due first in any slot, and when. While `start_batch` processes are starting, no other start is
    /// due.
    pub(crate) fn next_due(&self, start_batch: usize) -> Option<(Timestamp, Due)> {
        let start = if self.starting() < start_batch { self.index.counts.next_start() } else { None };
        self.index.due.first().into_iter().chain(start).min()
    }

    /// Returns when anything is due first in any slot, or [`Timestamp::NEVER`].
    pub(crate) fn next_due_at(&self, start_batch: usize) -> Timestamp {
        let slot = self.index.due.first().map_or(Timestamp::NEVER, |(at, _)| at);
        match self.index.counts.next_start_at() {
            at if at < slot && self.starting() < start_batch => at,
            _ => slot,
        }
    }

    /// Returns the number of slots that are due at some time, apart from scheduled starts.
    pub(crate) fn due_len(&self) -> usize {
        self.index.due.len()
    }

    pub(crate) fn slot(&self, worker: WorkerId) -> &Slot {
        &self.slots[index(worker)]
    }

    /// Returns a slot, to change what is not derived from: its queue and its record of starts. The process and the
    /// attempts are private to this module.
    pub(crate) fn slot_mut(&mut self, worker: WorkerId) -> &mut Slot {
        &mut self.slots[index(worker)]
    }

    /// Returns a slot, if the pool has it.
    pub(crate) fn get(&self, worker: WorkerId) -> Option<&Slot> {
        self.slots.get((worker.0 as usize).checked_sub(1)?)
    }

    /// Returns the slot of a process, if the process is the latest of its slot.
    pub(crate) fn current(&self, worker: WorkerRef) -> Option<&Slot> {
        self.get(worker.id).filter(|slot| slot.worker == worker)
    }

    /// Returns an unfinished attempt of a process.
    pub(crate) fn attempt(&self, worker: WorkerRef, wire: WireId) -> Option<&Attempt> {
        self.current(worker)?.attempt(wire)
    }

    pub(crate) fn current_mut(&mut self, worker: WorkerRef) -> Option<&mut Slot> {
        self.slots.get_mut((worker.id.0 as usize).checked_sub(1)?).filter(|slot| slot.worker == worker)
    }

    /// Returns all slots, base slots first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns whether this process is ready, so that bindings to it are valid ([I4](crate#invariants)).
    pub(crate) fn is_alive(&self, worker: WorkerRef) -> bool {
        self.slot(worker.id).holds(worker)
    }

    /// Returns whether health decides which workers get calls (`state_machine`).
    pub(crate) fn is_health_gated(&self) -> bool {
        self.health_gated
    }

    /// Returns whether this process is starting and not being stopped.
    pub(crate) fn is_starting(&self, worker: WorkerRef) -> bool {
        self.current(worker).is_some_and(|slot| matches!(slot.process, Process::Starting { .. }))
    }

    /// Returns whether the slot can accept a call now.
    pub(crate) fn accepts(&self, worker: WorkerId) -> bool {
        self.slot(worker).accepts(self.health_gated)
    }

    /// Returns whether this process, the latest of its slot, can accept a call now.
    pub(crate) fn can_take(&self, worker: WorkerRef) -> bool {
        self.current(worker).is_some_and(|slot| slot.accepts(self.health_gated))
    }

    /// Returns the process with the fewest unfinished calls that can take a call; base workers first.
    pub(crate) fn least_loaded(&self) -> Option<WorkerRef> {
        self.index.levels.first(|slot| self.slots[slot].in_flight()).map(|slot| self.slots[slot].worker)
    }

    /// Returns the process for a new session: the one with the fewest sessions, then the fewest calls. An overflow
    /// worker only if no base worker is alive (R12): overflow workers are stopped when idle. `sessions` returns the
    /// number of sessions of a process.
    pub(crate) fn for_new_session(&mut self, sessions: impl Fn(WorkerRef) -> u32) -> Option<WorkerRef> {
        let (slots, health_gated, base_only) = (&self.slots, self.health_gated, self.live_base() > 0);
        let placement = self.index.0.placement.as_mut()?;
        let best = placement.best(base_only, |slot| placement_key(&slots[slot], health_gated, &sessions));
        best.map(|slot| slots[slot].worker)
    }

    /// Records that the number of sessions of this slot's process changed.
    pub(crate) fn sessions_changed(&mut self, worker: WorkerId) {
        if let Some(placement) = &mut self.index.placement {
            placement.mark(index(worker));
        }
    }

    /// Returns the base slots with neither a process nor a scheduled start. O(slots), or O(1) if there are none.
    pub(crate) fn absent_base(&self) -> impl Iterator<Item = &Slot> {
        let slots = if self.index.counts.base.absent > 0 { &self.slots[..] } else { &[] };
        slots.iter().filter(|slot| slot.base && matches!(slot.process, Process::Absent))
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

    /// Returns the number of base slots with neither a process nor a scheduled start.
    pub(crate) fn absent_base_len(&self) -> usize {
        self.index.counts.base.absent
    }

    /// Returns the number of processes that have not exited.
    pub(crate) fn processes(&self) -> usize {
        self.index.counts.processes()
    }

    /// Returns the number of unfinished attempts.
    pub(crate) fn in_flight(&self) -> usize {
        self.index.counts.in_flight
    }

    /// Returns the sum of the windows of the ready processes.
    pub(crate) fn capacity(&self) -> usize {
        self.index.counts.capacity
    }

    /// Returns the number of calls that the pool could run at the same time if all processes were ready.
    pub(crate) fn capacity_if_all_run(&self) -> usize {
        self.index.counts.capacity + (self.slots.len() - self.index.counts.live()) * self.window as usize
    }

    /// Returns the capacity of the starting processes.
    pub(crate) fn starting_capacity(&self) -> usize {
        self.index.counts.starting() * self.window as usize
    }

    /// Returns the capacity of the base workers that are starting or scheduled.
    pub(crate) fn coming_base_capacity(&self) -> usize {
        self.index.counts.base.starting_or_scheduled() * self.window as usize
    }

    /// Returns the capacity that is starting or scheduled. An overflow worker in backoff is included: otherwise each
    /// failed start would lead to another one at once. A base worker in backoff is not: until it starts, overflow
    /// workers replace it. O(log slots).
    pub(crate) fn coming_capacity(&self, now: Timestamp) -> usize {
        let Counts { base, overflow, .. } = &self.index.counts;
        (base.starting + base.scheduled.due(now) + overflow.starting_or_scheduled()) * self.window as usize
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
        let counted = count(&self.slots);
        if self.index.counts != counted {
            broken.push(format!("workers: {:?}, but the slots give {counted:?}", self.index.counts));
        }
        let mut levels = LoadLevels::new(self.slots.len(), self.window);
        for (place, slot) in self.slots.iter().enumerate() {
            levels.put(place, slot.accepts(self.health_gated).then(|| slot.in_flight()));
        }
        if self.index.levels != levels {
            broken.push(format!("workers: {:?}, but the slots give {levels:?}", self.index.levels));
        }
        let overfull = self.slots.iter().filter(|slot| slot.is_live() && slot.in_flight() > slot.window());
        broken.extend(overfull.map(|slot| format!("I2: {} has {} attempts", slot.worker, slot.in_flight())));
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
        let key_of = |slot: usize| placement_key(&self.slots[slot], self.health_gated, |worker| sessions(worker).0);
        if !placement.is_consistent(key_of, |slot| sessions(self.slots[slot].worker).1) {
            broken.push(format!("workers: {placement:?} does not follow from the slots"));
        }
    }
}

fn placement_key(slot: &Slot, health_gated: bool, sessions: impl Fn(WorkerRef) -> u32) -> u64 {
    match slot.accepts(health_gated) {
        true => placement::key(sessions(slot.worker), slot.in_flight()),
        false => placement::NEVER,
    }
}

fn count(slots: &[Slot]) -> Counts {
    let mut counts = Counts::default();
    slots.iter().for_each(|slot| counts.add(slot));
    counts
}

fn index(worker: WorkerId) -> usize {
    worker.0 as usize - 1
}
