//! How fast the pool works through its calls, and what that means for those that wait (R36). Holds one smoothed number.

use std::time::Duration;

/// Attempts that must have finished before anything is said.
const MIN_SAMPLES: u32 = 32;
/// The weight of the newest attempt: one in so many.
const SMOOTHING: u64 = 16;

/// How long an attempt holds its place in a worker, smoothed: an exponentially weighted moving average.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ServiceTimeEwma {
    run_ns: u64,
    seen: u32,
}

impl ServiceTimeEwma {
    /// An attempt gave its place free.
    pub(crate) fn observe(&mut self, ran: Duration) {
        let ran = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
        self.seen = self.seen.saturating_add(1);
        let weight = SMOOTHING.min(self.seen.into());
        self.run_ns = self.run_ns - self.run_ns / weight + ran / weight;
    }

    /// How long until so many calls are through so many places. `None` until enough was seen, and while there is no place.
    pub(crate) fn expected(&self, ahead: usize, places: usize) -> Option<Duration> {
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
    fn r36_the_expected_wait_follows_from_recent_runs() {
        let mut estimate = ServiceTimeEwma::default();
        (0..31).for_each(|_| estimate.observe(Duration::from_millis(50)));
        assert_eq!(estimate.expected(100, 4), None, "too early to tell");
        estimate.observe(Duration::from_millis(50));
        assert_eq!(estimate.expected(100, 4).map(|wait| wait.as_millis().next_multiple_of(10)), Some(1250));
        assert_eq!(estimate.expected(100, 0), None);
        (0..200).for_each(|_| estimate.observe(Duration::from_millis(1)));
        assert!(estimate.expected(100, 4) < Some(Duration::from_millis(30)), "it forgets");
    }
}
