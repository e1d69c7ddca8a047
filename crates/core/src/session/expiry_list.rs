//! Idle rows in the order in which they come due: an unrolled list. Holds row numbers and nothing else of them.
//!
//! A row that is touched leaves its place and is appended again: two writes near no other row. A plain linked list writes to both
//! neighbours as well, which at a million sessions costs two cache misses a touch. How many are due is a sum over blocks. Blocks
//! that have become sparse are merged with a neighbour, so their number is bounded by that of the rows, however often these move.

use crate::Timestamp;
use std::hash::{Hash, Hasher};

const BLOCK: usize = 256;
/// Neighbours with no more rows than this between them are merged. A merge reads the rows it moves, each a cache miss; on the other
/// hand an entry costs four bytes, and there are up to sixteen a row (three, if rows are touched at random).
const SPARSE: usize = BLOCK / 8;
const NONE: u32 = u32::MAX;

/// Where a row hangs: the block, and in the low byte the entry of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListPosition(u32);

/// What is known of a block; its entries stand apart, since most touches need only these few bytes of many blocks.
#[derive(Clone, Debug)]
struct Block {
    live: u32,
    /// Entries in use, live or not.
    used: u32,
    previous: u32,
    next: u32,
    /// When the last one was appended: none of its rows is younger.
    newest: Timestamp,
}

/// Rows in the order in which they were appended.
#[derive(Clone, Debug)]
pub(crate) struct ExpiryList {
    /// Row numbers, oldest first; [`NONE`] where one has left.
    #[expect(clippy::vec_box, reason = "to grow must not copy the blocks: at a million sessions that stops the pool")]
    entries: Vec<Box<[u32; BLOCK]>>,
    blocks: Vec<Block>,
    /// The first block that is not in use; each names the next.
    vacant: u32,
    first: u32,
    last: u32,
    len: usize,
    /// Entries at the front of the first block that are known to be empty.
    skip: usize,
}

/// A block has become sparse and may be merged with a neighbour.
#[derive(Clone, Copy, Debug)]
#[must_use = "blocks that are never merged grow in number"]
pub(crate) struct Sparse(u32);

impl ExpiryList {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), blocks: Vec::new(), vacant: NONE, first: NONE, last: NONE, len: 0, skip: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends a row; `now` is not before that of any other.
    #[inline]
    pub(crate) fn append(&mut self, row: u32, now: Timestamp) -> ListPosition {
        if self.blocks.get(self.last as usize).is_none_or(|block| block.used as usize == BLOCK) {
            self.add_block();
        }
        let block = &mut self.blocks[self.last as usize];
        let entry = block.used as usize;
        self.entries[self.last as usize][entry % BLOCK] = row;
        block.live += 1;
        block.used += 1;
        block.newest = now;
        self.len += 1;
        position(self.last, entry)
    }

    /// Takes a row from its place. What comes back is for [`merge`](Self::merge), once the row knows of its new place.
    #[inline]
    pub(crate) fn remove(&mut self, place: ListPosition) -> Option<Sparse> {
        let (at, entry) = (place.0 as usize / BLOCK, place.0 as usize % BLOCK);
        self.entries[at][entry] = NONE;
        self.len -= 1;
        let block = &mut self.blocks[at];
        block.live -= 1;
        let live = block.live as usize;
        if live >= SPARSE && at as u32 != self.first {
            return None; // by far the most
        }
        self.removed(at as u32, live)
    }

    fn removed(&mut self, at: u32, live: usize) -> Option<Sparse> {
        if live == 0 {
            self.drop_block(at);
        } else if at == self.first {
            self.skip_empty();
        }
        (live > 0 && live < SPARSE).then_some(Sparse(at))
    }

    /// Merges a sparse block with a neighbour if that is sparse as well; tells each row that moves, and where to.
    pub(crate) fn merge(&mut self, Sparse(at): Sparse, moved: impl FnMut(u32, ListPosition)) {
        let Some(block) = self.blocks.get(at as usize).filter(|block| block.live > 0) else { return };
        let (previous, next) = (block.previous, block.next);
        if self.are_sparse(at, next) {
            self.move_into(at, next, moved);
        } else if self.are_sparse(previous, at) {
            self.move_into(previous, at, moved);
        }
    }

    /// The row that was appended first.
    pub(crate) fn first(&self) -> Option<u32> {
        self.entries.get(self.first as usize).map(|entries| entries[self.skip])
    }

    /// How many rows are due, given which ones are: from the first up to some row all of them, and none after it. `is_over` says
    /// whether all appended up to a moment are. Costs the number of blocks, and one block's rows.
    pub(crate) fn due(&self, is_over: impl Fn(Timestamp) -> bool, is_due: impl Fn(u32) -> bool) -> usize {
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
        let used = self.blocks[at as usize].used as usize;
        self.entries[at as usize][..used].iter().copied().filter(|row| *row != NONE)
    }

    fn skip_empty(&mut self) {
        let entries = &self.entries[self.first as usize];
        while entries[self.skip] == NONE {
            self.skip += 1; // ends at a live one: a block without any is dropped
        }
    }

    /// A new last block.
    #[cold]
    fn add_block(&mut self) {
        let block = Block { live: 0, used: 0, previous: self.last, next: NONE, newest: Timestamp(0) };
        let at = match self.blocks.get_mut(self.vacant as usize) {
            Some(vacant) => {
                let next = std::mem::replace(vacant, block).next;
                std::mem::replace(&mut self.vacant, next)
            }
            None => {
                self.blocks.push(block);
                self.entries.push(Box::new([NONE; BLOCK]));
                (self.blocks.len() - 1) as u32
            }
        };
        self.link(self.last, at);
        self.last = at;
    }

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

    /// Makes two blocks neighbours; either may be none.
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

    /// Whether two neighbours are to be merged. The appends that filled them have paid for it.
    fn are_sparse(&self, before: u32, after: u32) -> bool {
        match (self.blocks.get(before as usize), self.blocks.get(after as usize)) {
            (Some(before), Some(after)) => (before.live + after.live) as usize <= SPARSE,
            _ => false,
        }
    }

    /// Moves the rows of a block to the front of the next one.
    fn move_into(&mut self, from: u32, into: u32, mut moved: impl FnMut(u32, ListPosition)) {
        let (mut rows, mut live) = ([NONE; SPARSE], 0);
        for row in self.rows(from).chain(self.rows(into)) {
            moved(row, position(into, live));
            rows[live] = row;
            live += 1;
        }
        self.entries[into as usize][..SPARSE].copy_from_slice(&rows);
        let block = &mut self.blocks[into as usize];
        (block.live, block.used) = (live as u32, live as u32);
        self.drop_block(from);
    }
}

fn position(block: u32, entry: usize) -> ListPosition {
    ListPosition(block * BLOCK as u32 + entry as u32)
}

/// The order counts, not which block a row hangs in.
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

/// A place follows from the timeline it is of.
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

    /// Beside a plain queue, with rows that leave from anywhere and come back at the end.
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
            let due = self.list.due(|newest| newest.0 <= cut, |row| time(row) <= cut);
            assert_eq!(due, self.plain.iter().filter(|(_, at)| *at <= cut).count());
            let of = |at: u32| self.list.blocks.get(at as usize);
            let blocks = std::iter::successors(of(self.list.first), |block| of(block.next)).count();
            assert!(blocks <= 2 + 2 * self.list.len() / SPARSE, "{blocks} blocks for {}", self.list.len());
        }
    }

    #[test]
    fn it_is_a_queue_whose_rows_may_leave_from_anywhere() {
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
