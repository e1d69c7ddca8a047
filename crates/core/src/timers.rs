//! When the core must be asked again. An index over deadlines that stand elsewhere: an entry only says "look at this
//! thing then", so a stale one costs a look and nothing else. A missing one is a fault: the thing would wait for ever (I8).

use crate::{CallId, Timestamp, WireId, WorkerId, WorkerRef};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    hash::{Hash, Hasher},
};

/// What to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// A call's queue timeout or deadline.
    Call(CallId),
    /// An attempt whose call is settled: interrupt it, then kill its worker.
    Attempt(WorkerId, WireId),
    /// A slot's next start, start timeout or ping. Each of them sets an entry of its own.
    Worker(WorkerId),
    /// Whether an overflow process has been idle long enough. One entry a process, renewed when it comes due: setting it
    /// whenever the process becomes idle would leave one for each call behind.
    OverflowIdle(WorkerRef),
    /// The next sweep of sessions.
    Sweep,
    /// The next step of the walk to sessions that were released.
    ReleaseScan,
    /// A failed pool's probe, or the end of a drain.
    Pool,
}

impl Timer {
    /// Whether an entry at `at` is enough for a thing that is due at `due`. A look that comes early sets the entry again, except for
    /// slots and sweeps: they set one whenever their moment changes, and pass over the others.
    fn covers(self, at: Timestamp, due: Timestamp) -> bool {
        match self {
            Self::Worker(_) | Self::Sweep => at == due,
            _ => at <= due,
        }
    }
}

/// A heap of things to look at. Whatever is over leaves its entries behind; `shrink` drops those, so that the heap
/// stays within twice the live entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Timestamp, Timer)>>,
    /// Shrinks at any size.
    shrinks_always: bool,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Timestamp, timer: Timer) {
        if at != Timestamp::NEVER {
            self.heap.push(Reverse((at, timer)));
        }
    }

    /// The earliest moment anything may be due.
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

    /// Whether there are more than twice `live` entries: to shrink then is amortized over the steps that left them.
    pub(crate) fn is_crowded(&self, live: usize) -> bool {
        self.shrinks_always || self.heap.len() > 2 * live + 64
    }

    /// Keeps one entry for each thing, the last that covers it. `due` says when a thing must be looked at. Sets nothing: it must not hide
    /// that an entry is missing.
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

    /// Whether something due at `due` will be looked at. O(entries): for checks only.
    pub(crate) fn covers(&self, timer: Timer, due: Timestamp) -> bool {
        self.heap.iter().any(|&Reverse((at, other))| other == timer && timer.covers(at, due))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

/// Entries follow from the things they are for: two cores that differ only in entries that are early or stale are the same core. A core that
/// lacks an entry is not, and `Core::missing_timers` tells it from the others.
impl PartialEq for Timers {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Timers {}

impl Hash for Timers {
    fn hash<H: Hasher>(&self, _: &mut H) {}
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

    /// I6, I8: one entry a thing is kept, and it is not too late.
    #[test]
    fn one_entry_is_kept_that_is_in_time() {
        let mut timers = Timers::default();
        (0..200).for_each(|n| timers.set(Timestamp(n), CALL(7)));
        timers.shrink(|_| Some(Timestamp(150)));
        assert_eq!((timers.len(), timers.next()), (1, Some(Timestamp(150))));
        assert!(timers.covers(CALL(7), Timestamp(150)) && !timers.covers(CALL(7), Timestamp(149)));
    }

    /// I8: only the entry of a slot's present moment leads to its next one.
    #[test]
    fn a_slot_needs_its_entry_at_the_very_moment() {
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
