//! The workers of a pool: the only owner of the slots, their processes and their attempts. Whatever changes one of them
//! goes through a method here, which also updates the numbers that follow from it.

use super::{
    AnsweredAttempt, Attempt, Attempts, Capabilities, Ping, Process, Slot, WorkerState, counts::Counts,
    enhanced_state::EnhancedState, load_levels::LoadLevels, pace::Pace, placement::Placement,
};
use crate::{
    Answers, CallId, CancelSettings, Finished, Generation, HealthSettings, Pipeline, Settings, StopMethod, Timestamp,
    WireId, WorkerId, WorkerRef, WorkerTypeSettings,
    derived::Derived,
    due::{Due, DueTimes},
    failure::{KillReason, ProcessExit, WorkerLoss},
};
use std::{num::NonZeroU32, time::Duration};

/// The slots of a pool, base slots first, and the numbers over all of them. After them may follow one more base slot, which
/// the first reload adds.
///
/// # Invariants
/// - A process never has more unfinished invocations than its window ([I2](crate#invariants)).
/// - Only the latest process of a slot accepts attempts or holds any ([I4](crate#invariants)).
/// - The index follows from the slots and from the numbers of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Workers {
    pub(super) slots: Vec<Slot>,
    /// The base slot that is not used, if there is one more than the pool has base workers. During a reload, replacements
    /// start there, and the worker that is replaced ends there.
    vacant: Option<WorkerId>,
    pub(super) enhanced_state: EnhancedState,
    pub(super) next_nonce: u64,
    /// The window of a process that has not said that it accepts fewer calls.
    pub(super) window: u32,
    /// The largest number of processes that start at the same time.
    pub(super) start_batch: usize,
    /// The number of calls of such a process that count as running.
    pub(super) places: u32,
    pub(super) concurrency: u32,
    pub(super) pipeline: Pipeline,
    pub(super) start_timeout: Duration,
    pub(super) health: HealthSettings,
    pub(super) cancel: CancelSettings,
    pub(super) index: Derived<Index>,
}

/// What follows from the slots, so that no decision about one call costs their number.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) counts: Counts,
    pub(super) levels: LoadLevels,
    /// Exists only in pools with affinity ([I5](crate#invariants)).
    pub(super) placement: Option<Placement>,
    /// What is due first in each slot, apart from a scheduled start ([I8](crate#invariants)).
    pub(super) due: DueTimes<(Timestamp, Due)>,
    /// When anything is due first in any slot, or [`Timestamp::NEVER`]. Compared in each step.
    pub(super) next_due_at: Timestamp,
    /// The maximum number of attempts of a slot that count as running.
    places: u32,
}

/// A process that has exited, and what it had at that time.
pub(crate) struct DeadProcess {
    pub(crate) worker: WorkerRef,
    /// Its exit, with the reason for which the pool stopped it, if it did.
    pub(crate) exit: ProcessExit,
    /// Since when it was ready, if it ever was.
    pub(crate) live_since: Option<Timestamp>,
    /// Its unfinished attempts.
    pub(crate) attempts: Attempts,
    /// The maximum number of attempts that had begun and were not finished, if it began its attempts in order and all its
    /// answers were read and do not contradict that.
    pub(crate) in_order: Option<NonZeroU32>,
    /// The first of its attempts of which nothing was written to it.
    pub(crate) unwritten: Option<WireId>,
}

impl DeadProcess {
    /// Returns the loss as one of its calls reports it.
    pub(crate) fn loss(&self, may_have_run: bool) -> WorkerLoss {
        WorkerLoss { worker: self.worker, exit: Some(self.exit), may_have_run }
    }

    /// Returns whether one of its attempts may have begun. If the process began its attempts in order and all its answers
    /// were read, only the first of those that it has not finished may have begun. One that was not written never has.
    pub(crate) fn may_have_run(&self) -> impl Fn(&Attempt) -> bool + use<> {
        let all = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX);
        self.may_run(self.in_order.map_or(all, NonZeroU32::get))
    }

    /// Returns whether one of its attempts may have begun, if it ran at most this many at once.
    pub(crate) fn may_run(&self, concurrency: u32) -> impl Fn(&Attempt) -> bool + use<> {
        let (unwritten, may_run) = (self.unwritten, self.attempts.may_run(concurrency));
        // The attempts of a process are written in the order of their wire ids.
        move |attempt| unwritten.is_none_or(|first| attempt.wire < first) && may_run(attempt)
    }
}

/// The state that a process had before it was stopped.
pub(crate) enum BeforeStop {
    /// It was being stopped already, for this reason and by this method.
    Stopping(KillReason, StopMethod),
    /// It was not ready.
    Starting,
    /// It was ready.
    Live,
}

impl Workers {
    /// Returns slots without processes.
    pub(crate) fn new(settings: &Settings) -> Self {
        let (base, total) = (settings.pool_size, settings.pool_size + settings.overflow);
        let worker = |id| WorkerRef { id: WorkerId(id), generation: Generation(0) };
        let slots: Vec<Slot> = (1..=total).map(|id| Slot::new(worker(id), id <= base)).collect();
        let has_affinity =
            matches!(settings.worker_type, WorkerTypeSettings::Enhanced { session_affinity: Some(_), .. });
        let index = Index {
            counts: count(&slots),
            levels: LoadLevels::new(slots.len(), loads(settings.window(), settings.places())),
            placement: has_affinity.then(|| Placement::new(base as usize, settings.overflow as usize)),
            due: DueTimes::default(),
            next_due_at: Timestamp::NEVER,
            places: settings.places(),
        };
        Self {
            enhanced_state: EnhancedState::new(settings, slots.len()),
            slots,
            vacant: None,
            next_nonce: 0,
            window: settings.window(),
            start_batch: settings.start_batch as usize,
            places: settings.places(),
            concurrency: settings.concurrency,
            pipeline: settings.pipeline,
            start_timeout: settings.start_timeout,
            health: settings.health.clone(),
            cancel: settings.cancel.clone(),
            index: Derived(index),
        }
    }

    /// Adds the base slot that replacements need. O(slots).
    pub(crate) fn add_vacant_slot(&mut self) {
        let id = WorkerId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX).saturating_add(1));
        let slot = Slot::new(WorkerRef { id, generation: Generation(0) }, true);
        self.index.counts.add(&slot);
        self.slots.push(slot);
        self.enhanced_state.add_slot();
        self.vacant = Some(id);
        self.index.levels = LoadLevels::new(self.slots.len(), loads(self.window, self.places));
        self.index.placement.iter_mut().for_each(Placement::add_base_slot);
        let Self { index, slots, .. } = self;
        slots.iter().for_each(|slot| index.put_load(slot));
    }

    /// Returns the base slot that is not used, if the pool has one.
    pub(crate) fn vacant(&self) -> Option<WorkerId> {
        self.vacant
    }

    /// Sets the number that the next process of a slot is told.
    pub(crate) fn set_number(&mut self, worker: WorkerId, number: u32) {
        self.update(worker, |slot| slot.number = number);
    }

    /// Makes another base slot the one that is not used.
    pub(crate) fn set_vacant(&mut self, worker: WorkerId) {
        self.vacant = Some(worker);
    }

    /// Continues the generations of earlier slots, so that none is used twice.
    pub(crate) fn continue_generations(&mut self, generations: Vec<Generation>) {
        for (slot, generation) in self.slots.iter_mut().zip(generations) {
            slot.worker.generation = generation;
        }
    }

    /// The only way in which a slot changes, except for its number of attempts.
    pub(super) fn update<R>(&mut self, worker: WorkerId, change: impl FnOnce(&mut Slot) -> R) -> R {
        let health_gated = self.is_health_gated();
        let slot = &mut self.slots[index(worker)];
        self.index.counts.remove(slot);
        let result = change(slot);
        slot.update_limit(health_gated);
        self.index.counts.add(slot);
        self.index_load(worker);
        self.index_due(worker);
        result
    }

    /// Updates the choice of a worker after a change of this one.
    #[inline(always)]
    fn index_load(&mut self, worker: WorkerId) {
        self.index.put_load(&self.slots[index(worker)]);
    }

    /// Updates when something in this slot is due, after a change of it.
    fn index_due(&mut self, worker: WorkerId) {
        self.index.due.set(worker.0 - 1, self.slots[index(worker)].next_due());
        self.index.next_due_at = self.next_due().map_or(Timestamp::NEVER, |(at, _)| at);
    }

    fn set_process(&mut self, worker: WorkerId, process: Process) {
        self.update(worker, |slot| slot.process = process);
    }
}

/// Processes.
impl Workers {
    /// Schedules the next start of a slot.
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

    /// Starts the next process of a slot and returns it.
    pub(crate) fn start(&mut self, now: Timestamp, worker: WorkerId) -> WorkerRef {
        self.enhanced_state.begin(index(worker), now);
        let until = now + self.start_timeout;
        self.update(worker, |slot| {
            // The generation changes before the start: from here on every binding to the previous process is void (I4).
            slot.worker.generation = Generation(slot.worker.generation.0 + 1);
            slot.process = Process::Starting { until };
            slot.worker
        })
    }

    /// Records that a starting process is ready. Returns false if there is no such process.
    pub(crate) fn ready(&mut self, now: Timestamp, worker: WorkerRef, process: Capabilities) -> bool {
        if !self.is_starting(worker) {
            return false;
        }
        // A worker may offer more calls than the settings allow, or none.
        let process = Capabilities { window: process.window.clamp(1, self.window.max(1)), ..process };
        let ping = if process.control { Ping::Due { at: now + self.health.interval } } else { Ping::Off };
        let idle_check = Derived(Timestamp::NEVER);
        let live = Process::Live { since: now, ping, misses: 0, unresponsive: None, idle_since: now, idle_check };
        let pace = Pace::new(self.pipeline, self.concurrency, process);
        self.update(worker.id, |slot| (slot.process, slot.pace) = (live, pace));
        self.record(now, worker.id, WorkerState::Initializing, WorkerState::Ready, "ready");
        true
    }

    /// Records that a process is being stopped. Returns its state before, or `None` if there is no such process. The
    /// first reason is kept, and the fastest method.
    pub(crate) fn stop(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        kill_reason: KillReason,
        method: StopMethod,
    ) -> Option<BeforeStop> {
        let slot = self.current(worker)?;
        let state = slot.state(self.is_health_gated());
        let (live_since, before) = match slot.process {
            Process::Live { since, .. } => (Some(since), BeforeStop::Live),
            Process::Starting { .. } => (None, BeforeStop::Starting),
            Process::Stopping { live_since, kill_reason, method: before } => {
                let method = method.max(before);
                self.set_process(worker.id, Process::Stopping { live_since, kill_reason, method });
                return Some(BeforeStop::Stopping(kill_reason, before));
            }
            Process::Absent | Process::Scheduled { .. } => return None,
        };
        if live_since.is_some() {
            self.record(now, worker.id, state, WorkerState::Terminating, "stop requested");
        }
        // From here on the process is not live: it gets no more calls, and bindings to it are void. Its slot stays
        // occupied until the exit, so that no successor starts while the process may still run.
        self.set_process(worker.id, Process::Stopping { live_since, kill_reason, method });
        Some(before)
    }

    /// Removes a process that has exited, and its attempts. Returns `None` if there is no such process.
    pub(crate) fn exited(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        exit: ProcessExit,
        answers: Answers,
        unwritten: Option<WireId>,
    ) -> Option<DeadProcess> {
        let slot = self.current(worker).filter(|slot| slot.has_process())?;
        let state = slot.state(self.is_health_gated());
        let (live_since, kill_reason) = match slot.process {
            Process::Live { since, .. } => (Some(since), exit.kill_reason),
            Process::Stopping { live_since, kill_reason, .. } => (live_since, Some(kill_reason)),
            _ => (None, exit.kill_reason),
        };
        let in_order = slot.pace.in_order().filter(|_| answers == Answers::ReadToEnd);
        let in_order = in_order.filter(|at_once| !slot.attempts.contradict_order(at_once.get()));
        let exit = ProcessExit { kill_reason, ..exit };
        self.record_exit(now, worker.id, state, live_since);
        let attempts = self.update(worker.id, |slot| {
            (slot.process, slot.pace) = (Process::Absent, Pace::default());
            // Before the calls are answered: calls of sessions that were bound here report this exit.
            slot.last_exit = Some((worker.generation, exit));
            std::mem::take(&mut slot.attempts)
        });
        Some(DeadProcess { worker, exit, live_since, attempts, in_order, unwritten })
    }

    /// Stops relying on what a process stated about the order of its calls, after it did otherwise. It is sent no more calls in
    /// advance, and at its exit each unfinished call may have run.
    #[cold]
    pub(crate) fn distrust_order(&mut self, worker: WorkerRef) {
        if self.current(worker).is_some_and(|slot| slot.pace.in_order().is_some()) {
            self.update(worker.id, |slot| slot.pace.distrust_order());
        }
    }

    fn record_exit(&mut self, now: Timestamp, worker: WorkerId, state: WorkerState, live_since: Option<Timestamp>) {
        if live_since.is_none() {
            return self.record(now, worker, WorkerState::Initializing, WorkerState::Terminated, "start failed");
        }
        if state != WorkerState::Terminating {
            self.record(now, worker, state, WorkerState::Terminating, "process exited");
        }
        self.record(now, worker, WorkerState::Terminating, WorkerState::Terminated, "process reaped");
    }

    pub(super) fn record(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        from: WorkerState,
        to: WorkerState,
        reason: &'static str,
    ) {
        self.enhanced_state.record(index(worker), from, to, reason, now);
    }

    /// Sets when an overflow worker is examined, whether it has been idle long enough.
    pub(crate) fn set_idle_check(&mut self, worker: WorkerId, at: Timestamp) {
        self.update(worker, |slot| {
            if let Process::Live { idle_check, .. } = &mut slot.process {
                idle_check.0 = at;
            }
        });
    }
}

/// Attempts.
impl Workers {
    /// Adds an attempt that is sent to a process with a [free place](Slot::has_place).
    #[inline(always)]
    pub(crate) fn start_attempt_at_once(&mut self, worker: WorkerId, attempt: Attempt) {
        let slot = &mut self.slots[index(worker)];
        debug_assert!(slot.has_place(), "{worker} has no free place");
        slot.attempts.push_begun(attempt);
        self.index.counts.in_flight += 1;
        self.index.put_load(slot);
    }

    /// Adds an attempt that is sent to its process. Returns whether it is in advance.
    pub(crate) fn start_attempt(&mut self, now: Timestamp, worker: WorkerId, attempt: Attempt) -> bool {
        let slot = &mut self.slots[index(worker)];
        let before = slot.attempts.in_advance();
        let is_in_advance = slot.attempts.push(attempt, slot.pace.places());
        self.index.counts.in_flight += 1;
        self.index.put_load(slot);
        if is_in_advance {
            self.in_advance_changed(now, worker, before);
        }
        is_in_advance
    }

    /// Adds the attempts of a batch that is sent to a process with a [free place](Slot::has_place).
    pub(crate) fn start_batch(&mut self, worker: WorkerId, attempts: Vec<Attempt>) {
        let slot = &mut self.slots[index(worker)];
        debug_assert!(slot.has_place(), "{worker} has no free place");
        self.index.counts.in_flight += attempts.len();
        slot.attempts.push_batch(attempts);
        self.index.put_load(slot);
    }

    /// Removes the attempt whose final frame has arrived, if it is the only one of its process, answers its call, and
    /// nothing else of the process changes: by far the most frequent case. Otherwise changes nothing and returns `None`:
    /// then [`finish_attempt`](Self::finish_attempt) removes it.
    #[inline(always)]
    pub(crate) fn finish_only_attempt(&mut self, now: Timestamp, finished: Finished) -> Option<AnsweredAttempt> {
        let Finished { worker, wire, ok, ran } = finished;
        let slot = self.slots.get_mut(index(worker.id)).filter(|slot| slot.worker == worker)?;
        let answered = slot.attempts.remove_only(wire)?;
        // Before the load is updated, which depends on the limit.
        slot.observe(ran);
        slot.count_finished(now);
        self.index.counts.in_flight -= 1;
        self.index.put_load(slot);
        self.enhanced_state.count(index(worker.id), now.nanos_since(answered.since), ok);
        Some(answered)
    }

    /// Removes an attempt of a process whose final frame has arrived. Also returns how many calls its invocation has run.
    /// Returns `None` if it is not unfinished.
    pub(crate) fn finish_attempt(&mut self, now: Timestamp, finished: Finished) -> Option<(Attempt, u32)> {
        let Finished { worker, wire, ok, ran } = finished;
        let size = self.current(worker)?.attempts.batch_size(wire);
        let (attempt, slot) = self.remove_attempt(now, worker, wire, ran)?;
        if attempt.is_given_back(ok, ran) {
            slot.set_idle_since(now);
        } else {
            slot.count_finished(now);
            self.enhanced_state.count(index(worker.id), now.nanos_since(attempt.since), ok);
        }
        Some((attempt, size))
    }

    /// Records that a process sent a chunk of an attempt. Returns its call, or `None` within if that is settled; `None` if there
    /// is no such attempt.
    pub(crate) fn chunk_arrived(&mut self, worker: WorkerRef, wire: WireId) -> Option<Option<CallId>> {
        self.current(worker)?;
        self.update(worker.id, |slot| slot.attempts.chunk_arrived(wire))
    }

    /// Removes an attempt that was not sent to its process.
    pub(crate) fn take_back_attempt(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId) -> Option<Attempt> {
        let overtook = self.current(worker)?.attempts.overtook();
        let (attempt, slot) = self.remove_attempt(now, worker, wire, Duration::ZERO)?;
        // The process never had it, so this is no answer before those of older attempts.
        slot.attempts.set_overtook(overtook);
        Some(attempt)
    }

    fn remove_attempt(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        wire: WireId,
        ran: Duration,
    ) -> Option<(Attempt, &mut Slot)> {
        let slot = self.slots.get_mut(index(worker.id)).filter(|slot| slot.worker == worker)?;
        let (has_abandoned, before) = (slot.attempts.has_abandoned(), slot.attempts.in_advance());
        let attempt = slot.attempts.remove(wire)?;
        // Before the load is updated, which depends on the limit.
        slot.observe(if attempt.is_stream { Duration::ZERO } else { ran });
        self.index.counts.in_flight -= 1;
        self.index.put_load(slot);
        if !before.is_empty() {
            self.in_advance_changed(now, worker.id, before);
        }
        if has_abandoned {
            // An abandoned attempt may have had a time. With this attempt gone, another one may be the oldest, and its
            // timeouts must start (I8).
            self.index_due(worker.id);
            self.start_timeouts_of_oldest_attempt(now, worker);
        }
        Some((attempt, &mut self.slots[index(worker.id)]))
    }
}

impl Index {
    /// Updates the choice of a worker after a change of this slot.
    #[inline(always)]
    fn put_load(&mut self, slot: &Slot) {
        let place = index(slot.worker.id);
        self.levels.put(place, slot.load(self.places));
        if let Some(placement) = &mut self.placement {
            placement.mark(place);
        }
    }
}

pub(super) fn count(slots: &[Slot]) -> Counts {
    let mut counts = Counts::default();
    slots.iter().for_each(|slot| counts.add(slot));
    counts
}

/// Returns the number of different loads of slots that accept a call, if they have this window and these places.
pub(super) fn loads(window: u32, places: u32) -> u32 {
    if window == places { window } else { window.saturating_add(places) }
}

/// Returns the place of a slot. No slot has the id 0, so its place is beyond all slots.
#[inline]
pub(super) fn index(worker: WorkerId) -> usize {
    worker.0.wrapping_sub(1) as usize
}
