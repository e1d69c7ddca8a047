//! Numbers that follow from a seed (splitmix64), or from a fuzzer's bytes as long as there are any. The only source of
//! randomness in a schedule.

use std::{time::Duration, vec};

pub(crate) struct Rng {
    seeded: u64,
    input: vec::IntoIter<u8>,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seeded: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635, input: Vec::new().into_iter() }
    }

    /// Uses one byte of the input for each number, or two for large ranges, so that a fuzzer can change one decision
    /// and keep the others.
    pub(crate) fn of(input: &[u8]) -> Self {
        Self { input: Vec::from(input).into_iter(), ..Self::new(0) }
    }

    pub(crate) fn has_input(&self) -> bool {
        self.input.len() > 0
    }

    /// Returns a number that seeds something. Uses no bytes of the input.
    pub(crate) fn next(&mut self) -> u64 {
        self.seeded = self.seeded.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seeded;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn draw(&mut self, end: u64) -> u64 {
        let Some(byte) = self.input.next() else { return self.next() % end };
        let more = if end > 256 { self.input.next().unwrap_or_default() } else { 0 };
        (u64::from(byte) | u64::from(more) << 8) % end
    }

    /// Returns a number from 0 up to, but not including, `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.draw(end as u64) as usize
    }

    pub(crate) fn range(&mut self, first: u32, last: u32) -> u32 {
        first + self.draw(u64::from(last - first) + 1) as u32
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.draw(100) < percent
    }

    pub(crate) fn millis(&mut self, first: u32, last: u32) -> Duration {
        Duration::from_millis(u64::from(self.range(first, last)))
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len())]) }
    }
}
