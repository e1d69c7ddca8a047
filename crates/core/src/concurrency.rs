//! Whether operations really overlapped (R46), from each one's start and end on one clock. Pure arithmetic.

use std::time::Duration;

/// When an operation ran, in nanoseconds of a clock that all operations share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    /// When it began.
    pub started: u64,
    /// When it ended; not before it began.
    pub ended: u64,
}

/// Why two numbers are no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an operation can't end (at {ended}) before it starts (at {started})")]
pub struct InvalidInterval {
    started: u64,
    ended: u64,
}

impl Interval {
    /// An interval from its two ends.
    ///
    /// # Errors
    /// When it would end before it starts.
    pub fn new(started: u64, ended: u64) -> Result<Self, InvalidInterval> {
        if ended < started { Err(InvalidInterval { started, ended }) } else { Ok(Self { started, ended }) }
    }

    fn length(self) -> u64 {
        self.ended.saturating_sub(self.started)
    }
}

/// What the intervals prove.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// The most operations in flight at one moment.
    pub peak: usize,
    /// The time during which at least two were in flight.
    pub overlap: Duration,
    /// From the first start to the last end.
    pub span: Duration,
    /// All operations' times added up.
    pub work: Duration,
}

/// The operations ran one after the other.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Serialized {
    /// Fewer than two operations took any time: there is nothing that could overlap.
    #[error("nothing to compare: {operations} operations took any time")]
    TooFew {
        /// How many did.
        operations: usize,
    },
    /// No two were ever in flight together.
    #[error("operations appear serialized: {operations} operations, never two in flight at one moment")]
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
/// use herder_core::concurrency::{Interval, verify_concurrent_execution};
/// let apart = [Interval::new(0, 10).unwrap(), Interval::new(10, 20).unwrap()];
/// assert!(verify_concurrent_execution(&apart).is_err());
/// let together = [Interval::new(0, 10).unwrap(), Interval::new(9, 20).unwrap()];
/// assert_eq!(verify_concurrent_execution(&together).unwrap().peak, 2);
/// ```
pub fn verify_concurrent_execution(intervals: &[Interval]) -> Result<Evidence, Serialized> {
    let long: Vec<Interval> = intervals.iter().copied().filter(|interval| interval.length() > 0).collect();
    let operations = long.len();
    if operations < 2 {
        return Err(Serialized::TooFew { operations });
    }
    let evidence = measure(&long);
    if evidence.peak < 2 { Err(Serialized::NoOverlap { operations }) } else { Ok(evidence) }
}

/// A sweep over all starts and ends; at one moment ends come first.
fn measure(intervals: &[Interval]) -> Evidence {
    let mut edges: Vec<(u64, i64)> = intervals.iter().flat_map(|i| [(i.started, 1), (i.ended, -1)]).collect();
    edges.sort_unstable();
    let (mut in_flight, mut peak, mut overlap, mut before) = (0i64, 0i64, 0u64, edges[0].0);
    for &(at, change) in &edges {
        if in_flight >= 2 {
            overlap += at - before;
        }
        in_flight += change;
        peak = peak.max(in_flight);
        before = at;
    }
    Evidence {
        peak: usize::try_from(peak).unwrap_or(0),
        overlap: Duration::from_nanos(overlap),
        span: Duration::from_nanos(before - edges[0].0),
        work: Duration::from_nanos(intervals.iter().map(|interval| interval.length()).sum()),
    }
}

/// The original's verdict, kept to show why it is wrong: `max < 0.6 x sum` of the durations, whenever they ran.
/// It passes wholly serial work and fails parallel work with one straggler.
pub fn legacy_looks_concurrent(intervals: &[Interval]) -> bool {
    let lengths = || intervals.iter().map(|interval| interval.length());
    let sum: u64 = lengths().sum();
    lengths().max().is_some_and(|max| (max as f64) < 0.6 * sum as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intervals(ends: &[(u64, u64)]) -> Vec<Interval> {
        ends.iter().map(|&(started, ended)| Interval { started, ended }).collect()
    }

    /// R46, the first counterexample: strictly serial work, which the original calls concurrent.
    #[test]
    fn serial_work_is_told_from_parallel_work() {
        let serial = intervals(&[(0, 10), (10, 20), (20, 30), (35, 45)]);
        assert!(legacy_looks_concurrent(&serial));
        assert_eq!(verify_concurrent_execution(&serial), Err(Serialized::NoOverlap { operations: 4 }));
    }

    /// R46, the second: parallel work with one straggler, which the original calls serial.
    #[test]
    fn a_straggler_does_not_hide_that_work_was_parallel() {
        let straggler = intervals(&[(0, 100), (0, 10), (0, 10), (0, 10)]);
        assert!(!legacy_looks_concurrent(&straggler));
        let evidence = verify_concurrent_execution(&straggler).unwrap();
        assert_eq!((evidence.peak, evidence.overlap), (4, Duration::from_nanos(10)));
        assert_eq!((evidence.span, evidence.work), (Duration::from_nanos(100), Duration::from_nanos(130)));
    }

    #[test]
    fn operations_without_length_prove_nothing() {
        let points = intervals(&[(0, 10), (5, 5), (7, 7)]);
        assert_eq!(verify_concurrent_execution(&points), Err(Serialized::TooFew { operations: 1 }));
        assert!(Interval::new(2, 1).is_err());
    }
}
