//! The index from session ids to rows: an extendible hash table (Fagin, Nievergelt, Pippenger, Strong 1979). It grows
//! by splitting one small segment at a time, so that no insert moves more than [`SEGMENT_LIMIT`] entries. (The insert
//! that makes a plain hash map grow stops the pool for 139 ms at a million sessions.) An entry stores the hash of its
//! row, so that splits and most misses read no row. The ids themselves are stored in the rows.

const SEGMENT: usize = 1024;
/// The number of entries at which a segment is split, because runs of occupied entries would become long.
const SEGMENT_LIMIT: u32 = 832;
/// The maximum number of hash bits that choose the segment: the lowest bits. The highest bits choose the bucket within
/// it. The two never overlap.
const DEPTH_LIMIT: u32 = 32 - SEGMENT.trailing_zeros();
const EMPTY: u64 = 0;

/// Row numbers by the hash of the session's id.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// The segment of each value of the low hash bits. The length is a power of two. Several entries may name the same
    /// segment.
    directory: Vec<u32>,
    segments: Vec<Segment>,
}

/// Entries at or after the bucket of their hash, without an empty bucket in between (linear probing). An entry is the
/// hash and, in the low half, the row number plus one.
#[derive(Clone, Debug)]
struct Segment {
    entries: Box<[u64; SEGMENT]>,
    /// The number of low hash bits that all entries share.
    depth: u32,
    taken: u32,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { directory: vec![0], segments: vec![Segment::new(0)] }
    }

    /// Returns the first result of `match_row` that is not `None`, called with each row that has this hash.
    #[inline(always)]
    pub(crate) fn find<T>(&self, hash: u32, mut match_row: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let entries = &self.segments[self.segment(hash)].entries;
        let mut at = first_bucket(hash);
        loop {
            let entry = entries[at % SEGMENT];
            if entry == EMPTY {
                return None;
            }
            if hash_of(entry) == hash
                && let Some(found) = match_row(row_of(entry))
            {
                return Some(found);
            }
            at += 1;
        }
    }

    /// Adds a row that is not in the index. If a thousand others share the lowest 22 bits of its hash, there is no room
    /// for it, and it will not be found by its id.
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

    /// Moves the entries whose next hash bit is set into a new segment. The directory doubles if the segment already
    /// uses all of its bits. The directory has one number for about 600 sessions, so that at a million sessions
    /// doubling copies 8 KiB.
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

    /// Adds an entry. One bucket always stays empty, since each search ends there.
    fn put(&mut self, entry: u64) {
        if self.taken as usize >= SEGMENT - 1 {
            return;
        }
        let mut at = first_bucket(hash_of(entry));
        while self.entries[at % SEGMENT] != EMPTY {
            at += 1;
        }
        self.entries[at % SEGMENT] = entry;
        self.taken += 1;
    }

    /// Removes an entry and closes the gap.
    fn take(&mut self, entry: u64) {
        let mut gap = first_bucket(hash_of(entry));
        while self.entries[gap % SEGMENT] != entry {
            if self.entries[gap % SEGMENT] == EMPTY {
                return;
            }
            gap += 1;
        }
        // Each search ends at an empty bucket, so clearing the bucket alone would hide the entries after it. Entries
        // that follow are moved into the gap, unless that would put them before the bucket of their own hash, where a
        // search does not look.
        let mut at = gap;
        loop {
            at += 1;
            let next = self.entries[at % SEGMENT];
            if next == EMPTY {
                break;
            }
            let displaced = at.wrapping_sub(first_bucket(hash_of(next))) % SEGMENT;
            if displaced >= at - gap {
                self.entries[gap % SEGMENT] = next;
                gap = at;
            }
        }
        self.entries[gap % SEGMENT] = EMPTY;
        self.taken -= 1;
    }
}

/// Returns the bucket in which the search for this hash begins.
#[inline]
fn first_bucket(hash: u32) -> usize {
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

    /// More equal hashes than a segment has room for: the rest is not found, and no search runs forever.
    #[test]
    fn searches_end_with_a_thousand_equal_hashes() {
        let mut index = Index::new();
        (0..1500).for_each(|row| index.insert(7, row));
        let found = (0..1500).filter(|row| index.find(7, |other| (other == *row).then_some(())).is_some()).count();
        assert_eq!(found, SEGMENT - 1);
        assert_eq!(index.find(8, |_| Some(())), None);
        (0..1500).for_each(|row| index.remove(7, row));
        assert_eq!(index.find(7, |_| Some(())), None);
    }

    /// Long runs, also across the end of a segment: after each removal all other rows are still found.
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
