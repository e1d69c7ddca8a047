//! The choice of a worker for a new session. Only pools with affinity have it ([I5](crate#invariants)).

/// The key of a slot that accepts no call.
pub(super) const NEVER: u64 = u64::MAX;

/// Returns the key of an accepting slot with this many sessions and attempts. Lower keys are chosen first.
pub(super) fn key(sessions: u32, attempts: usize) -> u64 {
    u64::from(sessions) << 32 | u64::from(u32::try_from(attempts).unwrap_or(u32::MAX).min(u32::MAX - 1))
}

/// The accepting slots by their number of sessions, then by their number of unfinished attempts, then by their place.
/// Base slots and overflow slots are apart, since new sessions go to overflow workers only if no base worker is alive.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    base: WinnerTree,
    overflow: WinnerTree,
    /// The number of base slots, which are the first ones.
    base_slots: usize,
    /// The number of overflow slots, which follow. A slot after those is a base slot.
    overflow_slots: usize,
}

/// A tournament of keys, whose root names the leaf with the lowest one.
///
/// Almost every call changes a number of attempts, and few calls create a session. So a change only marks its leaf, and
/// the next choice updates the marked leaves: O(log leaves) for each, and never more than O(leaves).
///
/// # Invariants
/// The key of each leaf that is not marked is the current one, and each inner node names the lower of its children.
#[derive(Clone, Debug)]
struct WinnerTree {
    /// The key of each leaf, filled up to a power of two with keys that never win.
    keys: Vec<u64>,
    /// The winning leaf of each inner node. The root is 1, and the children of node n are 2n and 2n + 1.
    winners: Vec<usize>,
    /// The marked leaves, each once.
    marked: Vec<usize>,
    is_marked: Vec<bool>,
}

impl Placement {
    /// Returns the placement of these slots, all of which are marked.
    pub(super) fn new(base: usize, overflow: usize) -> Self {
        let trees = (WinnerTree::new(base), WinnerTree::new(overflow));
        Self { base: trees.0, overflow: trees.1, base_slots: base, overflow_slots: overflow }
    }

    /// Adds a base slot after all others. All base slots are marked.
    pub(super) fn add_base_slot(&mut self) {
        self.base = WinnerTree::new(self.base.is_marked.len() + 1);
    }

    /// Marks a slot whose number of sessions or attempts, or whose ability to accept calls, may have changed.
    #[inline(always)]
    pub(super) fn mark(&mut self, slot: usize) {
        match slot.checked_sub(self.base_slots) {
            None => self.base.mark(slot),
            Some(overflow) if overflow < self.overflow_slots => self.overflow.mark(overflow),
            Some(_) => self.base.mark(slot - self.overflow_slots),
        }
    }

    /// Returns the slot for a new session. `base_only` leaves out the overflow slots.
    pub(super) fn best(&mut self, base_only: bool, key_of: impl Fn(usize) -> u64) -> Option<usize> {
        if base_only {
            let slot = self.base_leaf_to_slot();
            return self.base.best(|leaf| key_of(slot(leaf))).map(slot);
        }
        let base_slots = self.base_slots;
        // Without a live base worker, no base slot accepts a call.
        self.overflow.best(|leaf| key_of(base_slots + leaf)).map(|leaf| base_slots + leaf)
    }

    fn base_leaf_to_slot(&self) -> impl Fn(usize) -> usize + Copy + use<> {
        let (base_slots, overflow_slots) = (self.base_slots, self.overflow_slots);
        move |leaf| if leaf < base_slots { leaf } else { leaf + overflow_slots }
    }

    /// Returns whether the invariants hold, if `key_of` returns the current keys. A slot for which `is_pending` returns
    /// true will be marked before the next choice.
    pub(super) fn is_consistent(&self, key_of: impl Fn(usize) -> u64, is_pending: impl Fn(usize) -> bool) -> bool {
        let is_current = |slot: usize, key: u64| is_pending(slot) || key == key_of(slot);
        let (base_slot, overflow_slot) = (self.base_leaf_to_slot(), |leaf: usize| self.base_slots + leaf);
        self.base.is_consistent(|leaf, key| is_current(base_slot(leaf), key))
            && self.overflow.is_consistent(|leaf, key| is_current(overflow_slot(leaf), key))
    }
}

impl WinnerTree {
    fn new(leaves: usize) -> Self {
        let size = leaves.next_power_of_two().max(2);
        let mut tree = Self {
            keys: vec![NEVER; size],
            winners: vec![0; size],
            marked: Vec::with_capacity(leaves),
            is_marked: vec![false; leaves],
        };
        (1..size).rev().for_each(|node| tree.winners[node] = tree.winner_of(node));
        (0..leaves).for_each(|leaf| tree.mark(leaf));
        tree
    }

    // Nearly all leaves that change are marked already.
    #[inline(always)]
    fn mark(&mut self, leaf: usize) {
        if !self.is_marked[leaf] {
            self.add_mark(leaf);
        }
    }

    #[inline(never)]
    fn add_mark(&mut self, leaf: usize) {
        self.is_marked[leaf] = true;
        self.marked.push(leaf);
    }

    fn best(&mut self, key_of: impl Fn(usize) -> u64) -> Option<usize> {
        let size = self.keys.len();
        // Above this number of marks, a new tournament costs less than one path to the root for each.
        let is_new = self.marked.len() * size.ilog2() as usize > size;
        while let Some(leaf) = self.marked.pop() {
            self.is_marked[leaf] = false;
            self.keys[leaf] = key_of(leaf);
            let mut node = (size + leaf) / 2;
            while !is_new && node > 0 {
                self.winners[node] = self.winner_of(node);
                node /= 2;
            }
        }
        if is_new {
            (1..size).rev().for_each(|node| self.winners[node] = self.winner_of(node));
        }
        Some(self.winners[1]).filter(|leaf| self.keys[*leaf] != NEVER)
    }

    /// Returns the winner of the children of a node; of equal ones the first.
    fn winner_of(&self, node: usize) -> usize {
        let size = self.keys.len();
        let of = |child: usize| if child < size { self.winners[child] } else { child - size };
        let (left, right) = (of(2 * node), of(2 * node + 1));
        if self.keys[right] < self.keys[left] { right } else { left }
    }

    fn is_consistent(&self, is_current: impl Fn(usize, u64) -> bool) -> bool {
        (1..self.keys.len()).all(|node| self.winners[node] == self.winner_of(node))
            && self.is_marked.iter().filter(|is_marked| **is_marked).count() == self.marked.len()
            && self.marked.iter().all(|leaf| self.is_marked[*leaf])
            && (0..self.is_marked.len()).all(|leaf| self.is_marked[leaf] || is_current(leaf, self.keys[leaf]))
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

    /// R12: compared with a search of all slots, after few changes and after many.
    #[test]
    fn the_best_slot_is_the_one_that_a_search_finds() {
        let mut state = 3;
        for (base, overflow) in [(1, 0), (2, 1), (3, 3), (64, 5), (1000, 1024)] {
            let (slots, mut placement) = (base + overflow, Placement::new(base, overflow));
            let mut keys = vec![NEVER; slots];
            for round in 0..500 {
                for _ in 0..random(&mut state, if round % 20 == 0 { 2 * slots } else { 4 }) {
                    let slot = random(&mut state, slots);
                    let accepts = random(&mut state, 4) > 0;
                    keys[slot] = if accepts { key(random(&mut state, 3) as u32, random(&mut state, 3)) } else { NEVER };
                    placement.mark(slot);
                }
                assert!(placement.is_consistent(|slot| keys[slot], |_| false));
                let base_only = round % 3 > 0;
                let candidates = if base_only { 0..base } else { base..slots };
                let searched = candidates.filter(|slot| keys[*slot] != NEVER).min_by_key(|slot| keys[*slot]);
                assert_eq!(placement.best(base_only, |slot| keys[slot]), searched, "{base} + {overflow} slots");
            }
        }
    }

    #[test]
    fn a_change_without_a_mark_is_noticed() {
        let mut placement = Placement::new(2, 0);
        assert_eq!(placement.best(true, |_| key(0, 0)), Some(0));
        assert!(!placement.is_consistent(|slot| key(slot as u32, 0), |_| false));
        assert!(placement.is_consistent(|slot| key(slot as u32, 0), |slot| slot == 1));
    }

    #[test]
    fn sessions_come_before_attempts() {
        assert!(key(1, usize::MAX) < key(2, 0) && key(u32::MAX, usize::MAX) < NEVER);
    }
}
