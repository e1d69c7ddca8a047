//! A heap from which any item can be removed in logarithmic time. Holds keys and dense numbers; what a number stands for
//! is known to its owner only.

/// The number of children of each item. With four, the heap is half as deep as with two, and the children of an item
/// are beside each other in memory.
const CHILDREN: usize = 4;

/// Items in the order of their keys, the lowest first. Each item is a dense number, and the owner stores its position:
/// `moved(item, position)` is called for each item that was placed, and positions are given back to remove an item or to
/// change its key. A key may not be equal to another one, or else their order is not defined.
///
/// # Invariants
///
/// - No item has a lower key than its parent, so the first item has the lowest key.
/// - The last position that `moved` was told for an item is its position.
#[derive(Clone, Debug)]
pub(crate) struct IndexedHeap<K> {
    items: Vec<(K, u32)>,
}

impl<K> Default for IndexedHeap<K> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<K: Copy + Ord> IndexedHeap<K> {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns the item with the lowest key.
    #[inline]
    pub(crate) fn first(&self) -> Option<(K, u32)> {
        self.items.first().copied()
    }

    /// Returns the items in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, u32)> + '_ {
        self.items.iter().copied()
    }

    /// Adds an item. O(1) if its key is higher than those of its ancestors, otherwise O(log n).
    #[inline(always)]
    pub(crate) fn push(&mut self, key: K, item: u32, mut moved: impl FnMut(u32, u32)) {
        let place = self.items.len();
        self.items.push((key, item));
        if place > 0 && key < self.items[(place - 1) / CHILDREN].0 {
            self.rise(place, (key, item), &mut moved);
        } else {
            moved(item, place as u32);
        }
    }

    /// Removes the item at a position. O(log n). Returns `None` if there is no such position.
    #[inline]
    pub(crate) fn remove(&mut self, position: u32, mut moved: impl FnMut(u32, u32)) -> Option<(K, u32)> {
        let place = position as usize;
        if place >= self.items.len() {
            return None;
        }
        let removed = self.items.swap_remove(place);
        // The last item has taken the place of the removed one. It may belong above it as well as below it, since it
        // comes from another branch.
        if let Some(&last) = self.items.get(place) {
            self.settle(place, last, &mut moved);
        }
        Some(removed)
    }

    /// Changes the key of the item at a position. O(log n). Does nothing if there is no such position.
    pub(crate) fn change(&mut self, position: u32, key: K, mut moved: impl FnMut(u32, u32)) {
        let place = position as usize;
        if let Some(&(before, item)) = self.items.get(place)
            && before != key
        {
            self.settle(place, (key, item), &mut moved);
        }
    }

    /// Moves an item to an end of the order of its new key. O(log n).
    #[inline(never)]
    fn settle(&mut self, place: usize, entry: (K, u32), moved: &mut impl FnMut(u32, u32)) {
        let parent = place.saturating_sub(1) / CHILDREN;
        if place > 0 && entry.0 < self.items[parent].0 {
            self.rise(place, entry, moved);
        } else {
            self.sink(place, entry, moved);
        }
    }

    /// Moves an entry up from `place` until its parent is lower.
    #[inline(never)]
    fn rise(&mut self, mut place: usize, entry: (K, u32), moved: &mut impl FnMut(u32, u32)) {
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.items[parent].0 <= entry.0 {
                break;
            }
            self.put(place, self.items[parent], moved);
            place = parent;
        }
        self.put(place, entry, moved);
    }

    /// Moves an entry down from `place` until no child is lower.
    fn sink(&mut self, mut place: usize, entry: (K, u32), moved: &mut impl FnMut(u32, u32)) {
        while let Some(child) = self.lowest_child(place) {
            if entry.0 <= self.items[child].0 {
                break;
            }
            self.put(place, self.items[child], moved);
            place = child;
        }
        self.put(place, entry, moved);
    }

    fn lowest_child(&self, place: usize) -> Option<usize> {
        let first = place * CHILDREN + 1;
        let end = self.items.len().min(first + CHILDREN);
        (first..end).min_by_key(|&child| self.items[child].0)
    }

    #[inline]
    fn put(&mut self, place: usize, entry: (K, u32), moved: &mut impl FnMut(u32, u32)) {
        self.items[place] = entry;
        // The items are fewer than the calls and workers of a pool, whose numbers have 32 bits.
        moved(entry.1, place as u32);
    }

    /// Returns whether no item has a lower key than its parent, and each is where `position` says. For checks.
    pub(crate) fn is_valid(&self, position: impl Fn(u32) -> u32) -> bool {
        let is_ordered = |place: usize| place == 0 || self.items[(place - 1) / CHILDREN].0 <= self.items[place].0;
        let is_known = |place: usize| position(self.items[place].1) as usize == place;
        (0..self.items.len()).all(|place| is_ordered(place) && is_known(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Adds an item with this key, which the item's number makes unique.
        Push(u8),
        /// Removes the first item.
        Pop,
        /// Removes the item of this rank among those that are in the heap.
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any::<u8>().prop_map(Step::Push),
            1 => Just(Step::Pop),
            2 => any::<usize>().prop_map(Step::Remove),
        ]
    }

    /// A heap, the positions that its owner stores, and the same items as a sorted vector.
    #[derive(Default)]
    struct Compared {
        heap: IndexedHeap<(u8, u32)>,
        positions: Vec<u32>,
        sorted: Vec<(u8, u32)>,
    }

    impl Compared {
        fn apply(&mut self, step: Step) {
            let Self { heap, positions, sorted } = self;
            let rank = match step {
                Step::Push(key) => {
                    let item = positions.len() as u32;
                    positions.push(u32::MAX);
                    heap.push((key, item), item, |item, position| positions[item as usize] = position);
                    let rank = sorted.partition_point(|&other| other < (key, item));
                    return sorted.insert(rank, (key, item));
                }
                Step::Pop => 0,
                Step::Remove(rank) => rank % sorted.len().max(1),
            };
            if rank < sorted.len() {
                let (key, item) = sorted.remove(rank);
                let removed = heap.remove(positions[item as usize], |item, at| positions[item as usize] = at);
                assert_eq!(removed, Some(((key, item), item)));
            }
        }

        fn check(&self) {
            assert!(self.heap.is_valid(|item| self.positions[item as usize]));
            assert_eq!(self.heap.first().map(|(key, _)| key), self.sorted.first().copied());
            assert_eq!(self.heap.len(), self.sorted.len());
        }
    }

    proptest! {
        #[test]
        fn heap_agrees_with_a_sorted_vector(steps in proptest::collection::vec(step(), 0..400)) {
            let mut compared = Compared::default();
            for step in steps {
                compared.apply(step);
                compared.check();
            }
            while !compared.sorted.is_empty() {
                compared.apply(Step::Pop);
                compared.check();
            }
        }
    }

    #[test]
    fn position_outside_of_the_heap_removes_nothing() {
        let mut heap = IndexedHeap::default();
        heap.push(1, 0, |_, _| {});
        assert_eq!(heap.remove(1, |_, _| {}), None);
        assert_eq!((heap.remove(0, |_, _| {}), heap.first()), (Some((1, 0)), None));
    }
}
