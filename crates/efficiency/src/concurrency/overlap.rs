//! The proof of concurrency: a sweep over all starts and ends.

use super::Interval;
use serde::Serialize;
use std::time::Duration;

/// What the intervals prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The most operations in flight at one moment.
    pub peak: usize,
    /// The time during which at least two were in flight.
    pub overlap: Duration,
    /// From the first start to the last end.
    pub span: Duration,
    /// All operations' times added up.
    pub work: Duration,
    /// The longest operation.
    pub longest: Duration,
}

impl Evidence {
    /// How many were in flight on average, between the first start and the last end.
    pub fn mean_in_flight(&self) -> f64 {
        if self.span.is_zero() { 0.0 } else { self.work.as_secs_f64() / self.span.as_secs_f64() }
    }
}

/// The operations ran one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Serialized {
    /// Fewer than two operations took any time: there is nothing that could overlap.
    #[error("too few operations to compare: only {operations} took any time")]
    TooFewOperations {
        /// How many did.
        operations: usize,
    },
    /// No two were ever in flight together.
    #[error("operations appear serialized: no two of the {operations} operations overlapped")]
    NoOverlap {
        /// How many took any time.
        operations: usize,
    },
}

/// Proves that operations overlapped, from their intervals: O(n log n).
///
/// An operation that takes no time proves nothing and is left out; one that starts when another ends does not overlap it.
///
/// # Errors
/// [`Serialized`] when no two were in flight together.
///
/// ```
/// use herder_efficiency::concurrency::{Interval, verify_concurrent_execution};
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

/// A sweep over all starts and ends; at one moment ends come first. All zero for no intervals.
pub(super) fn measure(intervals: &[Interval]) -> Evidence {
    let mut edges: Vec<(u64, i64)> = intervals.iter().flat_map(|i| [(i.started, 1), (i.ended, -1)]).collect();
    edges.sort_unstable();
    let begin = edges.first().map_or(0, |edge| edge.0);
    let (mut in_flight, mut peak, mut overlap, mut before) = (0i64, 0i64, 0u64, begin);
    for &(at, change) in &edges {
        if in_flight >= 2 {
            overlap += at - before;
        }
        in_flight += change;
        peak = peak.max(in_flight);
        before = at;
    }
    let lengths = || intervals.iter().map(|interval| interval.length());
    Evidence {
        peak: usize::try_from(peak).unwrap_or(0),
        overlap: Duration::from_nanos(overlap),
        span: Duration::from_nanos(before - begin),
        work: Duration::from_nanos(lengths().sum()),
        longest: Duration::from_nanos(lengths().max().unwrap_or(0)),
    }
}
