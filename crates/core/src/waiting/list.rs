//! The waiting calls by dense number, and lists of them, from which a call at any position is removed in constant time.
//! Which lists there are, and in which one a call is, is decided elsewhere.

use super::fairness::VirtualTime;
use crate::{CallId, slab::Slab};

/// The number of no call.
pub(super) const NONE: u32 = u32::MAX;

/// A waiting call: its place in the fair order, and its position and neighbours if it is in a queue and a list. It is in
/// at most one of each.
#[derive(Clone, Debug)]
struct WaitingCall {
    virtual_time: VirtualTime,
    call: CallId,
    before: u32,
    after: u32,
    /// The position of the call in its queue.
    position: u32,
}

/// The waiting calls. The number of a call that waits no more is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct WaitingSlab(Slab<WaitingCall>);

/// The ends of a list. The links between its calls are stored with the calls.
///
/// # Invariants
///
/// - `len` calls are reached from `first` by the links, the last of them is `last`, and the way back is the same.
#[derive(Clone, Debug)]
pub(super) struct CallList {
    first: u32,
    last: u32,
    len: u32,
}

impl Default for CallList {
    fn default() -> Self {
        Self { first: NONE, last: NONE, len: 0 }
    }
}

impl CallList {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }
}

impl WaitingSlab {
    /// Adds a call and returns its number.
    pub(super) fn insert(&mut self, virtual_time: VirtualTime, call: CallId) -> u32 {
        self.0.insert(WaitingCall { virtual_time, call, before: NONE, after: NONE, position: NONE })
    }

    /// Removes a call that is in no list.
    pub(super) fn remove(&mut self, number: u32) {
        self.0.remove(number);
    }

    /// Returns the place of a call in the fair order.
    pub(super) fn key(&self, number: u32) -> Option<(VirtualTime, CallId)> {
        self.0.get(number).map(|call| (call.virtual_time, call.call))
    }

    /// Returns the position of a call in its queue.
    pub(super) fn position(&self, number: u32) -> u32 {
        self.0.get(number).map_or(NONE, |call| call.position)
    }

    pub(super) fn set_position(&mut self, number: u32, position: u32) {
        if let Some(call) = self.0.get_mut(number) {
            call.position = position;
        }
    }

    /// Returns the number of calls.
    pub(super) fn count(&self) -> usize {
        self.0.iter().count()
    }

    /// Adds a call to the end of a list.
    pub(super) fn append(&mut self, list: &mut CallList, number: u32) {
        if let Some(call) = self.0.get_mut(number) {
            call.before = list.last;
        }
        match self.0.get_mut(list.last) {
            Some(last) => last.after = number,
            None => list.first = number,
        }
        list.last = number;
        list.len += 1;
    }

    /// Removes a call from the list that it is in.
    pub(super) fn unlink(&mut self, list: &mut CallList, number: u32) {
        let Some(call) = self.0.get_mut(number) else { return };
        let (before, after) = (call.before, call.after);
        (call.before, call.after) = (NONE, NONE);
        match self.0.get_mut(before) {
            Some(neighbour) => neighbour.after = after,
            None => list.first = after,
        }
        match self.0.get_mut(after) {
            Some(neighbour) => neighbour.before = before,
            None => list.last = before,
        }
        list.len -= 1;
    }

    /// Returns the calls of a list, in the order in which they were added.
    pub(super) fn calls(&self, list: &CallList) -> impl Iterator<Item = CallId> {
        self.entries(list).map(|(_, call)| call)
    }

    /// Returns the calls of a list with their virtual times, in the order in which they were added.
    pub(super) fn entries(&self, list: &CallList) -> impl Iterator<Item = (VirtualTime, CallId)> {
        let mut next = list.first;
        std::iter::from_fn(move || {
            let call = self.0.get(next)?;
            next = call.after;
            Some((call.virtual_time, call.call))
        })
    }

    /// Returns whether the links of a list lead from one end to the other and back. For checks.
    pub(super) fn is_linked(&self, list: &CallList) -> bool {
        let (mut before, mut next, mut len) = (NONE, list.first, 0);
        // Bounded, so that links in a circle end it.
        while let Some(call) = self.0.get(next).filter(|call| call.before == before && len < list.len) {
            (before, next, len) = (next, call.after, len + 1);
        }
        (before, next, len) == (list.last, NONE, list.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Adds calls to two lists and removes them at any position; compares the lists with vectors.
        #[test]
        fn lists_agree_with_vectors(steps in proptest::collection::vec((any::<bool>(), any::<Option<usize>>()), 0..200)) {
            let (mut slab, mut lists) = (WaitingSlab::default(), [CallList::default(), CallList::default()]);
            let mut expected = [Vec::new(), Vec::new()];
            for (id, (which, removed)) in (0..).zip(steps) {
                let (list, expected) = (&mut lists[usize::from(which)], &mut expected[usize::from(which)]);
                match removed {
                    Some(rank) if !expected.is_empty() => {
                        let (number, _) = expected.remove(rank % expected.len());
                        slab.unlink(list, number);
                        slab.remove(number);
                    }
                    _ => {
                        let number = slab.insert(VirtualTime::default(), CallId(id));
                        slab.append(list, number);
                        expected.push((number, CallId(id)));
                    }
                }
                prop_assert!(slab.is_linked(list) && list.len() == expected.len());
                prop_assert!(slab.calls(list).eq(expected.iter().map(|&(_, call)| call)));
            }
            prop_assert_eq!(slab.count(), expected[0].len() + expected[1].len());
        }
    }
}
