//! The waiting calls of batched commands: when a batch is due, and which call is next in it. Knows neither which workers are
//! free nor which calls a batch gets in the end.
//!
//! A batch is due for a worker if as many calls wait that it can run as a batch may have, or if one of them has waited for
//! `max_wait`. Whoever asks has a worker with a free place: without one, calls wait longer, and the next batch is larger.

use super::{
    fairness::VirtualTime,
    list::WaitingSlab,
    queue::{Queue, WaitQueue},
};
use crate::{
    BATCHED_COMMAND_LIMIT, BatchKey, BatchLimits, BatchStatus, CallId, Generation, Timestamp, WorkerRef,
    batch::{BatchQueue, Batched},
    derived::{Derived, Statistic},
    due::DueTimes,
};
use std::{collections::VecDeque, time::Duration};

/// The worker for which a batch may be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchWorker {
    /// A process with a free place.
    pub(crate) worker: WorkerRef,
    /// Whether sessions may be bound to it.
    pub(crate) takes_unbound: bool,
    /// Whether batches are sent at once, since no more calls will come.
    pub(crate) is_draining: bool,
}

/// The waiting calls of all batched commands.
///
/// # Invariants
/// - B1: a queue has an entry in `since` for each of its calls.
/// - B2: a queue is due exactly when its first call has waited for `max_wait`, unless it is ripe or empty.
/// - B3: an empty queue is not ripe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Batches {
    commands: Vec<Command>,
    /// The number of queues of a command.
    places: u32,
    due: Derived<DueTimes<(Timestamp, BatchQueue)>>,
    next_due_at: Derived<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Command {
    limits: BatchLimits,
    /// By slot, the latest process that stated that it runs batches of this command.
    stated: Vec<Generation>,
    queues: Vec<CommandQueue>,
    sent: Statistic<SentBatches>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct CommandQueue {
    /// In the fair order.
    calls: Derived<WaitQueue>,
    /// In the order in which they began to wait. Nearly all join at the end and leave near the front.
    since: Derived<VecDeque<(Timestamp, CallId)>>,
    /// Whether the first call was found to have waited for `max_wait`. Then the queue is not due again: its batch is sent once
    /// a worker is free.
    is_ripe: bool,
}

/// What the batches of a command were like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SentBatches {
    batches: u64,
    calls: u64,
    largest: u32,
    waited: Duration,
    longest_wait: Duration,
}

impl Batches {
    /// Returns no batches, for this number of slots. Reloads may add one more slot.
    pub(super) fn new(slots: usize) -> Self {
        let places = u32::try_from(slots).unwrap_or(u32::MAX).saturating_add(3);
        Self { commands: Vec::new(), places, due: Derived(DueTimes::default()), next_due_at: Derived(Timestamp::NEVER) }
    }

    /// Records that this process runs batches of these commands.
    pub(super) fn state(&mut self, worker: WorkerRef, commands: &[BatchKey]) {
        let slot = worker.id.0 as usize;
        for command in commands {
            if let Some(stated) = self.command_mut(*command).and_then(|command| command.stated.get_mut(slot)) {
                *stated = worker.generation;
            }
        }
    }

    /// Sets the limits of a command.
    pub(super) fn set(&mut self, command: BatchKey, limits: BatchLimits) {
        let Some(found) = self.command_mut(command) else { return };
        found.limits = BatchLimits { max_batch_size: limits.max_batch_size.max(1), ..limits };
        for place in 0..self.places {
            self.change(BatchQueue { command, place }, |queue| queue.is_ripe = false);
        }
    }

    /// Returns whether calls of this command wait for a batch.
    pub(super) fn is_batched(&self, command: BatchKey) -> bool {
        self.command(command).is_some_and(|command| command.limits.max_batch_size > 1)
    }

    fn command(&self, command: BatchKey) -> Option<&Command> {
        self.commands.get(usize::from(command.0))
    }

    /// Returns a command, which need not have existed.
    fn command_mut(&mut self, command: BatchKey) -> Option<&mut Command> {
        let index = usize::from(command.0);
        if index >= BATCHED_COMMAND_LIMIT {
            return None;
        }
        while self.commands.len() <= index {
            self.commands.push(Command::new(self.places as usize));
        }
        self.commands.get_mut(index)
    }

    /// Adds a call to its queue.
    pub(super) fn join(&mut self, batched: Batched, queue: Queue, number: u32, call: CallId, calls: &mut WaitingSlab) {
        let Some(queue) = batch_queue(batched.command, queue) else { return };
        self.change(queue, |queue| {
            queue.calls.insert(number, calls);
            let place = queue.since.partition_point(|entry| *entry < (batched.since, call));
            queue.since.insert(place, (batched.since, call));
            queue.is_ripe &= place > 0;
        });
    }

    /// Removes a call from its queue.
    pub(super) fn leave(&mut self, batched: Batched, queue: Queue, number: u32, call: CallId, calls: &mut WaitingSlab) {
        let Some(queue) = batch_queue(batched.command, queue) else { return };
        self.change(queue, |queue| {
            queue.calls.remove(number, calls);
            if let Ok(place) = queue.since.binary_search(&(batched.since, call)) {
                queue.since.remove(place);
                queue.is_ripe &= place > 0;
            }
        });
    }

    /// The only way in which a queue changes. Moves its entry in `due`.
    fn change(&mut self, queue: BatchQueue, change: impl FnOnce(&mut CommandQueue)) {
        let BatchQueue { command, place } = queue;
        let Some(found) = self.command_mut(command) else { return };
        let max_wait = found.limits.max_wait;
        let Some(changed) = found.queues.get_mut(place as usize) else { return };
        change(changed);
        let due = changed.due(max_wait);
        let item = u32::from(command.0) * self.places + place;
        self.due.set(item, due.map(|at| (at, queue)));
        self.next_due_at.0 = self.due.first().map_or(Timestamp::NEVER, |(at, _)| at);
    }

    /// Returns the queue that is due first, and when.
    pub(super) fn next_due(&self) -> Option<(Timestamp, BatchQueue)> {
        self.due.first()
    }

    /// Returns when a queue is due, or [`Timestamp::NEVER`].
    #[inline]
    pub(super) fn next_due_at(&self) -> Timestamp {
        *self.next_due_at
    }

    /// Records that the first call of a queue has waited for `max_wait`. Returns the workers that may run it.
    pub(super) fn ripen(&mut self, queue: BatchQueue) {
        self.change(queue, |queue| queue.is_ripe = !queue.since.is_empty());
    }

    /// Returns the maximum number of calls of the next batch of this worker.
    pub(super) fn max_batch_size(&self, command: BatchKey, worker: WorkerRef) -> u32 {
        let Some(command) = self.command(command) else { return 1 };
        let is_stated = command.stated.get(worker.id.0 as usize) == Some(&worker.generation);
        if is_stated { command.limits.max_batch_size } else { 1 }
    }

    /// Returns the next call of this command for a worker, in the fair order.
    pub(super) fn first(&self, command: BatchKey, worker: BatchWorker) -> Option<(VirtualTime, CallId)> {
        self.command(command)?.queues_for(worker).filter_map(|queue| queue.calls.first()).min()
    }

    /// Returns the next call of all commands that have a batch that is due for this worker.
    pub(super) fn first_due(&self, now: Timestamp, worker: BatchWorker) -> Option<(VirtualTime, CallId)> {
        let keys = (0..).map(BatchKey).take(self.commands.len());
        keys.filter(|command| self.is_due(now, *command, worker))
            .filter_map(|command| self.first(command, worker))
            .min()
    }

    fn is_due(&self, now: Timestamp, key: BatchKey, worker: BatchWorker) -> bool {
        let Some(command) = self.command(key) else { return false };
        let waiting: usize = command.queues_for(worker).map(|queue| queue.calls.len()).sum();
        let is_full = waiting >= self.max_batch_size(key, worker.worker) as usize;
        let has_waited = || {
            command.queues_for(worker).any(|queue| queue.first_due(command.limits.max_wait).is_some_and(|at| at <= now))
        };
        waiting > 0 && (is_full || worker.is_draining || has_waited())
    }

    /// Records a batch that was sent. `waits` are the times that its calls waited.
    pub(super) fn sent(&mut self, command: BatchKey, waits: impl Iterator<Item = Duration>) {
        let Some(command) = self.command_mut(command) else { return };
        let (sent, mut size) = (&mut command.sent, 0);
        for wait in waits {
            size += 1;
            sent.waited += wait;
            sent.longest_wait = sent.longest_wait.max(wait);
        }
        sent.batches += 1;
        sent.calls += u64::from(size);
        sent.largest = sent.largest.max(size);
    }

    /// Returns the number of calls in this queue of all commands.
    pub(super) fn len_of(&self, queue: Queue) -> usize {
        self.queues_of(queue).map(|(_, queue)| queue.calls.len()).sum()
    }

    /// Returns the calls in this queue of all commands, each with its position.
    pub(super) fn calls_of(&self, queue: Queue) -> Vec<(VirtualTime, CallId)> {
        self.queues_of(queue).flat_map(|(_, queue)| queue.calls.sorted()).collect()
    }

    /// Returns the number of places that the batches in this queue need: those that are full, and those that have waited for
    /// `max_wait`. O(commands).
    pub(super) fn places_needed(&self, queue: Queue) -> usize {
        let needed = |(limits, queue): (&BatchLimits, &CommandQueue)| {
            let (waiting, max_batch_size) = (queue.calls.len(), limits.max_batch_size as usize);
            waiting / max_batch_size + usize::from(queue.is_ripe && !waiting.is_multiple_of(max_batch_size))
        };
        self.queues_of(queue).map(needed).sum()
    }

    fn queues_of(&self, queue: Queue) -> impl Iterator<Item = (&BatchLimits, &CommandQueue)> {
        let place = batch_queue(BatchKey(0), queue).map(|queue| queue.place as usize);
        self.commands.iter().filter_map(move |command| Some((&command.limits, command.queues.get(place?)?)))
    }

    /// Returns what the batches of a command were like.
    pub(super) fn status(&self, command: BatchKey) -> Option<BatchStatus> {
        let Command { limits, queues, sent, .. } = self.command(command)?;
        Some(BatchStatus {
            max_batch_size: limits.max_batch_size,
            max_wait_us: micros(limits.max_wait),
            waiting: queues.iter().map(|queue| queue.calls.len()).sum(),
            batches: sent.batches,
            calls: sent.calls,
            largest: sent.largest,
            waited_us: micros(sent.waited),
            longest_wait_us: micros(sent.longest_wait),
        })
    }
}

impl Command {
    fn new(places: usize) -> Self {
        Self {
            limits: BatchLimits::default(),
            stated: vec![Generation(0); places],
            queues: vec![CommandQueue::default(); places],
            sent: Statistic::default(),
        }
    }

    /// Returns the queues from which a worker takes calls.
    fn queues_for(&self, worker: BatchWorker) -> impl Iterator<Item = &CommandQueue> {
        let unbound = worker.takes_unbound.then_some(Queue::Unbound);
        let queues = [Some(Queue::AnyWorker), Some(Queue::Worker(worker.worker)), unbound].into_iter().flatten();
        queues.filter_map(|queue| self.queues.get(batch_queue(BatchKey(0), queue)?.place as usize))
    }
}

impl CommandQueue {
    /// Returns when the first call has waited for `max_wait`.
    fn first_due(&self, max_wait: Duration) -> Option<Timestamp> {
        self.since.front().map(|(since, _)| *since + max_wait)
    }

    /// Returns when the queue must be examined.
    fn due(&self, max_wait: Duration) -> Option<Timestamp> {
        self.first_due(max_wait).filter(|_| !self.is_ripe)
    }
}

/// Returns the queue of a command; `None` for calls that wait for the current call of their session.
fn batch_queue(command: BatchKey, queue: Queue) -> Option<BatchQueue> {
    let place = match queue {
        Queue::AnyWorker => 0,
        Queue::Unbound => 1,
        Queue::Worker(worker) => worker.id.0.saturating_add(1),
        Queue::Session => return None,
    };
    Some(BatchQueue { command, place })
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A waiting call of a batched command, as its owner knows it.
pub(super) struct WaitingForBatch {
    pub(super) batched: Batched,
    pub(super) queue: Queue,
    pub(super) key: (VirtualTime, CallId),
}

impl Batches {
    /// Reports broken invariants. `waiting` are all calls of batched commands that wait.
    pub(super) fn verify(&self, waiting: &[WaitingForBatch], slab: &WaitingSlab, broken: &mut Vec<String>) {
        let mut due = Vec::new();
        for (command, found) in (0..).map(BatchKey).zip(&self.commands) {
            for (place, queue) in (0..).zip(&found.queues) {
                let this = BatchQueue { command, place };
                let expected = waiting
                    .iter()
                    .filter(|call| call.batched.command == command && batch_queue(command, call.queue) == Some(this));
                let mut keys: Vec<_> = expected.clone().map(|call| call.key).collect();
                keys.sort_unstable();
                let mut since: Vec<_> = expected.map(|call| (call.batched.since, call.key.1)).collect();
                since.sort_unstable();
                if queue.calls.sorted() != keys || *queue.since != since || !queue.calls.is_valid(slab) {
                    broken.push(format!("B1: {this:?} is {queue:?}, not {keys:?}"));
                }
                if queue.is_ripe && queue.calls.len() == 0 {
                    broken.push(format!("B3: {this:?} is ripe and empty"));
                }
                let item = u32::from(command.0) * self.places + place;
                due.extend(queue.due(found.limits.max_wait).map(|at| ((at, this), item)));
            }
        }
        let first = due.iter().map(|((at, _), _)| *at).min().unwrap_or(Timestamp::NEVER);
        self.due.verify("B2: batches", due.into_iter(), broken);
        if *self.next_due_at != first {
            broken.push(format!("B2: {:?} is not when a batch is due", self.next_due_at));
        }
    }

    /// Returns the number of queues that are due at some time.
    pub(super) fn due_len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkerId;

    const KEY: BatchKey = BatchKey(0);
    const WAIT: Duration = Duration::from_millis(2);

    fn worker(id: u32) -> BatchWorker {
        let worker = WorkerRef { id: WorkerId(id), generation: Generation(1) };
        BatchWorker { worker, takes_unbound: true, is_draining: false }
    }

    /// Batches of at most three calls, and the calls that wait for them.
    struct Fixture {
        batches: Batches,
        slab: WaitingSlab,
        waiting: Vec<(WaitingForBatch, u32)>,
    }

    impl Fixture {
        fn new() -> Self {
            let mut batches = Batches::new(2);
            batches.set(KEY, BatchLimits { max_batch_size: 3, max_wait: WAIT });
            (1..=2).for_each(|id| batches.state(worker(id).worker, &[KEY]));
            Self { batches, slab: WaitingSlab::default(), waiting: Vec::new() }
        }

        fn join(&mut self, call: u64, queue: Queue, since: u64) {
            let key = (VirtualTime(call), CallId(call));
            let batched = Batched { command: KEY, since: Timestamp(since) };
            let number = self.slab.insert(key.0, key.1);
            self.batches.join(batched, queue, number, key.1, &mut self.slab);
            self.waiting.push((WaitingForBatch { batched, queue, key }, number));
            self.verify();
        }

        fn leave(&mut self, call: u64) {
            let place = self.waiting.iter().position(|(call_of, _)| call_of.key.1 == CallId(call)).unwrap();
            let (WaitingForBatch { batched, queue, key }, number) = self.waiting.remove(place);
            self.batches.leave(batched, queue, number, key.1, &mut self.slab);
            self.slab.remove(number);
            self.verify();
        }

        fn first_due(&self, now: u64, worker: BatchWorker) -> Option<u64> {
            self.batches.first_due(Timestamp(now), worker).map(|(_, call)| call.0)
        }

        fn verify(&self) {
            let mut broken = Vec::new();
            let waiting = self.waiting.iter().map(|(WaitingForBatch { batched, queue, key }, _)| WaitingForBatch {
                batched: *batched,
                queue: *queue,
                key: *key,
            });
            self.batches.verify(&waiting.collect::<Vec<_>>(), &self.slab, &mut broken);
            assert_eq!(broken, [""; 0]);
        }
    }

    #[test]
    fn batch_is_due_when_it_is_full() {
        let mut fixture = Fixture::new();
        fixture.join(1, Queue::AnyWorker, 0);
        fixture.join(2, Queue::Worker(worker(1).worker), 0);
        assert_eq!(fixture.first_due(1, worker(1)), None);
        fixture.join(3, Queue::Unbound, 0);
        assert_eq!(fixture.first_due(1, worker(1)), Some(1));
        assert_eq!(fixture.first_due(1, worker(2)), None, "it cannot run the call of the other worker's session");
        assert_eq!(fixture.first_due(1, BatchWorker { takes_unbound: false, ..worker(1) }), None);
        fixture.leave(3);
        assert_eq!(fixture.first_due(1, worker(1)), None);
    }

    #[test]
    fn batch_is_due_when_its_oldest_call_has_waited() {
        let mut fixture = Fixture::new();
        fixture.join(1, Queue::AnyWorker, 500);
        fixture.join(2, Queue::AnyWorker, 0);
        let due = Timestamp(0) + WAIT;
        assert_eq!(fixture.batches.next_due_at(), due);
        assert_eq!((fixture.first_due(due.0 - 1, worker(1)), fixture.first_due(due.0, worker(1))), (None, Some(1)));
        let (_, queue) = fixture.batches.next_due().unwrap();
        fixture.batches.ripen(queue);
        fixture.verify();
        assert_eq!(fixture.batches.next_due(), None, "from now on it waits for a worker");
        assert_eq!(fixture.batches.places_needed(Queue::AnyWorker), 1);
        fixture.leave(2);
        assert_eq!(fixture.batches.next_due_at(), Timestamp(500) + WAIT, "the other call has waited less");
        assert_eq!(fixture.first_due(1, BatchWorker { is_draining: true, ..worker(1) }), Some(1));
    }

    #[test]
    fn new_limits_apply_to_waiting_calls() {
        let mut fixture = Fixture::new();
        fixture.join(1, Queue::AnyWorker, 0);
        fixture.batches.set(KEY, BatchLimits { max_batch_size: 3, max_wait: 2 * WAIT });
        fixture.verify();
        assert_eq!(fixture.batches.next_due_at(), Timestamp(0) + 2 * WAIT);
        fixture.batches.set(KEY, BatchLimits { max_batch_size: 1, max_wait: 2 * WAIT });
        fixture.verify();
        assert_eq!(fixture.first_due(0, worker(1)), Some(1));
        assert!(!fixture.batches.is_batched(KEY));
    }

    #[test]
    fn worker_without_batches_gets_single_calls_at_once() {
        let mut fixture = Fixture::new();
        let replaced = BatchWorker { worker: WorkerRef { generation: Generation(2), ..worker(1).worker }, ..worker(1) };
        fixture.join(1, Queue::AnyWorker, 0);
        assert_eq!(fixture.first_due(0, replaced), Some(1));
        assert_eq!(
            (
                fixture.batches.max_batch_size(KEY, replaced.worker),
                fixture.batches.max_batch_size(KEY, worker(1).worker)
            ),
            (1, 3)
        );
    }

    #[test]
    fn status_counts_batches_and_waits() {
        let mut fixture = Fixture::new();
        fixture.batches.sent(KEY, [3, 1].into_iter().map(Duration::from_micros));
        fixture.batches.sent(KEY, [2].into_iter().map(Duration::from_micros));
        let status = fixture.batches.status(KEY).unwrap();
        assert_eq!((status.batches, status.calls, status.largest), (2, 3, 2));
        assert_eq!((status.waited_us, status.longest_wait_us, status.max_wait_us), (6, 3, 2000));
    }
}
