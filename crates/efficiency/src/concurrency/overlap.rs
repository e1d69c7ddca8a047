//! [`verify_concurrent_execution`]: proves concurrency with a sweep over all starts and ends.

use super::Interval;
use serde::Serialize;
use std::time::Duration;

/// The evidence that intervals contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The maximum number of operations in flight at one time.
    pub peak: usize,
    /// The time during which at least two operations were in flight.
    pub overlap: Duration,
    /// The time from the first start to the last end.
    pub span: Duration,
    /// The sum of the durations of all operations.
    pub work: Duration,
    /// The duration of the longest operation.
    pub longest: Duration,
}

impl Evidence {
    /// Returns the mean number of operations in flight between the first start and the last end.
    pub fn mean_in_flight(&self) -> f64 {
        if self.span.is_zero() { 0.0 } else { self.work.as_secs_f64() / self.span.as_secs_f64() }
    }
}

/// The operations did not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Serialized {
    /// Fewer than two operations took any time, so none could overlap.
    #[error("too few operations to compare: only {operations} took any time")]
    TooFewOperations {
        /// The number of operations that took any time.
        operations: usize,
    },
    /// No two operations were in flight at the same time.
    #[error("operations appear serialized: no two of the {operations} operations overlapped")]
    NoOverlap {
        /// The number of operations that took any time.
        operations: usize,
    },
}

/// Proves from the intervals of operations that the operations overlapped, in O(n log n).
///
/// Operations that take no time are ignored. An operation that starts at the time at which another one ends does not overlap
/// it.
///
/// # Errors
/// [`Serialized`] if no two operations were in flight at the same time.
///
/// ```
/// # use herder_efficiency::concurrency::{Interval, verify_concurrent_execution};
/// let apart = [Interval::new(0, 10).unwrap(), Interval::new(10, 20).unwrap()];
/// assert!(verify_concurrent_execution(&apart).is_err());
/// let together = [Interval::new(0, 10).unwrap(), Interval::new(9, 20).unwrap()];
/// assert_eq!(verify_concurrent_execution(&together).unwrap().peak, 2);
/// ```
pub fn verify_concurrent_execution(intervals: &[Interval]) -> Result<Evidence, Serialized> {
    let long: Vec<Interval> = intervals.iter().copied().filter(|interval| interval.length() > 0).collect();
    let operations = long.len();
    if operations < 2 {
        return Err(Serialized::TooFewOperations { operations });
    }
    let evidence = measure(&long);
    if evidence.peak < 2 { Err(Serialized::NoOverlap { operations }) } else { Ok(evidence) }
}

/// Sweeps over all starts and ends and collects the evidence. Without intervals, all values are zero.
pub(super) fn measure(intervals: &[Interval]) -> Evidence {
    let mut edges: Vec<(u64, i64)> = intervals.iter().flat_map(|i| [(i.started, 1), (i.ended, -1)]).collect();
    // At equal times, ends (-1) sort before starts (1): an operation that starts when another ends does not overlap it.
    edges.sort_unstable();
    let first = edges.first().map_or(0, |edge| edge.0);
    let (mut in_flight, mut peak, mut overlap, mut previous) = (0i64, 0i64, 0u64, first);
    for &(time, change) in &edges {
        if in_flight >= 2 {
            overlap += time - previous;
        }
        in_flight += change;
        peak = peak.max(in_flight);
        previous = time;
    }
    let lengths = || intervals.iter().map(|interval| interval.length());
    Evidence {
        peak: usize::try_from(peak).unwrap_or(0),
        overlap: Duration::from_nanos(overlap),
        span: Duration::from_nanos(previous - first),
        work: Duration::from_nanos(lengths().sum()),
        longest: Duration::from_nanos(lengths().max().unwrap_or(0)),
    }
}
