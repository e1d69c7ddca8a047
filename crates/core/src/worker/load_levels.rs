//! The slots that can accept a call, by their number of unfinished attempts, to find the least loaded one without
//! looking at the others.

use crate::bitmap::Bitmap;

/// The number of levels. All slots with at least 63 attempts share the last one.
const LEVELS: usize = 64;
/// The level of a slot that accepts no call.
const NONE: u8 = u8::MAX;

/// The accepting slots by load. The lowest bit of the lowest level is the slot with the fewest attempts, and among
/// several the first: base slots come before overflow slots.
///
/// Constant time while the least loaded slot has fewer than 63 attempts. Above, it costs the number of accepting slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoadLevels {
    /// One bit for each level: whether it has slots.
    occupied: u64,
    /// As many levels as a slot can have loads while it accepts, at most [`LEVELS`]: the number never changes, so that
    /// no call allocates.
    levels: Vec<Bitmap>,
    level_of: Vec<u8>,
}

impl LoadLevels {
    /// Returns the levels of this many slots, none of which accepts a call. `window` is the largest window of a slot.
    pub(super) fn new(slots: usize, window: u32) -> Self {
        let levels = (window as usize).clamp(1, LEVELS);
        Self { occupied: 0, levels: vec![Bitmap::new(slots); levels], level_of: vec![NONE; slots] }
    }

    /// Sets the load of a slot, or `None` if it accepts no call.
    #[inline]
    pub(super) fn put(&mut self, slot: usize, load: Option<usize>) {
        let level = load.map_or(NONE, |load| u8::try_from(load.min(self.levels.len() - 1)).unwrap_or(NONE));
        let before = std::mem::replace(&mut self.level_of[slot], level);
        if before == level {
            return;
        }
        if let Some(slots) = self.levels.get_mut(before as usize) {
            slots.remove(slot);
            self.occupied &= !(u64::from(slots.is_empty()) << before);
        }
        if let Some(slots) = self.levels.get_mut(level as usize) {
            slots.insert(slot);
            self.occupied |= 1 << level;
        }
    }

    /// Returns the accepting slot with the lowest load, and among several the first. `load` returns the exact load of a
    /// slot in the last level.
    #[inline]
    pub(super) fn first(&self, load: impl Fn(usize) -> usize) -> Option<usize> {
        let level = self.occupied.trailing_zeros() as usize;
        let slots = self.levels.get(level)?;
        if level + 1 < LEVELS { slots.first() } else { slots.iter().min_by_key(|slot| load(*slot)) }
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
        for (slots, window) in [(1, 1), (3, 4), (64, 1), (65, 8), (2048, 2), (20, 64), (20, 65), (20, 200)] {
            let mut levels = LoadLevels::new(slots, window);
            let mut loads = vec![None; slots];
            for _ in 0..3000 {
                let slot = random(&mut state, slots);
                let load = random(&mut state, window as usize + 1);
                loads[slot] = (load < window as usize).then_some(load);
                levels.put(slot, loads[slot]);
                let searched = (0..slots).filter(|slot| loads[*slot].is_some()).min_by_key(|slot| loads[*slot]);
                assert_eq!(levels.first(|slot| loads[slot].unwrap()), searched, "{slots} slots, window {window}");
            }
            (0..slots).for_each(|slot| levels.put(slot, None));
            assert_eq!(levels, LoadLevels::new(slots, window));
        }
    }
}
