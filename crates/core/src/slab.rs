//! Storage by dense index. Decides nothing and knows nothing about calls.

/// The number of items of a chunk.
const CHUNK: usize = 128;

/// A vector that does not move its items when it grows: with a million pending calls, one move of all of them would
/// stop the pool for tens of milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: u32,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (chunk, place) = position(index);
        self.chunks.get(chunk)?.get(place)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (chunk, place) = position(index);
        self.chunks.get_mut(chunk)?.get_mut(place)
    }

    /// Appends an item and returns its index.
    #[cold]
    pub(crate) fn push(&mut self, item: T) -> u32 {
        let (index, (chunk, _)) = (self.len, position(self.len));
        if chunk == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[chunk].push(item);
        self.len += 1;
        index
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

/// Returns the chunk of an item and its place within the chunk.
#[inline]
fn position(index: u32) -> (usize, usize) {
    (index as usize / CHUNK, index as usize % CHUNK)
}

/// Items under dense indices. The index of a removed item is used again, the last one first, so that indices stay below
/// the largest number of items that there were at one time.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    cells: Chunks<Cell<T>>,
    /// The head of the list of vacant cells; `u32::MAX` if there are none.
    vacant: u32,
}

#[derive(Clone, Debug)]
enum Cell<T> {
    /// `next` is the next vacant cell, or `u32::MAX`.
    Vacant {
        next: u32,
    },
    Taken(T),
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { cells: Chunks::default(), vacant: u32::MAX }
    }
}

impl<T> Slab<T> {
    /// Adds an item and returns its index.
    #[inline]
    pub(crate) fn insert(&mut self, item: T) -> u32 {
        let index = self.vacant;
        match self.cells.get_mut(index) {
            Some(cell) => {
                if let Cell::Vacant { next } = *cell {
                    self.vacant = next;
                }
                // The vacant cell has nothing to drop: without this, the compiler would test for it.
                std::mem::forget(std::mem::replace(cell, Cell::Taken(item)));
                index
            }
            None => self.cells.push(Cell::Taken(item)),
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        match self.cells.get(index)? {
            Cell::Taken(item) => Some(item),
            Cell::Vacant { .. } => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.cells.get_mut(index)? {
            Cell::Taken(item) => Some(item),
            Cell::Vacant { .. } => None,
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        self.remove_if(index, |_| true)
    }

    /// Removes an item if `is_meant` returns true for it.
    #[inline(always)]
    pub(crate) fn remove_if(&mut self, index: u32, is_meant: impl FnOnce(&T) -> bool) -> Option<T> {
        let cell = self.cells.get_mut(index)?;
        if !matches!(cell, Cell::Taken(item) if is_meant(item)) {
            return None;
        }
        let removed = std::mem::replace(cell, Cell::Vacant { next: self.vacant });
        self.vacant = index;
        match removed {
            Cell::Taken(item) => Some(item),
            Cell::Vacant { .. } => None,
        }
    }

    /// Returns the items in the order of their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.cells.iter().filter_map(|cell| match cell {
            Cell::Taken(item) => Some(item),
            Cell::Vacant { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_one_sequence() {
        let mut chunks = Chunks::default();
        for item in 0..5000_u32 {
            assert_eq!(chunks.push(item), item);
        }
        assert!((0..5000).all(|index| chunks.get(index) == Some(&index)));
        assert!(chunks.iter().copied().eq(0..5000));
        assert_eq!((chunks.get(5000), chunks.get(u32::MAX)), (None, None));
    }

    #[test]
    fn growth_moves_no_item() {
        let mut chunks = Chunks::default();
        chunks.push(0_u32);
        let first = std::ptr::from_ref(chunks.get(0).unwrap());
        (1..5000).for_each(|item| _ = chunks.push(item));
        assert_eq!(first, std::ptr::from_ref(chunks.get(0).unwrap()));
    }

    #[test]
    fn indices_are_used_again() {
        let mut slab = Slab::default();
        let indices: Vec<u32> = ["a", "b", "c"].into_iter().map(|item| slab.insert(item)).collect();
        assert_eq!(indices, [0, 1, 2]);
        assert_eq!((slab.remove(0), slab.remove(2), slab.remove(2)), (Some("a"), Some("c"), None));
        assert_eq!((slab.get(2), slab.get(1), slab.iter().count()), (None, Some(&"b"), 1));
        assert_eq!((slab.insert("d"), slab.insert("e"), slab.insert("f")), (2, 0, 3));
        assert_eq!(slab.iter().copied().collect::<Vec<_>>(), ["e", "b", "d", "f"]);
        *slab.get_mut(1).unwrap() = "g";
        assert_eq!((slab.remove_if(1, |item| *item == "b"), slab.get(1)), (None, Some(&"g")));
        assert_eq!((slab.remove(1), slab.remove(4)), (Some("g"), None));
    }
}
