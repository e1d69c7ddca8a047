//! A median, and where it lies by the bootstrap: the same number of values drawn again and again from those there are. Pure.

use crate::interval::Interval;
use fastrand::Rng;

const DRAWS: usize = 10_000;

/// The median of values that are there: not none, none of them NaN.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The medians of all draws, from the least.
pub(crate) fn medians(seed: u64, values: &[f64]) -> Vec<f64> {
    let mut random = Rng::with_seed(seed);
    let mut draw = || median(&(0..values.len()).map(|_| values[random.usize(..values.len())]).collect::<Vec<_>>());
    let mut medians: Vec<_> = (0..DRAWS).map(|_| draw()).collect();
    medians.sort_by(f64::total_cmp);
    medians
}

/// Of the medians of all draws those in the middle, but for this share.
pub(crate) fn interval(medians: &[f64], doubt: f64) -> Interval {
    let beyond = (medians.len() as f64 * doubt / 2.0) as usize;
    Interval { low: medians[beyond], high: medians[medians.len() - 1 - beyond] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_few() {
        assert_eq!([median(&[3.0]), median(&[3.0, 1.0]), median(&[9.0, 1.0, 2.0])], [3.0, 2.0, 2.0]);
    }

    #[test]
    fn values_that_agree_leave_no_doubt() {
        assert_eq!(interval(&medians(1, &[2.0; 8]), 0.05), Interval { low: 2.0, high: 2.0 });
    }

    /// Of medians of ten, about 95 in 100 intervals hold the truth.
    #[test]
    fn r49_the_interval_holds_the_median_about_as_often_as_it_says() {
        let mut random = Rng::with_seed(11);
        let spread = |random: &mut Rng| 1.0 + (random.f64() + random.f64() + random.f64() - 1.5) / 10.0;
        let held = (0..100).filter(|seed| {
            let values: Vec<_> = (0..10).map(|_| spread(&mut random)).collect();
            interval(&medians(*seed, &values), 0.05).holds(1.0)
        });
        let held = held.count();
        assert!((88..=99).contains(&held), "{held} of 100");
    }
}
