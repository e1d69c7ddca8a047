//! A set of small numbers, such as the indices of slots.

/// A set of numbers below a fixed bound. Finding the lowest one costs a few instructions for bounds up to 4,096, and
/// O(bound / 4,096) above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bitmap {
    /// One bit for each group of words: whether any word of the group is not zero.
    summary: u64,
    /// The number of words in a group, as a power of two.
    group: u32,
    words: Box<[u64]>,
}

impl Bitmap {
    /// Returns an empty set of numbers below `bound`.
    pub(crate) fn new(bound: usize) -> Self {
        let words = bound.div_ceil(64);
        let group = words.div_ceil(64).next_power_of_two().trailing_zeros();
        Self { summary: 0, group, words: vec![0; words].into() }
    }

    #[inline]
    pub(crate) fn insert(&mut self, number: usize) {
        self.words[number / 64] |= 1 << (number % 64);
        self.summary |= 1 << ((number / 64) >> self.group);
    }

    #[inline]
    pub(crate) fn remove(&mut self, number: usize) {
        let word = &mut self.words[number / 64];
        *word &= !(1 << (number % 64));
        if *word == 0 {
            self.summarize((number / 64) >> self.group);
        }
    }

    /// Clears the bit of a group if all its words are zero.
    fn summarize(&mut self, group: usize) {
        let end = ((group + 1) << self.group).min(self.words.len());
        if self.words[group << self.group..end].iter().all(|word| *word == 0) {
            self.summary &= !(1 << group);
        }
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        self.words[number / 64] & (1 << (number % 64)) != 0
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.summary == 0
    }

    /// Returns the lowest number.
    #[inline]
    pub(crate) fn first(&self) -> Option<usize> {
        if self.summary == 0 {
            return None;
        }
        let mut place = (self.summary.trailing_zeros() as usize) << self.group;
        while *self.words.get(place)? == 0 {
            place += 1;
        }
        Some(place * 64 + self.words[place].trailing_zeros() as usize)
    }

    /// Returns the numbers in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(place, &word)| Bits(word).map(move |bit| place * 64 + bit))
    }
}

/// The positions of the bits of a word that are set.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compared with a list of flags, for bounds with one word, one word in a group, and several.
    #[test]
    fn a_bitmap_is_a_set() {
        let mut random = 1u64;
        for bound in [1, 64, 65, 2048, 4096, 4097, 20_000] {
            let (mut set, mut model) = (Bitmap::new(bound), vec![false; bound]);
            for _ in 0..2000 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let number = usize::try_from(random >> 8).unwrap() % bound;
                if random.is_multiple_of(3) {
                    set.insert(number);
                } else {
                    set.remove(number);
                }
                model[number] = random.is_multiple_of(3);
                assert_eq!(set.contains(number), model[number]);
                assert_eq!(set.first(), model.iter().position(|is_in| *is_in), "bound {bound}");
            }
            let listed: Vec<usize> = (0..bound).filter(|number| model[*number]).collect();
            assert_eq!(set.iter().collect::<Vec<usize>>(), listed);
            listed.iter().for_each(|number| set.remove(*number));
            assert!(set.is_empty());
        }
    }
}
