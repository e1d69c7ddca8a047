//! Idle rows in the order in which they are due: an unrolled linked list. Holds only row numbers.
//!
//! To touch a row is to remove it and append it again, which writes to two blocks. A plain linked list also writes to
//! both neighbours, which costs two cache misses at a million sessions. The number of due rows is a sum over blocks.
//! Sparse blocks are merged with a neighbour, so that the number of blocks is bounded by the number of rows
//! ([I6](crate#invariants)).

use crate::Timestamp;
use std::hash::{Hash, Hasher};

const BLOCK: usize = 256;
/// Two neighbours with at most this many rows together are merged. A higher value causes more merges, each of which
/// reads the rows it moves, with a cache miss for each. A lower value needs more memory: an entry has four bytes, and
/// there are up to sixteen entries for each row (three if rows are touched at random).
const SPARSE: usize = BLOCK / 8;
const NONE: u32 = u32::MAX;

/// The position of a row: the number of the block, and the entry within it in the low byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListPosition(u32);

/// A block. Its entries are stored separately, since most touches need only these few bytes of many blocks, and since
/// growth must not copy them: at a million sessions that stops the pool.
#[derive(Clone, Debug)]
struct Block {
    /// Row numbers, the earliest first; [`NONE`] for a removed row.
    entries: Box<[u32; BLOCK]>,
    live: u32,
    /// Entries in use, whether live or removed.
    used: u32,
    previous: u32,
    next: u32,
    /// The time of the last append. No row of the block was appended later.
    newest: Timestamp,
}

/// Rows in the order in which they were appended.
#[derive(Clone, Debug)]
pub(crate) struct ExpiryList {
    blocks: Vec<Block>,
    /// The first unused block; each unused block names the next one in `next`.
    vacant: u32,
    first: u32,
    last: u32,
    len: usize,
    /// The number of entries at the front of the first block that are known to be empty, so that `first` is O(1).
    skip: usize,
}

/// A block that has become sparse and may be merged with a neighbour.
#[derive(Clone, Copy, Debug)]
#[must_use = "sparse blocks must be merged, or their number grows without bound"]
pub(crate) struct Sparse(u32);

impl ExpiryList {
    pub(crate) fn new() -> Self {
        Self { blocks: Vec::new(), vacant: NONE, first: NONE, last: NONE, len: 0, skip: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends a row. `now` must not be earlier than in any previous call.
    #[inline(always)]
    pub(crate) fn append(&mut self, row: u32, now: Timestamp) -> ListPosition {
        if self.blocks.get(self.last as usize).is_none_or(|block| block.used as usize == BLOCK) {
            self.add_block();
        }
        let block = &mut self.blocks[self.last as usize];
        let entry = block.used as usize;
        block.entries[entry % BLOCK] = row;
        block.live += 1;
        block.used += 1;
        block.newest = now;
        self.len += 1;
        position(self.last, entry)
    }

    /// Removes a row. If the result is not `None`, the caller must pass it to [`merge`](Self::merge), after the row has
    /// its new position.
    #[inline]
    pub(crate) fn remove(&mut self, place: ListPosition) -> Option<Sparse> {
        let (at, entry) = (place.0 as usize / BLOCK, place.0 as usize % BLOCK);
        let block = &mut self.blocks[at];
        block.entries[entry] = NONE;
        self.len -= 1;
        block.live -= 1;
        let live = block.live as usize;
        if live == 0 {
            self.drop_block(at as u32);
            return None;
        }
        if at as u32 == self.first && entry == self.skip {
            self.skip_empty();
        }
        (live < SPARSE).then_some(Sparse(at as u32))
    }

    /// Merges a sparse block with a neighbour, if both together are sparse, and reports the new position of each row
    /// that moves.
    pub(crate) fn merge(&mut self, Sparse(at): Sparse, moved: impl FnMut(u32, ListPosition)) {
        let Some(block) = self.blocks.get(at as usize).filter(|block| block.live > 0) else { return };
        let (previous, next) = (block.previous, block.next);
        // Rows always move into the later block: it has the later `newest`, which then holds for the rows of both, and
        // the order is kept.
        if self.are_sparse(at, next) {
            self.move_into(at, next, moved);
        } else if self.are_sparse(previous, at) {
            self.move_into(previous, at, moved);
        }
    }

    /// Returns the row at a position. For checks.
    pub(crate) fn at(&self, place: ListPosition) -> u32 {
        self.blocks[place.0 as usize / BLOCK].entries[place.0 as usize % BLOCK]
    }

    /// Returns the row that was appended first.
    pub(crate) fn first(&self) -> Option<u32> {
        self.blocks.get(self.first as usize).map(|block| block.entries[self.skip])
    }

    /// Returns the number of due rows, which are always the first ones of the list. `is_over(time)` returns whether all
    /// rows that were appended up to `time` are due. Costs the number of blocks, plus the rows of one block.
    pub(crate) fn count_due(&self, is_over: impl Fn(Timestamp) -> bool, is_due: impl Fn(u32) -> bool) -> usize {
        let (mut due, mut at) = (0, self.first);
        while let Some(block) = self.blocks.get(at as usize) {
            if !is_over(block.newest) {
                return due + self.rows(at).take_while(|row| is_due(*row)).count();
            }
            due += block.live as usize;
            at = block.next;
        }
        due
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        let known = |at: u32| (at != NONE).then_some(at);
        let blocks = std::iter::successors(known(self.first), move |at| known(self.blocks[*at as usize].next));
        blocks.flat_map(|at| self.rows(at))
    }

    fn rows(&self, at: u32) -> impl Iterator<Item = u32> {
        let block = &self.blocks[at as usize];
        block.entries[..block.used as usize].iter().copied().filter(|row| *row != NONE)
    }

    #[inline]
    fn skip_empty(&mut self) {
        let entries = &self.blocks[self.first as usize].entries;
        while entries[self.skip] == NONE {
            // Ends at a live entry, since a block without one is dropped.
            self.skip += 1;
        }
    }

    /// Appends an empty block.
    #[cold]
    fn add_block(&mut self) {
        let (previous, newest) = (self.last, Timestamp(0));
        let at = match self.blocks.get_mut(self.vacant as usize) {
            // The entries of a reused block are not cleared: entries from `used` on are never read.
            Some(block) => {
                let next = std::mem::replace(&mut block.next, NONE);
                (block.live, block.used, block.previous, block.newest) = (0, 0, previous, newest);
                std::mem::replace(&mut self.vacant, next)
            }
            None => {
                let entries = Box::new([NONE; BLOCK]);
                self.blocks.push(Block { entries, live: 0, used: 0, previous, next: NONE, newest });
                (self.blocks.len() - 1) as u32
            }
        };
        self.link(self.last, at);
        self.last = at;
    }

    #[inline(never)]
    fn drop_block(&mut self, at: u32) {
        let Block { previous, next, .. } = self.blocks[at as usize];
        self.link(previous, next);
        if next == NONE {
            self.last = previous;
        }
        let block = &mut self.blocks[at as usize];
        (block.live, block.next) = (0, self.vacant);
        self.vacant = at;
    }

    /// Makes two blocks neighbours. Either may be `NONE`.
    fn link(&mut self, before: u32, after: u32) {
        if let Some(block) = self.blocks.get_mut(after as usize) {
            block.previous = before;
        }
        match self.blocks.get_mut(before as usize) {
            Some(block) => block.next = after,
            None => self.begin_at(after),
        }
    }

    fn begin_at(&mut self, first: u32) {
        (self.first, self.skip) = (first, 0);
        if self.blocks.get(first as usize).is_some_and(|block| block.live > 0) {
            self.skip_empty();
        }
    }

    /// Returns whether two neighbours should be merged. The cost of a merge is amortized over the appends that filled
    /// the blocks.
    fn are_sparse(&self, before: u32, after: u32) -> bool {
        match (self.blocks.get(before as usize), self.blocks.get(after as usize)) {
            (Some(before), Some(after)) => (before.live + after.live) as usize <= SPARSE,
            _ => false,
        }
    }

    /// Moves the rows of a block to the front of the next block.
    fn move_into(&mut self, from: u32, into: u32, mut moved: impl FnMut(u32, ListPosition)) {
        // Collected first: the entries of `into` are still read while the rows are renumbered.
        let (mut rows, mut live) = ([NONE; SPARSE], 0);
        for row in self.rows(from).chain(self.rows(into)) {
            moved(row, position(into, live));
            rows[live] = row;
            live += 1;
        }
        let block = &mut self.blocks[into as usize];
        block.entries[..SPARSE].copy_from_slice(&rows);
        (block.live, block.used) = (live as u32, live as u32);
        self.drop_block(from);
    }
}

fn position(block: u32, entry: usize) -> ListPosition {
    ListPosition(block * BLOCK as u32 + entry as u32)
}

/// Only the order is compared, not the block in which a row is stored.
impl PartialEq for ExpiryList {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for ExpiryList {}

impl Hash for ExpiryList {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.iter().for_each(|row| row.hash(state));
    }
}

/// Positions follow from the list, so they are not compared.
impl PartialEq for ListPosition {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ListPosition {}

impl Hash for ListPosition {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// An expiry list next to a plain queue with the same rows, for comparison.
    struct Reference {
        list: ExpiryList,
        places: Vec<Option<ListPosition>>,
        plain: VecDeque<(u32, u64)>,
    }

    impl Reference {
        fn append(&mut self, row: u32, now: u64) {
            self.places[row as usize] = Some(self.list.append(row, Timestamp(now)));
            self.plain.push_back((row, now));
        }

        fn remove(&mut self, row: u32) {
            let Some(place) = self.places[row as usize].take() else { return };
            self.plain.retain(|(other, _)| *other != row);
            if let Some(sparse) = self.list.remove(place) {
                let places = &mut self.places;
                self.list.merge(sparse, |row, place| places[row as usize] = Some(place));
            }
        }

        fn check(&self, cut: u64) {
            assert!(self.list.iter().eq(self.plain.iter().map(|(row, _)| *row)));
            assert_eq!(self.list.first(), self.plain.front().map(|(row, _)| *row));
            let time = |row: u32| self.plain.iter().find(|(other, _)| *other == row).map_or(0, |(_, at)| *at);
            let due = self.list.count_due(|newest| newest.0 <= cut, |row| time(row) <= cut);
            assert_eq!(due, self.plain.iter().filter(|(_, at)| *at <= cut).count());
            let of = |at: u32| self.list.blocks.get(at as usize);
            let blocks = std::iter::successors(of(self.list.first), |block| of(block.next)).count();
            assert!(blocks <= 2 + 2 * self.list.len() / SPARSE, "{blocks} blocks for {}", self.list.len());
        }
    }

    #[test]
    fn rows_keep_their_order_when_any_row_is_removed() {
        const ROWS: u32 = 2000;
        let mut both =
            Reference { list: ExpiryList::new(), places: vec![None; ROWS as usize], plain: VecDeque::default() };
        let mut random = 7u64;
        for step in 0..60_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let row = (random >> 33) as u32 % ROWS;
            both.remove(row);
            if random >> 60 < 12 || step < 10_000 {
                both.append(row, step / 3);
            }
            if step % 997 == 0 {
                both.check(step / 4);
            }
        }
        (0..ROWS).for_each(|row| both.remove(row));
        both.check(0);
        assert_eq!((both.list.len(), both.list.first()), (0, None));
    }
}
