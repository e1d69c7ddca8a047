//! The indices of calls, by their ids. Knows nothing about the calls.

use crate::{CallId, derived::Derived};

/// The place of a call among the pending ones: a dense number. The number of a settled call is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CallIndex(pub(super) u32);

/// The identity of a pending call, and its place, so that it is found without a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallKey {
    pub(crate) id: CallId,
    /// Equal pools may have the same calls at different places.
    pub(super) index: Derived<CallIndex>,
}

#[cfg(test)]
impl CallKey {
    /// Returns a key for tests that need no call.
    pub(crate) fn of(id: CallId) -> Self {
        Self { id, index: Derived(CallIndex(0)) }
    }
}

/// The end of a chain.
const NONE: CallIndex = CallIndex(u32::MAX);
/// The number of chains of the smallest table.
const MIN_CHAINS: usize = 32;

/// A hash table from ids to indices. Calls whose ids have the same hash are a chain, so that a call whose index is known
/// joins and leaves the table without a search. Ids are handed out one after the other, so that a multiplication
/// spreads them evenly. Callers cannot choose ids, so they cannot cause collisions.
///
/// # Invariants
/// - A call is in the chain of its id, and in no other.
/// - There are at least as many chains as indices, so that chains are short. Indices are dense: there are as many as there
///   were calls at one time.
#[derive(Clone, Debug)]
pub(super) struct Indices {
    /// The first call of each chain. As many as a power of two.
    chains: Box<[CallIndex]>,
    /// By index. Those of settled calls are never read.
    links: Vec<Link>,
    len: usize,
}

/// A call in its chain.
#[derive(Clone, Copy, Debug)]
struct Link {
    id: CallId,
    after: CallIndex,
}

impl Default for Indices {
    fn default() -> Self {
        Self { chains: vec![NONE; MIN_CHAINS].into(), links: Vec::new(), len: 0 }
    }
}

impl Indices {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, id: CallId) -> Option<CallIndex> {
        let mut index = self.chains[self.chain_of(id)];
        while let Some(link) = self.links.get(index.0 as usize) {
            if link.id == id {
                return Some(index);
            }
            index = link.after;
        }
        None
    }

    /// Adds an id that is not in the table.
    #[inline]
    pub(super) fn insert(&mut self, id: CallId, index: CallIndex) {
        if self.links.len() <= index.0 as usize {
            self.grow(index);
        }
        self.len += 1;
        self.put(id, index);
    }

    /// Removes an id that has this index.
    #[inline]
    pub(super) fn remove(&mut self, id: CallId, index: CallIndex) {
        self.len -= 1;
        let chain = self.chain_of(id);
        if self.chains[chain] == index {
            self.chains[chain] = self.links[index.0 as usize].after;
        } else {
            self.remove_later(chain, index);
        }
    }

    /// Removes an index that is not the first of its chain.
    fn remove_later(&mut self, chain: usize, index: CallIndex) {
        let mut before = self.chains[chain];
        while let Some(link) = self.links.get(before.0 as usize).copied() {
            if link.after == index {
                self.links[before.0 as usize].after = self.links[index.0 as usize].after;
                return;
            }
            before = link.after;
        }
    }

    #[inline]
    fn put(&mut self, id: CallId, index: CallIndex) {
        let chain = self.chain_of(id);
        let first = &mut self.chains[chain];
        self.links[index.0 as usize] = Link { id, after: *first };
        *first = index;
    }

    /// Makes room for an index, which is the next one, and for as many chains.
    #[cold]
    fn grow(&mut self, index: CallIndex) {
        self.links.resize(index.0 as usize + 1, Link { id: CallId(0), after: NONE });
        if self.links.len() <= self.chains.len() {
            return;
        }
        let larger = vec![NONE; self.chains.len() * 2].into();
        let before = std::mem::replace(&mut self.chains, larger);
        for mut index in before {
            while let Some(link) = self.links.get(index.0 as usize).copied() {
                self.put(link.id, index);
                index = link.after;
            }
        }
    }

    #[inline]
    fn chain_of(&self, id: CallId) -> usize {
        // 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming, volume 3, 6.4).
        let hash = id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & (self.chains.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;
    use proptest::prelude::*;

    proptest! {
        /// Compared with a list, for ids that share chains, and over several sizes of the table.
        #[test]
        fn each_id_leads_to_its_index(steps in prop::collection::vec((0..300_u64, 0..3_u8), 1..800)) {
            let (mut indices, mut slab, mut model) = (Indices::default(), Slab::default(), vec![None; 300]);
            for (id, step) in steps {
                let known = &mut model[usize::try_from(id).unwrap()];
                match (step, *known) {
                    (0, Some(index)) => {
                        indices.remove(CallId(id), index);
                        slab.remove(index.0);
                        *known = None;
                    }
                    (1.., None) => {
                        let index = CallIndex(slab.insert(id));
                        *known = Some(index);
                        indices.insert(CallId(id), index);
                    }
                    _ => {}
                }
                for (id, known) in (0..).zip(&model) {
                    prop_assert_eq!(indices.get(CallId(id)), *known);
                }
                prop_assert_eq!(indices.len(), model.iter().flatten().count());
            }
        }
    }

    /// A long-lived id does not make the table grow while others come and go.
    #[test]
    fn table_grows_with_the_ids_that_it_has() {
        let mut indices = Indices::default();
        indices.insert(CallId(0), CallIndex(0));
        for id in 1..100_000 {
            indices.insert(CallId(id), CallIndex(1));
            indices.remove(CallId(id), CallIndex(1));
        }
        assert_eq!((indices.chains.len(), indices.get(CallId(0))), (MIN_CHAINS, Some(CallIndex(0))));
        (2..100).for_each(|index| indices.insert(CallId(100_000 + u64::from(index)), CallIndex(index)));
        assert_eq!(indices.chains.len(), 128);
    }
}
