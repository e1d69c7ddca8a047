//! The metrics of a worker. Exist only in enhanced pools with `worker_metrics` (R9).

use serde::Serialize;

/// The number of buckets of the histogram. The upper bounds double from 1 us; the last bucket has no upper bound.
const BUCKETS: usize = 28;

/// The metrics of one slot, across its generations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// The number of finished attempts.
    pub operations: u64,
    /// The number of attempts that answered with an error.
    pub errors: u64,
    /// The sum of the run times, in microseconds.
    pub run_us_total: u64,
    /// The longest run time, in microseconds.
    pub run_us_max: u64,
    /// The number of attempts by run time: below 1, 2, 4, ... microseconds. Each attempt is in one bucket only.
    pub run_us_histogram: [u64; BUCKETS],
}

impl WorkerMetrics {
    #[inline]
    pub(crate) fn count(&mut self, run_ns: u64, ok: bool) {
        let us = run_ns / 1000;
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
        for ns in [999, 1000, 2000, 3000, 4000, u64::MAX] {
            metrics.count(ns, ns != 4000);
        }
        assert_eq!(metrics.run_us_histogram[..4], [1, 1, 2, 1]);
        assert_eq!((metrics.run_us_histogram[BUCKETS - 1], metrics.operations, metrics.errors), (1, 6, 1));
    }
}
