//! When each call must be examined: at its deadline, at the end of its wait for any worker, at its retry, or while it is a stream. Holds times
//! and ids by index; what a call waits for is known to [`Calls`](super::Calls) only.

use super::indices::CallIndex;
use crate::{CallId, Timestamp, indexed_heap::IndexedHeap};

/// No call.
const NONE: CallIndex = CallIndex(u32::MAX);

/// The times at which calls are due, each call at one time at most. Of several calls that are due at one time, the oldest
/// is the first.
///
/// Calls that have the same timeout are sent in the order of their deadlines. They form a list, which a call joins at the
/// end and leaves anywhere in constant time; nearly all of them leave it because they are answered. A call whose time is
/// earlier than that of the last one of the list is in a heap instead.
///
/// # Invariants
/// - A call that is due at some time has one entry, which is `Listed` or `InHeap` and leads to its place there. Other calls
///   have none.
/// - The list is in the order of the times, and of the ids where these are equal.
/// - `next_at` is the time of the first call, or [`Timestamp::NEVER`].
#[derive(Clone, Debug)]
pub(super) struct DueCalls {
    /// By index.
    entries: Vec<Entry>,
    first: CallIndex,
    last: CallIndex,
    heap: IndexedHeap<(Timestamp, CallId)>,
    next_at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Timestamp,
    id: CallId,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The call is not due at any time.
    Absent,
    /// The neighbours in the list.
    Listed { before: CallIndex, after: CallIndex },
    /// The position in the heap.
    InHeap(u32),
}

impl Default for DueCalls {
    fn default() -> Self {
        let heap = IndexedHeap::default();
        Self { entries: Vec::new(), first: NONE, last: NONE, heap, next_at: Timestamp::NEVER }
    }
}

impl Entry {
    const ABSENT: Self = Self { at: Timestamp::NEVER, id: CallId(0), place: Place::Absent };

    fn key(&self) -> (Timestamp, CallId) {
        (self.at, self.id)
    }
}

impl DueCalls {
    /// Adds a call that has no entry.
    #[inline(always)]
    pub(super) fn add(&mut self, index: CallIndex, at: Timestamp, id: CallId) {
        if at == Timestamp::NEVER {
            return;
        }
        if self.entries.len() <= index.0 as usize {
            self.add_entries(index);
        }
        self.next_at = self.next_at.min(at);
        let before = self.last;
        match self.entries.get_mut(before.0 as usize) {
            None => self.first = index,
            Some(last) if last.key() < (at, id) => last.set_after(index),
            Some(_) => return self.add_to_heap(index, at, id),
        }
        self.last = index;
        self.entries[index.0 as usize] = Entry { at, id, place: Place::Listed { before, after: NONE } };
    }

    #[cold]
    fn add_entries(&mut self, index: CallIndex) {
        self.entries.resize(index.0 as usize + 1, Entry::ABSENT);
    }

    #[inline(never)]
    fn add_to_heap(&mut self, index: CallIndex, at: Timestamp, id: CallId) {
        let Self { entries, heap, .. } = self;
        entries[index.0 as usize] = Entry { at, id, place: Place::Absent };
        heap.push((at, id), index.0, |item, position| entries[item as usize].place = Place::InHeap(position));
    }

    /// Removes the entry of a call, if it has one.
    #[inline(always)]
    pub(super) fn remove(&mut self, index: CallIndex) {
        let Some(entry) = self.entries.get_mut(index.0 as usize) else { return };
        match std::mem::replace(&mut entry.place, Place::Absent) {
            Place::Absent => {}
            Place::Listed { before, after } => self.unlink(before, after),
            Place::InHeap(position) => self.remove_from_heap(position),
        }
    }

    #[inline(always)]
    fn unlink(&mut self, before: CallIndex, after: CallIndex) {
        match self.entries.get_mut(after.0 as usize) {
            None => self.last = before,
            Some(next) => next.set_before(before),
        }
        match self.entries.get_mut(before.0 as usize) {
            None => {
                self.first = after;
                self.update_next();
            }
            Some(previous) => previous.set_after(after),
        }
    }

    #[inline(never)]
    fn remove_from_heap(&mut self, position: u32) {
        let Self { entries, heap, .. } = self;
        heap.remove(position, |item, position| entries[item as usize].place = Place::InHeap(position));
        self.update_next();
    }

    /// Moves the entry of a call to another time.
    pub(super) fn set(&mut self, index: CallIndex, at: Timestamp, id: CallId) {
        self.remove(index);
        self.add(index, at, id);
    }

    #[inline(always)]
    fn update_next(&mut self) {
        let listed = self.entries.get(self.first.0 as usize).map_or(Timestamp::NEVER, |entry| entry.at);
        self.next_at = self.heap.first().map_or(listed, |((at, _), _)| at.min(listed));
    }

    /// Returns when the first call is due, or [`Timestamp::NEVER`].
    #[inline]
    pub(super) fn next_at(&self) -> Timestamp {
        self.next_at
    }

    /// Returns the call that is due first, and when.
    pub(super) fn first(&self) -> Option<(Timestamp, CallId)> {
        let listed = self.entries.get(self.first.0 as usize).map(Entry::key);
        listed.into_iter().chain(self.heap.first().map(|(key, _)| key)).min()
    }

    /// Returns the number of calls that are due at some time. Costs the largest number of calls that there were at one
    /// time.
    pub(super) fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.place != Place::Absent).count()
    }

    /// Reports the entries that are not exactly `expected`, by time, id and index. For tests.
    pub(super) fn verify(
        &self,
        expected: impl Iterator<Item = ((Timestamp, CallId), CallIndex)>,
        broken: &mut Vec<String>,
    ) {
        let is_held = |(_, entry): &(u32, &Entry)| entry.place != Place::Absent;
        let entries = (0..).zip(&self.entries).filter(is_held).map(|(index, entry)| (entry.key(), CallIndex(index)));
        let (mut entries, mut expected): (Vec<_>, Vec<_>) = (entries.collect(), expected.collect());
        entries.sort_unstable();
        expected.sort_unstable();
        if entries != expected {
            broken.push(format!("I8: calls are due at {expected:?}, but their entries are {entries:?}"));
        }
        let first = entries.first().map(|(key, _)| *key);
        let (next, listed) = (first.map_or(Timestamp::NEVER, |(at, _)| at), self.listed());
        let is_counted = entries.len() == listed.len() + self.heap.len();
        let position = |item: u32| match self.entries[item as usize].place {
            Place::InHeap(position) => position,
            Place::Absent | Place::Listed { .. } => u32::MAX,
        };
        let is_ordered = listed.is_sorted() && self.heap.is_valid(position);
        if (self.first(), self.next_at) != (first, next) || !is_counted || !is_ordered {
            broken.push("I8: the due times of calls are out of order".into());
        }
    }

    /// Returns the times and ids of the calls in the list, in its order.
    fn listed(&self) -> Vec<(Timestamp, CallId)> {
        let (mut listed, mut before, mut index) = (Vec::new(), NONE, self.first);
        while let Some(entry) = self.entries.get(index.0 as usize) {
            listed.push(entry.key());
            match entry.place {
                // No more than there are entries, so that a circle ends.
                Place::Listed { before: known, after } if known == before && listed.len() <= self.entries.len() => {
                    (before, index) = (index, after);
                }
                _ => return Vec::new(),
            }
        }
        if before == self.last { listed } else { Vec::new() }
    }
}

impl Entry {
    #[inline(always)]
    fn set_before(&mut self, index: CallIndex) {
        if let Place::Listed { before, .. } = &mut self.place {
            *before = index;
        }
    }

    #[inline(always)]
    fn set_after(&mut self, index: CallIndex) {
        if let Place::Listed { after, .. } = &mut self.place {
            *after = index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// I8: after any changes, the first call is the one that a search finds, and each call has its entry.
        #[test]
        fn i8_entries_are_those_of_the_calls(
            changes in prop::collection::vec((0..30_u32, prop::option::of((0..20_u64, any::<bool>()))), 1..300)
        ) {
            let (mut due, mut times, mut latest) = (DueCalls::default(), [None; 30], 0);
            for (index, time) in changes {
                // Half of the times are not before the latest, as those of calls with the same timeout.
                let at = time.map(|(time, is_in_order)| if is_in_order { latest + time / 10 } else { time });
                latest = latest.max(at.unwrap_or(0));
                let (item, id) = (CallIndex(index), CallId(u64::from(index) * 7 % 30));
                match at {
                    Some(at) => due.set(item, Timestamp(at), id),
                    None => due.remove(item),
                }
                times[index as usize] = at.map(|at| (Timestamp(at), id));
                let all = (0..).zip(times).filter_map(|(index, key)| Some((key?, CallIndex(index))));
                prop_assert_eq!(due.first(), all.clone().map(|(key, _)| key).min());
                let mut broken = Vec::new();
                due.verify(all, &mut broken);
                prop_assert_eq!(broken, [""; 0]);
            }
        }
    }

    fn broken(due: &DueCalls, expected: &[(u64, u64)]) -> usize {
        let expected = expected.iter().map(|&(at, id)| ((Timestamp(at), CallId(id)), CallIndex(id as u32)));
        let mut broken = Vec::new();
        due.verify(expected, &mut broken);
        broken.len()
    }

    /// I8: calls with the same timeout never pay for a heap.
    #[test]
    fn i8_calls_in_the_order_of_their_times_are_in_the_list() {
        let mut due = DueCalls::default();
        (0..100).for_each(|id| due.add(CallIndex(id), Timestamp(u64::from(id / 2)), CallId(u64::from(id))));
        assert_eq!((due.heap.len(), due.len()), (0, 100));
        due.set(CallIndex(50), Timestamp(7), CallId(50));
        assert_eq!((due.heap.len(), due.len(), due.next_at()), (1, 100, Timestamp(0)));
        (0..16).for_each(|id| due.remove(CallIndex(id)));
        assert_eq!(due.first(), Some((Timestamp(7), CallId(50))), "also if it is in the heap");
        (0..100).for_each(|id| due.remove(CallIndex(id)));
        assert_eq!((due.first(), due.next_at(), due.len()), (None, Timestamp::NEVER, 0));
    }

    /// I8: lost entries are found.
    #[test]
    fn i8_entry_that_is_lost_is_reported() {
        let mut due = DueCalls::default();
        (1..=3).for_each(|id| due.add(CallIndex(id), Timestamp(u64::from(id)), CallId(u64::from(id))));
        assert_eq!(broken(&due, &[(1, 1), (2, 2), (3, 3)]), 0);
        assert!(broken(&due, &[(1, 1), (3, 3)]) > 0 && broken(&due, &[(1, 1), (2, 2), (4, 3)]) > 0);
        let mut unlinked = due.clone();
        unlinked.first = CallIndex(2);
        assert!(broken(&unlinked, &[(1, 1), (2, 2), (3, 3)]) > 0, "the first call is in no list");
        due.next_at = Timestamp(2);
        assert!(broken(&due, &[(1, 1), (2, 2), (3, 3)]) > 0, "the pool would wake up too late");
    }
}
