//! The queues of waiting calls, each in the order in which its calls are served. Holds numbers of waiting calls; which
//! queue a call belongs to is decided elsewhere.

use super::{
    fairness::VirtualTime,
    list::{NONE, WaitingSlab},
};
use crate::{CallId, WorkerId, WorkerRef, indexed_heap::IndexedHeap};

/// The queue in which a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Queue {
    /// The call waits for any worker.
    AnyWorker,
    /// The call waits for a worker to which its session can be bound. Only base workers take it, as long as one is
    /// alive (R12).
    Unbound,
    /// The call waits for the worker of its session.
    Worker(WorkerRef),
    /// The call waits for the current call of its session. It has not joined the fair order.
    Session,
}

impl Queue {
    /// Returns whether `queue.timeout` limits the wait. The wait for the worker of a session is limited by the deadline
    /// of the call only.
    pub(crate) fn has_timeout(self) -> bool {
        matches!(self, Self::AnyWorker | Self::Unbound)
    }
}

/// Waiting calls in their order. The first one costs nothing. To add a call that belongs at the end costs O(1), all
/// other changes O(log n).
#[derive(Clone, Debug, Default)]
pub(super) struct WaitQueue(IndexedHeap<(VirtualTime, CallId)>);

impl WaitQueue {
    pub(super) fn insert(&mut self, number: u32, calls: &mut WaitingSlab) {
        if let Some(key) = calls.key(number) {
            self.0.push(key, number, |number, position| calls.set_position(number, position));
        }
    }

    /// Returns the call that is served first.
    pub(super) fn first(&self) -> Option<(VirtualTime, CallId)> {
        self.0.first().map(|(key, _)| key)
    }

    /// Removes a call of this queue, at any position.
    pub(super) fn remove(&mut self, number: u32, calls: &mut WaitingSlab) {
        let position = calls.position(number);
        self.0.remove(position, |number, position| calls.set_position(number, position));
        calls.set_position(number, NONE);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the calls in their order. O(n log n).
    pub(super) fn sorted(&self) -> Vec<(VirtualTime, CallId)> {
        let mut calls: Vec<_> = self.0.iter().map(|(key, _)| key).collect();
        calls.sort_unstable();
        calls
    }

    /// Returns whether the positions of the calls lead to them. For checks.
    pub(super) fn is_valid(&self, calls: &WaitingSlab) -> bool {
        self.0.is_valid(|number| calls.position(number))
    }
}

/// The queues in the fair order.
#[derive(Clone, Debug)]
pub(super) struct Queues {
    pub(super) any_worker: WaitQueue,
    pub(super) unbound: WaitQueue,
    /// For each slot, the calls of sessions that are bound to its process.
    pub(super) workers: Vec<WaitQueue>,
}

impl Queues {
    pub(super) fn new(slots: usize) -> Self {
        let workers = vec![WaitQueue::default(); slots];
        Self { any_worker: WaitQueue::default(), unbound: WaitQueue::default(), workers }
    }

    pub(super) fn of_worker(&self, worker: WorkerId) -> Option<&WaitQueue> {
        self.workers.get(slot_index(worker))
    }

    /// Returns a queue in the fair order; `None` for the queue of a session.
    pub(super) fn get_mut(&mut self, queue: Queue) -> Option<&mut WaitQueue> {
        match queue {
            Queue::AnyWorker => Some(&mut self.any_worker),
            Queue::Unbound => Some(&mut self.unbound),
            Queue::Worker(worker) => self.workers.get_mut(slot_index(worker.id)),
            Queue::Session => None,
        }
    }

    /// Returns each queue, and the slot if it is the queue of a worker.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&WaitQueue, impl Fn(Queue) -> bool)> {
        let shared = [(&self.any_worker, Some(Queue::AnyWorker), None), (&self.unbound, Some(Queue::Unbound), None)];
        let workers = self.workers.iter().enumerate().map(|(slot, queue)| (queue, None, Some(slot)));
        shared.into_iter().chain(workers).map(|(found, queue, slot)| {
            let is_this = move |other: Queue| match other {
                Queue::Worker(worker) => slot == Some(slot_index(worker.id)),
                _ => queue == Some(other),
            };
            (found, is_this)
        })
    }
}

fn slot_index(worker: WorkerId) -> usize {
    (worker.0 as usize).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retried_call_keeps_its_virtual_time() {
        let (mut queue, mut calls) = (WaitQueue::default(), WaitingSlab::default());
        let mut insert = |queue: &mut WaitQueue, time, id| {
            let number = calls.insert(VirtualTime(time), CallId(id));
            queue.insert(number, &mut calls);
            number
        };
        let numbers = [1, 2, 5, 3, 4].map(|id| insert(&mut queue, 0, id));
        insert(&mut queue, 1, 0);
        queue.remove(numbers[4], &mut calls);
        let order: Vec<u64> = queue.sorted().iter().map(|(_, call)| call.0).collect();
        assert_eq!(queue.first(), Some((VirtualTime(0), CallId(1))));
        assert_eq!((order, queue.len(), queue.is_valid(&calls)), (vec![1, 2, 3, 5, 0], 5, true));
    }
}
