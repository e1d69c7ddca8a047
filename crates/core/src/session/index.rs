//! Which row a session id has: an extendible hash table (Fagin, Nievergelt, Pippenger, Strong 1979). It grows by splitting
//! one small segment at a time, so that no insert ever moves more than [`SEGMENT_LIMIT`] entries (a plain map's growing
//! insert stops the pool for 139 ms at a million sessions). Derived from the rows; holds no ids itself.

use hashbrown::HashTable;

const SEGMENT_LIMIT: usize = 896; // 7/8 of 1024: a segment's own table never grows past 1024 buckets

/// Row numbers by the hash of their session's id.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// 2^depth entries; the low `depth` bits of a hash choose one. Several may name the same segment.
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
struct Segment {
    depth: u32,
    table: HashTable<u32>,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { directory: vec![0], depth: 0, segments: vec![Segment { depth: 0, table: HashTable::new() }] }
    }

    /// The row with this hash for which `is_it` holds.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.segments[self.segment(hash)].table.find(spread(hash), |&row| is_it(row)).copied()
    }

    /// Adds a row that is not here yet; `hash_of` tells any row's hash.
    pub(crate) fn insert(&mut self, hash: u64, row: u32, hash_of: impl Fn(u32) -> u64) {
        while self.segments[self.segment(hash)].table.len() >= SEGMENT_LIMIT && self.depth < 32 {
            self.split(self.segment(hash), &hash_of);
        }
        let segment = self.segment(hash);
        self.segments[segment].table.insert_unique(spread(hash), row, |&row| spread(hash_of(row)));
    }

    pub(crate) fn remove(&mut self, hash: u64, row: u32) {
        let segment = self.segment(hash);
        if let Ok(entry) = self.segments[segment].table.find_entry(spread(hash), |&other| other == row) {
            entry.remove();
        }
    }

    fn segment(&self, hash: u64) -> usize {
        self.directory[(hash & ((1 << self.depth) - 1)) as usize] as usize
    }

    /// Moves the rows whose next bit is set into a new segment. The directory doubles when the segment used all its bits:
    /// one word per 900 sessions, so at a million that copies 8 KiB.
    fn split(&mut self, full: usize, hash_of: impl Fn(u32) -> u64) {
        let depth = self.segments[full].depth;
        if depth == self.depth {
            self.directory.extend_from_within(..);
            self.depth += 1;
        }
        let bit = 1u64 << depth;
        let fresh = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        let mut moved = HashTable::with_capacity(SEGMENT_LIMIT);
        for row in self.segments[full].table.extract_if(|&mut row| hash_of(row) & bit != 0) {
            moved.insert_unique(spread(hash_of(row)), row, |&row| spread(hash_of(row)));
        }
        self.segments[full].depth = depth + 1;
        self.segments.push(Segment { depth: depth + 1, table: moved });
        for (slot, segment) in self.directory.iter_mut().enumerate() {
            if *segment as usize == full && slot as u64 & bit != 0 {
                *segment = fresh;
            }
        }
    }
}

/// All hashes of a segment share their low bits, which its table would use too: rotate those away.
fn spread(hash: u64) -> u64 {
    hash.rotate_right(32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    #[test]
    fn a_hundred_thousand_rows_are_found_and_no_segment_is_overfull() {
        let seed = foldhash::quality::FixedState::with_seed(7);
        let hash_of = |row: u32| seed.hash_one(row);
        let mut index = Index::new();
        for row in 0..100_000 {
            index.insert(hash_of(row), row, hash_of);
        }
        assert!(index.segments.iter().all(|segment| segment.table.len() <= SEGMENT_LIMIT));
        for row in (0..100_000).step_by(2) {
            index.remove(hash_of(row), row);
        }
        for row in 0..100_000 {
            assert_eq!(index.find(hash_of(row), |other| other == row), (row % 2 == 1).then_some(row));
        }
    }
}
