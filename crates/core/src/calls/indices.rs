//! The indices of calls, by their ids. Knows nothing about the calls.

use crate::CallId;

/// The place of a call among the pending ones: a dense number. The number of a settled call is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CallIndex(pub(super) u32);

/// The number of cells of the smallest table.
const MIN_CELLS: usize = 32;

/// A hash table from ids to indices, with linear probing. Ids are handed out one after the other, so that a
/// multiplication spreads them evenly. Callers cannot choose ids, so they cannot cause collisions.
///
/// # Invariants
/// - No cell is empty between the cell where the search for an id starts and the cell that holds it.
/// - At most half of the cells are in use, so that a search soon meets an empty one.
#[derive(Clone, Debug)]
pub(super) struct Indices {
    /// As many as a power of two.
    cells: Box<[Option<(CallId, CallIndex)>]>,
    len: usize,
}

impl Default for Indices {
    fn default() -> Self {
        Self { cells: vec![None; MIN_CELLS].into(), len: 0 }
    }
}

impl Indices {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, id: CallId) -> Option<CallIndex> {
        let mut place = self.home(id);
        while let Some((found, index)) = self.cells[place] {
            if found == id {
                return Some(index);
            }
            place = self.after(place);
        }
        None
    }

    /// Adds an id that is not in the table.
    #[inline]
    pub(super) fn insert(&mut self, id: CallId, index: CallIndex) {
        if self.len * 2 >= self.cells.len() {
            self.grow();
        }
        self.put(id, index);
        self.len += 1;
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, id: CallId) -> Option<CallIndex> {
        let mut place = self.home(id);
        loop {
            let (found, index) = self.cells[place]?;
            if found == id {
                self.len -= 1;
                self.close(place);
                return Some(index);
            }
            place = self.after(place);
        }
    }

    fn put(&mut self, id: CallId, index: CallIndex) {
        let mut place = self.home(id);
        while self.cells[place].is_some() {
            place = self.after(place);
        }
        self.cells[place] = Some((id, index));
    }

    /// Empties a cell. A search ends at an empty cell, so each entry after it that began its search at the cell or
    /// before it moves into the gap.
    #[inline]
    fn close(&mut self, mut gap: usize) {
        let mask = self.cells.len() - 1;
        let mut place = self.after(gap);
        while let Some(entry) = self.cells[place] {
            let (from_home, from_gap) = (place.wrapping_sub(self.home(entry.0)), place.wrapping_sub(gap));
            if from_home & mask >= from_gap & mask {
                self.cells[gap] = Some(entry);
                gap = place;
            }
            place = self.after(place);
        }
        self.cells[gap] = None;
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![None; self.cells.len() * 2].into();
        let before = std::mem::replace(&mut self.cells, larger);
        before.iter().flatten().for_each(|(id, index)| self.put(*id, *index));
    }

    /// Returns the cell in which the search for an id begins.
    #[inline]
    fn home(&self, id: CallId) -> usize {
        // 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming, volume 3, 6.4).
        let hash = id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & (self.cells.len() - 1)
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.cells.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Compared with a list, for ids whose searches overlap and wrap around, and over several tables.
        #[test]
        fn each_id_leads_to_its_index(steps in prop::collection::vec((0..300_u64, 0..3_u8), 1..800)) {
            let (mut indices, mut model) = (Indices::default(), vec![None; 300]);
            for (at, (id, step)) in (0..).zip(steps) {
                let known = &mut model[usize::try_from(id).unwrap()];
                if step == 0 {
                    prop_assert_eq!(indices.remove(CallId(id)), known.take());
                } else if known.is_none() {
                    *known = Some(CallIndex(at));
                    indices.insert(CallId(id), CallIndex(at));
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
            assert_eq!(indices.remove(CallId(id)), Some(CallIndex(1)));
        }
        assert_eq!((indices.cells.len(), indices.get(CallId(0))), (MIN_CELLS, Some(CallIndex(0))));
    }
}
