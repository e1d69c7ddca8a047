//! A histogram with a bounded relative error: ten decades of 32 buckets. Recording a value allocates nothing.

use std::time::Duration;

/// The lower bounds of the buckets of a decade, in twentieths of its lower bound. Each bucket is at most an eighth wider than
/// its lower bound, and the bounds include 1, 1.5, 2, 2.5, 3, 5 and 6 times a power of ten.
const STEPS: [u8; PER_DECADE] = [
    20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100, 110, 120, 130, 140,
    150, 160, 170, 180, 190,
];
const PER_DECADE: usize = 32;
const DECADES: usize = 10;
/// One bucket for values up to 1 before the decades, and one for values above 10^10 after them.
const BUCKETS: usize = 1 + DECADES * PER_DECADE + 1;
/// The bucket within a decade, by the value in twentieths of the decade's lower bound.
const STEP_OF: [u8; 200] = step_of();

const fn step_of() -> [u8; 200] {
    let (mut table, mut value, mut step) = ([0; 200], 20, 0);
    while value < 200 {
        if step + 1 < PER_DECADE && value >= STEPS[step + 1] as usize {
            step += 1;
        }
        table[value] = step as u8;
        value += 1;
    }
    table
}

/// Counts values, such as microseconds or bytes, by their size.
///
/// A bucket includes its upper bound, so that the number of values up to a bound of the buckets is exact. A percentile is
/// never too small, and at most an eighth too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], count: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, value: u64) {
        self.buckets[bucket_of(value)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the sum of the values.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Returns the largest value; 0 without values.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Returns the value that this share of the values, from 0 to 1, does not exceed. `None` without values.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reaches = |count: &u64| {
            seen += count;
            seen >= rank
        };
        self.buckets.iter().position(reaches).map(|bucket| upper_bound(bucket).min(self.max))
    }

    /// Returns the number of values up to `bound`, which must be a bound of the buckets.
    pub fn count_up_to(&self, bound: u64) -> u64 {
        debug_assert_eq!(bound, upper_bound(bucket_of(bound)), "the number is exact only for bounds");
        self.buckets[..=bucket_of(bound)].iter().sum()
    }
}

/// Returns whole microseconds.
#[inline]
pub(crate) fn micros(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(span.subsec_micros()))
}

fn bucket_of(value: u64) -> usize {
    let below = value.saturating_sub(1); // so that an upper bound belongs to its bucket
    if below == 0 {
        return 0;
    }
    let decade = below.ilog10();
    if decade as usize >= DECADES {
        return BUCKETS - 1;
    }
    let twentieths = below * 20 / 10_u64.pow(decade);
    1 + decade as usize * PER_DECADE + STEP_OF[twentieths as usize] as usize
}

/// Returns the largest value of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    if bucket == 0 {
        return 1;
    }
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    let (decade, step) = ((bucket - 1) / PER_DECADE, (bucket - 1) % PER_DECADE);
    let twentieths = STEPS.get(step + 1).map_or(200, |step| u64::from(*step));
    (twentieths * 10_u64.pow(decade as u32)).div_ceil(20)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds that metrics and percentiles rely on: each value is in the bucket that ends at or above it, at most an
    /// eighth above it.
    #[test]
    fn each_value_is_at_most_an_eighth_below_the_bound_of_its_bucket() {
        let edges = (0..BUCKETS - 1).map(upper_bound);
        let values = edges.flat_map(|edge| [edge - 1, edge, edge + 1]).chain(0..5000);
        for value in values.filter(|value| (1..=10_000_000_000).contains(value)) {
            let bound = upper_bound(bucket_of(value));
            assert!(value <= bound && bound <= value + value / 8 + 1, "{value} is in the bucket up to {bound}");
        }
        assert_eq!((upper_bound(bucket_of(0)), bucket_of(u64::MAX)), (1, BUCKETS - 1));
    }

    #[test]
    fn percentiles_and_counts_agree_with_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.percentile(0.5), histogram.count_up_to(u64::MAX)), (None, 0));
        (1..=1000).for_each(|value| histogram.record(value));
        for (share, exact) in [(0.5, 500), (0.99, 990), (1.0, 1000), (0.0, 1)] {
            let found = histogram.percentile(share).unwrap();
            assert!((exact..=exact + exact / 8).contains(&found), "{share}: {found}");
        }
        for bound in [1, 10, 25, 50, 100, 250, 500, 1000] {
            assert_eq!(histogram.count_up_to(bound), bound, "a bound of the buckets is exact");
        }
        assert_eq!((histogram.count(), histogram.sum(), histogram.max()), (1000, 500_500, 1000));
    }
}
