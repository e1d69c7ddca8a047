//! The times at which the core must be called again. An entry is only a hint to examine a call, attempt or slot at some
//! time; the deadline itself is stored with that item. A stale entry costs one examination. A missing entry is a
//! defect: the item would wait forever ([I8](crate#invariants)).

use crate::{CallId, Timestamp, WireId, WorkerId, WorkerRef};
use std::{cmp::Reverse, collections::BinaryHeap};

/// The item to examine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// The queue timeout or the deadline of a call.
    Call(CallId),
    /// An attempt whose call is settled: it must be interrupted, or its worker killed.
    Attempt(WorkerId, WireId),
    /// The next start, start timeout or ping of a slot. Each of these sets its own entry.
    Worker(WorkerId),
    /// Whether an overflow worker has been idle long enough. Each process has one entry, which is renewed when it is
    /// due. If it were set whenever the process becomes idle, each call would leave a stale entry.
    OverflowIdle(WorkerRef),
    /// The next sweep of sessions.
    Sweep,
    /// The next step of the scan for released sessions.
    ReleaseScan,
    /// The probe of a failed pool, or the end of a drain.
    Pool,
}

impl Timer {
    /// Returns whether an entry at `at` is sufficient for an item that is due at `due`.
    fn covers(self, at: Timestamp, due: Timestamp) -> bool {
        // A handler that is called too early sets the entry again, so an earlier entry is sufficient. The handlers of
        // slots and sweeps do not: each change of their due time sets its own entry, and they ignore all others.
        match self {
            Self::Worker(_) | Self::Sweep => at == due,
            _ => at <= due,
        }
    }
}

/// The entries, as a heap. Entries of items that are finished stay until [`shrink`](Self::shrink) removes them, so that
/// the size of the heap is bounded by the number of pending items and slots ([I6](crate#invariants)).
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Timestamp, Timer)>>,
    /// Whether stale entries are removed at any size. For tests.
    shrinks_always: bool,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Timestamp, timer: Timer) {
        if at != Timestamp::NEVER {
            self.heap.push(Reverse((at, timer)));
        }
    }

    /// Returns the earliest time at which an item may be due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        let &Reverse((at, timer)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some(timer)
    }

    /// Returns whether there are more than 2 x `live` + 64 entries. The cost of shrinking at that size is amortized
    /// over the steps that added the stale entries.
    pub(crate) fn is_crowded(&self, live: usize) -> bool {
        self.shrinks_always || self.heap.len() > 2 * live + 64
    }

    /// Keeps one entry for each item: the latest that covers the time at which `due` says that the item must be
    /// examined. Adds no entries, since that would hide a missing one ([I8](crate#invariants)).
    pub(crate) fn shrink(&mut self, due: impl Fn(Timer) -> Option<Timestamp>) {
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.retain(|&Reverse((at, timer))| due(timer).is_some_and(|due| timer.covers(at, due)));
        entries.sort_unstable_by_key(|&Reverse((at, timer))| (timer, Reverse(at)));
        entries.dedup_by_key(|&mut Reverse((_, timer))| timer);
        self.heap = entries.into();
    }

    pub(crate) fn shrink_always(&mut self) {
        self.shrinks_always = true;
    }

    /// Returns whether an item that is due at `due` will be examined in time. O(entries); for checks only.
    pub(crate) fn covers(&self, timer: Timer, due: Timestamp) -> bool {
        self.heap.iter().any(|&Reverse((at, other))| other == timer && timer.covers(at, due))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: fn(u64) -> Timer = |n| Timer::Call(CallId(n));

    #[test]
    fn entries_come_due_in_order_and_stale_ones_are_dropped() {
        let mut timers = Timers::default();
        for n in 0..200 {
            timers.set(Timestamp(1000 - n), CALL(n));
        }
        assert!(timers.is_crowded(67) && !timers.is_crowded(68));
        timers.shrink(|timer| (timer == CALL(7) || timer == CALL(9)).then_some(Timestamp(2000)));
        assert_eq!(timers.len(), 2);
        assert_eq!(timers.next(), Some(Timestamp(991)));
        assert_eq!(timers.pop_due(Timestamp(990)), None);
        assert_eq!(timers.pop_due(Timestamp(993)), Some(CALL(9)));
        assert_eq!(timers.pop_due(Timestamp(993)), Some(CALL(7)));
    }

    /// I6, I8: one entry for each item is kept, and it is not too late.
    #[test]
    fn shrinking_keeps_one_entry_that_is_in_time() {
        let mut timers = Timers::default();
        (0..200).for_each(|n| timers.set(Timestamp(n), CALL(7)));
        timers.shrink(|_| Some(Timestamp(150)));
        assert_eq!((timers.len(), timers.next()), (1, Some(Timestamp(150))));
        assert!(timers.covers(CALL(7), Timestamp(150)) && !timers.covers(CALL(7), Timestamp(149)));
    }

    /// I8: only an entry at exactly the due time of a slot leads to its next one.
    #[test]
    fn a_slot_needs_an_entry_at_exactly_its_due_time() {
        let mut timers = Timers::default();
        let slot = Timer::Worker(WorkerId(1));
        for at in [5, 9, 9, 12] {
            timers.set(Timestamp(at), slot);
        }
        assert!(timers.covers(slot, Timestamp(9)) && !timers.covers(slot, Timestamp(10)));
        timers.shrink(|_| Some(Timestamp(9)));
        assert_eq!((timers.len(), timers.next()), (1, Some(Timestamp(9))));
        timers.shrink(|_| Some(Timestamp(10)));
        assert_eq!(timers.next(), None);
    }
}
