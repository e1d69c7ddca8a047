//! The slots that can accept a call, by their number of unfinished attempts, to find the least loaded one without
//! looking at the others.

/// The number of levels. All slots with at least 63 attempts share the last one.
const LEVELS: usize = 64;
/// The level of a slot that accepts no call.
const NONE: u8 = u8::MAX;

/// The accepting slots by load. The lowest bit of the lowest level is the slot with the fewest attempts, and among
/// several the first: base slots come before overflow slots.
///
/// Constant time for up to 4,096 slots while the least loaded slot has fewer than 63 attempts. Above, it costs the number
/// of accepting slots; for more slots, one 4,096th of them.
///
/// # Invariants
/// - The bit of a slot is set in the words of its level, and in those of no other.
/// - A bit of a summary, and of `occupied`, is set if any of its words is not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoadLevels {
    /// One bit for each level: whether it has slots.
    occupied: u64,
    /// For each level one bit for each group of its words.
    summaries: Vec<u64>,
    /// For each level one bit for each slot. There are as many levels as a slot can have loads while it accepts, at most
    /// [`LEVELS`]: the number never changes, so that no call allocates.
    words: Vec<u64>,
    words_per_level: usize,
    /// The number of words in a group, as a power of two.
    group: u32,
    level_of: Vec<u8>,
}

impl LoadLevels {
    /// Returns the levels of this many slots, none of which accepts a call. `loads` is the number of different loads that
    /// a slot can have while it accepts.
    pub(super) fn new(slots: usize, loads: u32) -> Self {
        let (levels, words_per_level) = ((loads as usize).clamp(1, LEVELS), slots.div_ceil(64));
        Self {
            occupied: 0,
            summaries: vec![0; levels],
            words: vec![0; levels * words_per_level],
            words_per_level,
            group: words_per_level.div_ceil(64).next_power_of_two().trailing_zeros(),
            level_of: vec![NONE; slots],
        }
    }

    /// Sets the load of a slot, or `None` if it accepts no call.
    #[inline(always)]
    pub(super) fn put(&mut self, slot: usize, load: Option<u32>) {
        // There are at most 64 levels.
        let level = load.map_or(NONE, |load| (load as usize).min(self.summaries.len() - 1) as u8);
        let before = std::mem::replace(&mut self.level_of[slot], level);
        if before == level {
            return;
        }
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        if before != NONE {
            let words = &mut self.words[usize::from(before) * self.words_per_level + word];
            *words &= !bit;
            if *words == 0 {
                self.summarize(before, word >> self.group);
            }
        }
        if level != NONE {
            let words = &mut self.words[usize::from(level) * self.words_per_level + word];
            // Otherwise the bits that follow from the word are set already.
            if *words == 0 {
                self.summaries[usize::from(level)] |= 1 << (word >> self.group);
                self.occupied |= 1 << level;
            }
            *words |= bit;
        }
    }

    /// Updates what follows from a group of words of a level, one of which has become zero.
    #[inline(always)]
    fn summarize(&mut self, level: u8, group: usize) {
        if self.words_per_level == 1 {
            self.summaries[usize::from(level)] = 0;
            self.occupied &= !(1 << level);
        } else {
            self.summarize_group(level, group);
        }
    }

    fn summarize_group(&mut self, level: u8, group: usize) {
        let (start, end) = (group << self.group, ((group + 1) << self.group).min(self.words_per_level));
        let first = usize::from(level) * self.words_per_level;
        if self.words[first + start..first + end].iter().all(|word| *word == 0) {
            let summary = &mut self.summaries[usize::from(level)];
            *summary &= !(1 << group);
            self.occupied &= !(u64::from(*summary == 0) << level);
        }
    }

    /// Returns the accepting slot with the lowest load, and among several the first. `load` returns the exact load of a
    /// slot in the last level.
    #[inline(always)]
    pub(super) fn first(&self, load: impl Fn(usize) -> u32) -> Option<usize> {
        let level = self.occupied.trailing_zeros() as usize;
        let mut word = (self.summaries.get(level)?.trailing_zeros() as usize) << self.group;
        if level + 1 == LEVELS {
            return self.last_level().min_by_key(|slot| load(*slot));
        }
        let words = &self.words[level * self.words_per_level..];
        while *words.get(word)? == 0 {
            word += 1;
        }
        Some(word * 64 + words[word].trailing_zeros() as usize)
    }

    /// Returns the slots of the last level in ascending order.
    fn last_level(&self) -> impl Iterator<Item = usize> {
        (0..self.level_of.len()).filter(|slot| usize::from(self.level_of[*slot]) + 1 == LEVELS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(state: &mut u64, below: usize) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 16).unwrap() % below
    }

    /// R12: compared with a search of all slots, also where loads share the last level.
    #[test]
    fn the_first_slot_is_the_one_that_a_search_finds() {
        let mut state = 7;
        for (slots, window) in
            [(1, 1), (3, 4), (64, 1), (65, 8), (2048, 2), (4097, 1), (20_000, 3), (20, 64), (20, 65), (20, 200)]
        {
            let mut levels = LoadLevels::new(slots, window);
            let mut loads = vec![None; slots];
            for _ in 0..3000 {
                let slot = random(&mut state, slots);
                let load = random(&mut state, window as usize + 1) as u32;
                loads[slot] = (load < window).then_some(load);
                levels.put(slot, loads[slot]);
                let searched = (0..slots).filter(|slot| loads[*slot].is_some()).min_by_key(|slot| loads[*slot]);
                assert_eq!(levels.first(|slot| loads[slot].unwrap()), searched, "{slots} slots, window {window}");
            }
            (0..slots).for_each(|slot| levels.put(slot, None));
            assert_eq!(levels, LoadLevels::new(slots, window));
        }
    }
}
