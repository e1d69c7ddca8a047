//! Random numbers from a seed (splitmix64): the only source of randomness in a run.

use std::time::Duration;

/// A random number generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Creates a generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635)
    }

    /// Creates a generator for one part of a run. Parts with different numbers have different sequences.
    pub fn of(seed: u64, part: u64) -> Self {
        Self::new(seed.wrapping_mul(1_000_003).wrapping_add(part))
    }

    /// Returns a number from the full range.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to `end - 1`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// Returns true with a probability of `percent`.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns a duration from `first` to `last` milliseconds, both included.
    pub fn millis(&mut self, first: u64, last: u64) -> Duration {
        Duration::from_millis(first + self.below(last.saturating_sub(first) + 1))
    }

    /// Returns a random element; `None` if the slice is empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(usize::try_from(self.below(from.len() as u64)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_parts_give_others() {
        let mut same = [Rng::new(7), Rng::new(7)].map(|mut rng| [rng.draw(), rng.draw()]);
        assert_eq!(same[0], same[1]);
        same[1] = [Rng::of(7, 1).draw(), Rng::of(7, 2).draw()];
        assert!(same[1][0] != same[1][1] && same[0] != same[1]);
        assert_eq!((Rng::new(1).below(0), Rng::new(1).pick::<u8>(&[])), (0, None));
    }
}
