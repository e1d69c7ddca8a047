//! A queue of waiting calls in the order of admission. Holds ids only; who waits for what is known elsewhere.

use crate::CallId;
use std::collections::VecDeque;

/// Waiting calls, oldest first. Most arrive in order (O(1)); one that returns finds its old place (O(log n) and a move).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct AdmissionQueue(VecDeque<CallId>);

impl AdmissionQueue {
    pub(crate) fn insert(&mut self, call: CallId) {
        match self.0.back() {
            Some(&last) if last > call => {
                let place = self.0.partition_point(|&other| other < call);
                self.0.insert(place, call);
            }
            _ => self.0.push_back(call),
        }
    }

    pub(crate) fn first(&self) -> Option<CallId> {
        self.0.front().copied()
    }

    /// Takes a call out, wherever it stands. False if it is not here.
    pub(crate) fn remove(&mut self, call: CallId) -> bool {
        let found = self.0.binary_search(&call);
        if let Ok(place) = found {
            self.0.remove(place);
        }
        found.is_ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = CallId> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_returns_finds_its_old_place() {
        let mut queue = AdmissionQueue::default();
        for id in [1, 2, 5, 3, 4] {
            queue.insert(CallId(id));
        }
        assert!(queue.remove(CallId(4)));
        assert!(!queue.remove(CallId(4)));
        let order: Vec<u64> = queue.iter().map(|call| call.0).collect();
        assert_eq!(queue.first(), Some(CallId(1)));
        assert_eq!(order, [1, 2, 3, 5]);
    }
}
