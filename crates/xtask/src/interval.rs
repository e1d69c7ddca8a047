//! Confidence: an interval, and Clopper and Pearson's exact one for a share that was counted. Pure.

use statrs::distribution::{Beta, ContinuousCDF};

/// How sure the intervals are.
const CONFIDENCE: f64 = 0.95;

/// Where something lies that was measured, with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    /// Of the rate of what happened this many times of so many. `failures` is not more than `trials`; of no trials at all nothing is known, and the interval is everything.
    pub(crate) fn clopper_pearson(failures: u64, trials: u64) -> Self {
        let (beyond, (k, n)) = ((1.0 - CONFIDENCE) / 2.0, (failures as f64, trials as f64));
        let low = if failures == 0 { 0.0 } else { quantile(k, n - k + 1.0, beyond) };
        let high = if failures >= trials { 1.0 } else { quantile(k + 1.0, n - k, 1.0 - beyond) };
        Self { low, high }
    }

    /// Whether a value is within.
    pub(crate) fn holds(self, rate: f64) -> bool {
        (self.low..=self.high).contains(&rate)
    }
}

/// The point that a share of this much of the distribution lies below.
fn quantile(a: f64, b: f64, share: f64) -> f64 {
    Beta::new(a, b).map_or(f64::NAN, |beta| beta.inverse_cdf(share)) // both are above zero: see above
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `scipy.stats.beta.ppf`, 1.17.
    #[test]
    fn r49_intervals_are_those_of_the_tables() {
        const KNOWN: &[(u64, u64, f64, f64)] = &[
            (0, 1, 0.0, 0.975),
            (1, 1, 0.025, 1.0),
            (0, 20, 0.0, 0.1684334709830853),
            (1, 20, 0.0012650894979498038, 0.24873276277202777),
            (0, 100, 0.0, 0.03621669264517641),
            (1, 100, 0.00025314603297742064, 0.054459385392080645),
            (5, 100, 0.016431879182052155, 0.11283491110546275),
            (99, 100, 0.9455406146079194, 0.9997468539670226),
            (100, 100, 0.9637833073548235, 1.0),
            (50, 100, 0.39832112950330095, 0.601678870496699),
            (0, 80_000, 0.0, 4.610993008091853e-05),
            (1, 80_000, 3.164725497261755e-07, 6.964355245318267e-05),
            (7, 80_000, 3.518023860190655e-05, 0.00018027507845427788),
            (400, 80_000, 0.004523007800344187, 0.005513411985912934),
            (3, 2_000_000, 3.0933616827149594e-07, 4.383630214438632e-06),
            (79_999, 80_000, 0.9999303564475468, 0.9999996835274503),
        ];
        for &(failures, trials, low, high) in KNOWN {
            let found = Interval::clopper_pearson(failures, trials);
            let near = |found: f64, wanted: f64| (found - wanted).abs() <= 1e-9 + 1e-6 * wanted;
            assert!(near(found.low, low) && near(found.high, high), "{failures} of {trials}: {found:?}");
        }
    }

    #[test]
    fn of_nothing_nothing_is_known() {
        assert_eq!(Interval::clopper_pearson(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    /// Exact means: at least 95 of 100 such intervals hold the truth, whatever it is.
    #[test]
    fn r49_intervals_hold_the_truth_as_often_as_they_say() {
        let mut random = fastrand::Rng::with_seed(49);
        for rate in [0.002, 0.02, 0.3, 0.9] {
            let count = |trials: u64, random: &mut fastrand::Rng| (0..trials).filter(|_| random.f64() < rate).count();
            let held = (0..2000)
                .filter(|_| Interval::clopper_pearson(count(100, &mut random) as u64, 100).holds(rate))
                .count();
            assert!(held >= 1880, "{held} of 2000 at {rate}"); // 1900, less two standard deviations
        }
    }
}
