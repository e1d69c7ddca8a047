//! One queue of waiting calls, in the order in which they are served. Which queue a call belongs to is decided elsewhere.

use super::fairness::VirtualTime;
use crate::CallId;
use std::collections::VecDeque;

/// Waiting calls in their order. Most inserts append (O(1)); the others search for their position (O(log n)) and move
/// at most half of the queue.
#[derive(Clone, Debug, Default)]
pub(super) struct WaitQueue(VecDeque<(VirtualTime, CallId)>);

impl WaitQueue {
    pub(super) fn insert(&mut self, virtual_time: VirtualTime, call: CallId) {
        // Most calls belong at the end. A retried call, and a call of a flow that has none waiting while other flows
        // have several, belong before it. They must be sorted in: `remove` relies on the order for its binary search.
        let entry = (virtual_time, call);
        match self.0.back() {
            Some(&last) if last > entry => {
                let place = self.0.partition_point(|&other| other < entry);
                self.0.insert(place, entry);
            }
            _ => self.0.push_back(entry),
        }
    }

    pub(super) fn first(&self) -> Option<(VirtualTime, CallId)> {
        self.0.front().copied()
    }

    /// Removes a call at any position. Returns false if the call is not in this queue.
    pub(super) fn remove(&mut self, virtual_time: VirtualTime, call: CallId) -> bool {
        let found = self.0.binary_search(&(virtual_time, call));
        if let Ok(place) = found {
            self.0.remove(place);
        }
        found.is_ok()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = CallId> + '_ {
        self.0.iter().map(|&(_, call)| call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retried_call_keeps_its_virtual_time() {
        let mut queue = WaitQueue::default();
        for id in [1, 2, 5, 3, 4] {
            queue.insert(VirtualTime(0), CallId(id));
        }
        assert!(queue.remove(VirtualTime(0), CallId(4)));
        assert!(!queue.remove(VirtualTime(0), CallId(4)));
        queue.insert(VirtualTime(1), CallId(0));
        let order: Vec<u64> = queue.iter().map(|call| call.0).collect();
        assert_eq!(queue.first(), Some((VirtualTime(0), CallId(1))));
        assert_eq!(order, [1, 2, 3, 5, 0]);
    }
}
