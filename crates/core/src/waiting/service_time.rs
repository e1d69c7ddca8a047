//! The average time that an attempt takes, and the wait that follows from it for queued calls (R36). Holds one smoothed
//! number.

use std::time::Duration;

/// The number of finished attempts before an estimate is given.
const MIN_SAMPLES: u32 = 32;
/// The newest attempt has a weight of 1/16 in the average.
const SMOOTHING: u32 = 16;

/// The exponentially weighted moving average of the time for which an attempt occupies a call slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ServiceTimeEwma {
    run_ns: u64,
    /// The number of finished attempts, which is not counted above [`MIN_SAMPLES`].
    seen: u32,
}

impl ServiceTimeEwma {
    /// Adds the duration of a finished attempt to the average.
    #[inline]
    pub(super) fn observe(&mut self, ran_ns: u64) {
        // The two cases differ only in that a constant weight needs no division.
        if self.seen >= MIN_SAMPLES {
            self.average(ran_ns, SMOOTHING);
        } else {
            self.observe_first(ran_ns);
        }
    }

    #[cold]
    fn observe_first(&mut self, ran_ns: u64) {
        self.seen += 1;
        // At first the plain average of all attempts so far.
        self.average(ran_ns, self.seen.min(SMOOTHING));
    }

    #[inline]
    fn average(&mut self, ran_ns: u64, weight: u32) {
        self.run_ns = self.run_ns - self.run_ns / u64::from(weight) + ran_ns / u64::from(weight);
    }

    /// Returns the expected time until `ahead` calls have run in `places` call slots. Returns `None` before
    /// [`MIN_SAMPLES`] attempts have finished, and if `places` is 0.
    pub(super) fn expected(&self, ahead: usize, places: usize) -> Option<Duration> {
        if self.seen < MIN_SAMPLES || places == 0 {
            return None;
        }
        let total = u128::from(self.run_ns) * ahead as u128 / places as u128;
        Some(Duration::from_nanos(u64::try_from(total).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R36
    #[test]
    fn r36_the_estimated_wait_follows_from_recent_runs() {
        let mut estimate = ServiceTimeEwma::default();
        (0..31).for_each(|_| estimate.observe(50_000_000));
        assert_eq!(estimate.expected(100, 4), None, "too few samples");
        estimate.observe(50_000_000);
        assert_eq!(estimate.expected(100, 4).map(|wait| wait.as_millis().next_multiple_of(10)), Some(1250));
        assert_eq!(estimate.expected(100, 0), None);
        (0..200).for_each(|_| estimate.observe(1_000_000));
        assert!(estimate.expected(100, 4) < Some(Duration::from_millis(30)), "recent runs outweigh older ones");
    }
}
