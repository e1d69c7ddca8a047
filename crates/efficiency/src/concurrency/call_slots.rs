//! Lanes: the places where calls can run. Each operation is laid into one of its worker's lanes, and what lies between two
//! operations of a lane is divided by its causes.

use super::{Interval, Losses, ObservedRun, ObservedWorker, Operation, interval_set::IntervalSet};
use herder_core::{Timestamp, WorkerId};
use std::time::Duration;

/// The lanes of a run.
pub(super) struct CallSlots<'a> {
    window: Interval,
    workers: Vec<Worker<'a>>,
}

/// A worker's lanes, and when it had no process that was ready.
struct Worker<'a> {
    id: WorkerId,
    starting: IntervalSet,
    call_slots: Vec<CallSlot<'a>>,
}

/// One place where one call at a time runs.
#[derive(Default)]
struct CallSlot<'a> {
    operations: Vec<&'a Operation>,
}

/// What keeps all lanes alike from working.
struct LossCauses {
    waiting: IntervalSet,
    tail: IntervalSet,
    encoding: IntervalSet,
}

impl<'a> CallSlots<'a> {
    /// Lays each operation into the first lane of its worker that is free; a worker that ran more at once than it should has more lanes.
    pub(super) fn of(observed: &'a ObservedRun) -> Self {
        let mut call_slots =
            Self { window: observed.window, workers: observed.workers.iter().map(Worker::seen).collect() };
        let mut operations: Vec<&Operation> = observed.operations.iter().collect();
        operations.sort_by_key(|operation| (operation.started, operation.ended));
        for operation in operations {
            call_slots.worker(operation.worker.id).take(operation);
        }
        call_slots
    }

    pub(super) fn len(&self) -> usize {
        self.workers.iter().map(|worker| worker.call_slots.len()).sum()
    }

    /// The times of all lanes in which nothing ran, by cause.
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

    /// A worker that nobody listed has no lane yet.
    fn worker(&mut self, id: WorkerId) -> &mut Worker<'a> {
        let at = self.workers.iter().position(|worker| worker.id == id).unwrap_or(self.workers.len());
        if at == self.workers.len() {
            self.workers.push(Worker { id, starting: IntervalSet::default(), call_slots: Vec::new() });
        }
        &mut self.workers[at]
    }
}

impl<'a> Worker<'a> {
    fn seen(seen: &ObservedWorker) -> Self {
        let mut call_slots = Vec::new();
        call_slots.resize_with(seen.concurrency.max(1), CallSlot::default);
        Self { id: seen.worker, starting: IntervalSet::of(seen.starting.iter().copied()), call_slots }
    }

    fn take(&mut self, operation: &'a Operation) {
        match self.call_slots.iter_mut().find(|call_slot| call_slot.is_free(operation.started)) {
            Some(free) => free.operations.push(operation),
            None => self.call_slots.push(CallSlot { operations: vec![operation] }),
        }
    }
}

impl CallSlot<'_> {
    fn is_free(&self, at: Timestamp) -> bool {
        self.operations.last().is_none_or(|last| last.ended <= at)
    }

    /// What lies before, between and after its operations, with its neighbours.
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

    /// Divides one gap: each moment goes to the first cause that claims it.
    fn divide(
        &self,
        starting: &IntervalSet,
        before: Option<&Operation>,
        gap: Interval,
        after: Option<&Operation>,
        losses: &mut Losses,
    ) {
        let back = before.map(|operation| Interval::between(operation.ended, operation.answered));
        let way = after.map(|operation| Interval::between(operation.sent, operation.started));
        let mut left = vec![gap];
        let mut take = |spans: &IntervalSet| Duration::from_nanos(spans.take_from(&mut left));
        losses.start_up += take(starting);
        losses.dispatch += take(&IntervalSet::of(back.into_iter().chain(way)));
        losses.queueing += take(&self.waiting);
        losses.stragglers += take(&self.tail);
        losses.serialization += take(&self.encoding);
        losses.idle += Duration::from_nanos(left.iter().map(|piece| piece.length()).sum());
    }
}
