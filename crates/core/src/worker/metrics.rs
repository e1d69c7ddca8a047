//! What is counted for each worker. Exists only in enhanced pools with `worker_metrics` (R9).

use serde::Serialize;
use std::time::Duration;

/// Upper bounds of the histogram's buckets double from 1 us; the last takes the rest.
const BUCKETS: usize = 28;

/// One slot's operations, across its generations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct WorkerMetrics {
    /// Attempts finished.
    pub operations: u64,
    /// Those that answered with an error.
    pub errors: u64,
    /// The sum of their run times, in microseconds.
    pub run_us_total: u64,
    /// The longest, in microseconds.
    pub run_us_max: u64,
    /// How many took less than 1, 2, 4, ... microseconds (each in one bucket only).
    pub run_us_histogram: [u64; BUCKETS],
}

impl WorkerMetrics {
    pub(crate) fn count(&mut self, run: Duration, ok: bool) {
        let us = u64::try_from(run.as_micros()).unwrap_or(u64::MAX);
        self.operations += 1;
        self.errors += u64::from(!ok);
        self.run_us_total = self.run_us_total.saturating_add(us);
        self.run_us_max = self.run_us_max.max(us);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        self.run_us_histogram[bucket.min(BUCKETS - 1)] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_times_fall_into_doubling_buckets() {
        let mut metrics = WorkerMetrics::default();
        for us in [0, 1, 2, 3, 4, u64::MAX] {
            metrics.count(Duration::from_micros(us), us != 4);
        }
        assert_eq!(metrics.run_us_histogram[..4], [1, 1, 2, 1]);
        assert_eq!((metrics.run_us_histogram[BUCKETS - 1], metrics.operations, metrics.errors), (1, 6, 1));
    }
}
