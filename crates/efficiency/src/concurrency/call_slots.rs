//! Assigns each operation of a run to a call slot of its worker, and divides the time between two operations of a slot by
//! cause. Holds the state of one computation; does no I/O.

use super::{Interval, Losses, ObservedRun, ObservedWorker, Operation, interval_set::IntervalSet};
use herder_core::{Timestamp, WorkerId};
use std::time::Duration;

/// All call slots of a run.
pub(super) struct CallSlots<'a> {
    window: Interval,
    workers: Vec<Worker<'a>>,
}

/// The call slots of one worker, and the intervals in which the worker had no ready process.
struct Worker<'a> {
    id: WorkerId,
    starting: IntervalSet,
    call_slots: Vec<CallSlot<'a>>,
}

/// A place where one call at a time runs, with its operations in order of their start.
#[derive(Default)]
struct CallSlot<'a> {
    operations: Vec<&'a Operation>,
}

/// The causes of lost time that apply to all call slots alike, each with its intervals.
struct LossCauses {
    /// While at least one call waited in the pool.
    waiting: IntervalSet,
    /// After the last dispatch of the run.
    tail: IntervalSet,
    /// While at least one caller encoded arguments or decoded a result.
    encoding: IntervalSet,
}

impl<'a> CallSlots<'a> {
    /// Assigns each operation to the first free call slot of its worker. A worker that ran more calls at once than its
    /// concurrency allows gets additional slots.
    pub(super) fn of(observed: &'a ObservedRun) -> Self {
        let mut call_slots =
            Self { window: observed.window, workers: observed.workers.iter().map(Worker::new).collect() };
        let mut operations: Vec<&Operation> = observed.operations.iter().collect();
        // In order of their start: `is_free` compares only with the last operation of a slot.
        operations.sort_by_key(|operation| (operation.started, operation.ended));
        for operation in operations {
            call_slots.worker(operation.worker.id).assign(operation);
        }
        call_slots
    }

    pub(super) fn len(&self) -> usize {
        self.workers.iter().map(|worker| worker.call_slots.len()).sum()
    }

    /// Returns the time in which no operation ran, summed over all call slots, by cause.
    pub(super) fn gaps(&self, observed: &ObservedRun) -> Losses {
        let causes = LossCauses::of(observed);
        let mut losses = Losses::default();
        for (worker, call_slot) in
            self.workers.iter().flat_map(|worker| worker.call_slots.iter().map(move |call_slot| (worker, call_slot)))
        {
            for (before, gap, after) in call_slot.gaps(self.window) {
                causes.divide(&worker.starting, before, gap, after, &mut losses);
            }
        }
        losses
    }

    /// Returns the worker with this id. A worker that the run does not list is added without call slots; [`Worker::assign`]
    /// adds them.
    fn worker(&mut self, id: WorkerId) -> &mut Worker<'a> {
        let index = self.workers.iter().position(|worker| worker.id == id).unwrap_or(self.workers.len());
        if index == self.workers.len() {
            self.workers.push(Worker { id, starting: IntervalSet::default(), call_slots: Vec::new() });
        }
        &mut self.workers[index]
    }
}

impl<'a> Worker<'a> {
    fn new(observed: &ObservedWorker) -> Self {
        let mut call_slots = Vec::new();
        call_slots.resize_with(observed.concurrency.max(1), CallSlot::default);
        Self { id: observed.id, starting: IntervalSet::of(observed.starting.iter().copied()), call_slots }
    }

    fn assign(&mut self, operation: &'a Operation) {
        match self.call_slots.iter_mut().find(|call_slot| call_slot.is_free(operation.started)) {
            Some(free) => free.operations.push(operation),
            None => self.call_slots.push(CallSlot { operations: vec![operation] }),
        }
    }
}

impl CallSlot<'_> {
    fn is_free(&self, time: Timestamp) -> bool {
        self.operations.last().is_none_or(|last| last.ended <= time)
    }

    /// Returns the gaps before, between and after the operations of this slot, each with the operations before and after it.
    fn gaps(&self, window: Interval) -> impl Iterator<Item = (Option<&Operation>, Interval, Option<&Operation>)> {
        let operations = || self.operations.iter().copied();
        let before = std::iter::once(None).chain(operations().map(Some));
        let after = operations().map(Some).chain(std::iter::once(None));
        before.zip(after).map(move |(before, after)| {
            let from = before.map_or(window.started, |operation| operation.ended.0);
            let to = after.map_or(window.ended, |operation| operation.started.0);
            (before, Interval::between(Timestamp(from), Timestamp(to)).within(window), after)
        })
    }
}

impl LossCauses {
    fn of(observed: &ObservedRun) -> Self {
        let ObservedRun { window, operations, encoding, .. } = observed;
        let last_sent = operations.iter().map(|operation| operation.sent).max().unwrap_or(Timestamp(window.ended));
        Self {
            waiting: IntervalSet::of(
                operations.iter().map(|operation| Interval::between(operation.queued, operation.sent)),
            ),
            tail: IntervalSet::of([Interval::between(last_sent, Timestamp(window.ended))]),
            encoding: IntervalSet::of(encoding.iter().copied()),
        }
    }

    /// Divides one gap by cause. Each part of the gap counts for the first of the causes below that applies to it.
    fn divide(
        &self,
        starting: &IntervalSet,
        before: Option<&Operation>,
        gap: Interval,
        after: Option<&Operation>,
        losses: &mut Losses,
    ) {
        let returning = before.map(|operation| Interval::between(operation.ended, operation.answered));
        let outgoing = after.map(|operation| Interval::between(operation.sent, operation.started));
        let mut remaining = vec![gap];
        let mut claim = |spans: &IntervalSet| Duration::from_nanos(spans.remove_from(&mut remaining));
        // Each claim removes its part from `remaining`, so a later cause gets only what earlier ones left.
        losses.start_up += claim(starting);
        losses.dispatch += claim(&IntervalSet::of(returning.into_iter().chain(outgoing)));
        losses.queueing += claim(&self.waiting);
        losses.stragglers += claim(&self.tail);
        losses.serialization += claim(&self.encoding);
        losses.idle += Duration::from_nanos(remaining.iter().map(|piece| piece.length()).sum());
    }
}
