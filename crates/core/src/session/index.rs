//! Which row a session id has: an extendible hash table (Fagin, Nievergelt, Pippenger, Strong 1979). It grows by splitting
//! one small segment at a time, so that no insert ever moves more than [`SEGMENT_LIMIT`] entries (a plain map's growing
//! insert stops the pool for 139 ms at a million sessions). An entry has its row's hash, so that neither a split nor most
//! misses read a row. Holds no ids itself.

const SEGMENT: usize = 1024;
/// Beyond this a segment is split: runs of taken entries would become long.
const SEGMENT_LIMIT: u32 = 832;
/// The low bits of a hash choose the segment, so many at most; the high ones the place in it. They never overlap.
const DEPTH_LIMIT: u32 = 32 - SEGMENT.trailing_zeros();
const EMPTY: u64 = 0;

/// Row numbers by the hash of their session's id.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// A power of two of entries. Several may name the same segment.
    directory: Vec<u32>,
    segments: Vec<Segment>,
}

/// Entries near the place that their hash gives, with no empty one between (linear probing). An entry is the hash and, in the low
/// half, the row's number plus one.
#[derive(Clone, Debug)]
struct Segment {
    entries: Box<[u64; SEGMENT]>,
    /// Bits of the hash that all its entries share.
    depth: u32,
    taken: u32,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { directory: vec![0], segments: vec![Segment::new(0)] }
    }

    /// What `is_it` makes of the row with this hash that it knows.
    #[inline(always)]
    pub(crate) fn find<T>(&self, hash: u32, is_it: impl Fn(u32) -> Option<T>) -> Option<T> {
        let entries = &self.segments[self.segment(hash)].entries;
        let mut at = home_bucket(hash);
        loop {
            let entry = entries[at % SEGMENT];
            if entry == EMPTY {
                return None;
            }
            if hash_of(entry) == hash
                && let Some(found) = is_it(row_of(entry))
            {
                return Some(found);
            }
            at += 1;
        }
    }

    /// Adds a row that is not here yet. One whose low 22 bits of hash a thousand others have has no place, and is not found by its id.
    pub(crate) fn insert(&mut self, hash: u32, row: u32) {
        while self.segments[self.segment(hash)].is_full() {
            self.split(self.segment(hash));
        }
        let segment = self.segment(hash);
        self.segments[segment].put(entry(hash, row));
    }

    pub(crate) fn remove(&mut self, hash: u32, row: u32) {
        let segment = self.segment(hash);
        self.segments[segment].take(entry(hash, row));
    }

    #[inline]
    fn segment(&self, hash: u32) -> usize {
        self.directory[hash as usize & (self.directory.len() - 1)] as usize
    }

    /// Moves the entries whose next bit is set into a new segment. The directory doubles when the segment used all its bits:
    /// one word per 600 sessions, so at a million that copies 8 KiB.
    fn split(&mut self, full: usize) {
        let depth = self.segments[full].depth;
        if 1 << depth == self.directory.len() {
            self.directory.extend_from_within(..);
        }
        let fresh = self.segments.len() as u32;
        let before = std::mem::replace(&mut self.segments[full], Segment::new(depth + 1));
        self.segments.push(Segment::new(depth + 1));
        for &entry in before.entries.iter().filter(|entry| **entry != EMPTY) {
            let moves = hash_of(entry) >> depth & 1 == 1;
            self.segments[if moves { fresh as usize } else { full }].put(entry);
        }
        for (slot, segment) in self.directory.iter_mut().enumerate() {
            if *segment as usize == full && slot >> depth & 1 == 1 {
                *segment = fresh;
            }
        }
    }
}

impl Segment {
    fn new(depth: u32) -> Self {
        Self { entries: Box::new([EMPTY; SEGMENT]), depth, taken: 0 }
    }

    fn is_full(&self) -> bool {
        self.taken >= SEGMENT_LIMIT && self.depth < DEPTH_LIMIT
    }

    /// One entry stays empty: every search ends there.
    fn put(&mut self, entry: u64) {
        if self.taken as usize >= SEGMENT - 1 {
            return;
        }
        let mut at = home_bucket(hash_of(entry));
        while self.entries[at % SEGMENT] != EMPTY {
            at += 1;
        }
        self.entries[at % SEGMENT] = entry;
        self.taken += 1;
    }

    /// Takes an entry out and closes the gap: what follows moves up unless that would put it before its place.
    fn take(&mut self, entry: u64) {
        let mut gap = home_bucket(hash_of(entry));
        while self.entries[gap % SEGMENT] != entry {
            if self.entries[gap % SEGMENT] == EMPTY {
                return;
            }
            gap += 1;
        }
        let mut at = gap;
        loop {
            at += 1;
            let next = self.entries[at % SEGMENT];
            if next == EMPTY {
                break;
            }
            let displaced = at.wrapping_sub(home_bucket(hash_of(next))) % SEGMENT;
            if displaced >= at - gap {
                self.entries[gap % SEGMENT] = next;
                gap = at;
            }
        }
        self.entries[gap % SEGMENT] = EMPTY;
        self.taken -= 1;
    }
}

/// Where in its segment an entry of this hash belongs.
#[inline]
fn home_bucket(hash: u32) -> usize {
    (hash >> DEPTH_LIMIT) as usize
}

fn entry(hash: u32, row: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(row.wrapping_add(1))
}

#[inline]
fn hash_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

#[inline]
fn row_of(entry: u64) -> u32 {
    (entry as u32).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    #[test]
    fn a_hundred_thousand_rows_are_found_and_no_segment_is_overfull() {
        let seed = foldhash::quality::FixedState::with_seed(7);
        let hash_of = |row: u32| seed.hash_one(row) as u32;
        let mut index = Index::new();
        for row in 0..100_000 {
            index.insert(hash_of(row), row);
        }
        assert!(index.segments.iter().all(|segment| segment.taken <= SEGMENT_LIMIT));
        for row in (0..100_000).step_by(2) {
            index.remove(hash_of(row), row);
        }
        for row in 0..100_000 {
            assert_eq!(index.find(hash_of(row), |other| (other == row).then_some(row)), (row % 2 == 1).then_some(row));
        }
    }

    /// More than a segment holds, of one hash: what has no place is not found, and nothing hangs.
    #[test]
    fn a_thousand_equal_hashes_end_no_search() {
        let mut index = Index::new();
        (0..1500).for_each(|row| index.insert(7, row));
        let found = (0..1500).filter(|row| index.find(7, |other| (other == *row).then_some(())).is_some()).count();
        assert_eq!(found, SEGMENT - 1);
        assert_eq!(index.find(8, |_| Some(())), None);
        (0..1500).for_each(|row| index.remove(7, row));
        assert_eq!(index.find(7, |_| Some(())), None);
    }

    /// Long runs, also over the end of a segment: whatever is taken out, the rest is found.
    #[test]
    fn rows_whose_hashes_collide_are_found() {
        let hash_of = |row: u32| (1020 + row % 5) << DEPTH_LIMIT;
        let mut index = Index::new();
        (0..500).for_each(|row| index.insert(hash_of(row), row));
        for gone in 0..500 {
            index.remove(hash_of(gone), gone);
            index.remove(hash_of(gone), gone);
            for row in (0..500).step_by(7) {
                assert_eq!(
                    index.find(hash_of(row), |other| (other == row).then_some(row)),
                    (row > gone).then_some(row)
                );
            }
        }
        assert_eq!(index.segments[0].taken, 0);
    }
}
