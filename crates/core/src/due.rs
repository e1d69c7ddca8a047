//! What can become due, and when. Holds no states: the times of calls, processes, attempts and sessions follow from
//! their states, and each part of the pool returns the next of its own ([I8](crate#invariants)).

use crate::{CallId, WireId, WorkerId, batch::BatchQueue, indexed_heap::IndexedHeap};

/// An item that is due at some time, and must then be examined. If several items are due at one time, the lowest one is
/// examined first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Due {
    /// The deadline, the end of the wait or the retry of a call.
    Call(CallId),
    /// A batch whose first call has waited long enough for others.
    Batch(BatchQueue),
    /// An attempt whose call is settled: it must be interrupted, or its worker killed.
    Attempt(WorkerId, WireId),
    /// The start, the start timeout or the ping of a slot.
    Worker(WorkerId),
    /// Whether an overflow worker has been idle long enough.
    OverflowIdle(WorkerId),
    /// Whether the calls in advance of a worker must be taken back.
    InAdvance(WorkerId),
    /// Whether calls have waited so long that overflow workers start.
    Overflow,
    /// The next sweep of sessions.
    Sweep,
    /// The next step of the scan for released sessions.
    ReleaseScan,
    /// The probe of a failed pool, or the end of a drain.
    Pool,
}

/// The position of an item that is not due at any time.
const ABSENT: u32 = u32::MAX;

/// The times at which numbered items are due. The owner of the items sets the time of an item in the one method through
/// which its items change. To set a time costs O(log items); the first one costs nothing.
///
/// # Invariants
/// - An item has at most one entry: to set its time moves that entry.
/// - The position of an item is that of its entry.
#[derive(Clone, Debug)]
pub(crate) struct DueTimes<K> {
    heap: IndexedHeap<K>,
    /// By item.
    positions: Vec<u32>,
}

impl<K> Default for DueTimes<K> {
    fn default() -> Self {
        Self { heap: IndexedHeap::default(), positions: Vec::new() }
    }
}

impl<K: Copy + Ord> DueTimes<K> {
    /// Sets when an item is due. No two items may have the same key.
    pub(crate) fn set(&mut self, item: u32, key: Option<K>) {
        let position = self.positions.get(item as usize).copied().unwrap_or(ABSENT);
        match key {
            Some(key) if position == ABSENT => self.add(item, key),
            Some(key) => self.heap.change(position, key, |item, position| self.positions[item as usize] = position),
            None => self.remove(item),
        }
    }

    /// Adds an item that is not due at any time yet.
    #[inline(always)]
    pub(crate) fn add(&mut self, item: u32, key: K) {
        if self.positions.len() <= item as usize {
            self.add_positions(item);
        }
        self.heap.push(key, item, |item, position| self.positions[item as usize] = position);
    }

    #[cold]
    fn add_positions(&mut self, item: u32) {
        self.positions.resize(item as usize + 1, ABSENT);
    }

    /// Removes an item that may be due at some time.
    #[inline(always)]
    pub(crate) fn remove(&mut self, item: u32) {
        let position = self.positions.get_mut(item as usize).map_or(ABSENT, |known| std::mem::replace(known, ABSENT));
        if position != ABSENT {
            self.heap.remove(position, |item, position| self.positions[item as usize] = position);
        }
    }

    /// Returns the lowest key.
    #[inline]
    pub(crate) fn first(&self) -> Option<K> {
        self.heap.first().map(|(key, _)| key)
    }

    /// Returns the number of items that are due at some time.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Reports the entries that are not exactly `expected`. For tests.
    pub(crate) fn verify(&self, name: &str, expected: impl Iterator<Item = (K, u32)>, broken: &mut Vec<String>)
    where
        K: std::fmt::Debug,
    {
        let (mut entries, mut expected): (Vec<_>, Vec<_>) = (self.heap.iter().collect(), expected.collect());
        entries.sort_unstable();
        expected.sort_unstable();
        if entries != expected {
            broken.push(format!("I8: {name} are due at {expected:?}, but their entries are {entries:?}"));
        }
        let held = self.positions.iter().filter(|position| **position != ABSENT).count();
        if held != self.len() || !self.heap.is_valid(|item| self.positions[item as usize]) {
            broken.push(format!("I8: the due times of {name} are out of order"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// After any changes, the first entry is what a search over all items finds, and no other entry is left.
        #[test]
        fn entries_are_those_of_the_items(changes in prop::collection::vec((0..40_u32, prop::option::of(0..30_u8)), 1..300)) {
            let (mut due, mut times) = (DueTimes::default(), [None; 40]);
            for (item, time) in changes {
                due.set(item, time.map(|time| (time, item)));
                times[item as usize] = time;
                let all = (0..).zip(times).filter_map(|(item, time)| time.map(|time| (time, item)));
                prop_assert_eq!(due.first(), all.clone().min());
                let mut broken = Vec::new();
                due.verify("items", all.map(|key| (key, key.1)), &mut broken);
                prop_assert_eq!(broken, [""; 0]);
            }
        }
    }
}
