//! When the core must be asked again. An index over deadlines that stand elsewhere: an entry only says "look at this
//! thing then", so a stale one costs a look and nothing else.

use crate::{CallId, Now, WireId, WorkerId, WorkerRef};
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
    /// A slot's next start, start timeout or ping.
    Worker(WorkerId),
    /// Whether an overflow process has been idle long enough. One entry a process, renewed when it comes due: setting it
    /// whenever the process becomes idle would leave one for each call behind.
    Linger(WorkerRef),
    /// The next sweep of sessions.
    Sweep,
    /// The next step of the walk to sessions that were released.
    Walk,
    /// A failed pool's probe, or the end of a drain.
    Pool,
}

/// A heap of things to look at. Finished calls leave their entries behind; `shrink` drops those, so that the heap
/// stays within twice the live entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Now, Timer)>>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Now, timer: Timer) {
        if at != Now::NEVER {
            self.heap.push(Reverse((at, timer)));
        }
    }

    /// The earliest moment anything may be due.
    pub(crate) fn next(&self) -> Option<Now> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(crate) fn pop_due(&mut self, now: Now) -> Option<Timer> {
        let &Reverse((at, timer)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some(timer)
    }

    /// Keeps what `is_live` says, once each, when there are more than twice `live` entries: amortized over the steps that left them.
    pub(crate) fn shrink(&mut self, live: usize, is_live: impl Fn(Timer) -> bool) {
        if self.heap.len() > 2 * live + 64 {
            let mut entries = std::mem::take(&mut self.heap).into_vec();
            entries.retain(|Reverse((_, timer))| is_live(*timer));
            entries.sort_unstable();
            entries.dedup();
            self.heap = entries.into();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

/// Two cores that differ only in stale entries are the same core.
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

    #[test]
    fn entries_come_due_in_order_and_stale_ones_are_dropped() {
        let mut timers = Timers::default();
        for n in 0..200 {
            timers.set(Now(1000 - n), Timer::Call(CallId(n)));
        }
        timers.shrink(1, |timer| timer == Timer::Call(CallId(7)) || timer == Timer::Call(CallId(9)));
        assert_eq!(timers.len(), 2);
        assert_eq!(timers.next(), Some(Now(991)));
        assert_eq!(timers.pop_due(Now(990)), None);
        assert_eq!(timers.pop_due(Now(993)), Some(Timer::Call(CallId(9))));
        assert_eq!(timers.pop_due(Now(993)), Some(Timer::Call(CallId(7))));
    }

    #[test]
    fn the_same_entry_is_held_once() {
        let mut timers = Timers::default();
        (0..200).for_each(|n| timers.set(Now(n % 2), Timer::Call(CallId(7))));
        timers.shrink(2, |_| true);
        assert_eq!((timers.len(), timers.next()), (2, Some(Now(0))));
    }
}
