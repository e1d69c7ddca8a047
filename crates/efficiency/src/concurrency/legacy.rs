//! The original's measure of concurrency, kept so that its numbers can be read, and to show why it is not used.

use super::Interval;

/// Above this the original took operations for concurrent: it wanted `max < 0.6 x sum`.
pub const LEGACY_PASS: f64 = 0.4;

/// The original's number: `1 - max / sum` of the operations' durations, whenever they ran. `None` if none took any time.
///
/// **Don't judge by it.** It looks at how long operations took and not at when, so that it passes work that is wholly serial, and
/// fails work that is wholly parallel but for one straggler. [`verify_concurrent_execution`](super::verify_concurrent_execution)
/// says the truth of both:
///
/// ```
/// use herder_efficiency::concurrency::{Interval, LEGACY_PASS, legacy_parallel_efficiency, verify_concurrent_execution};
/// let at = |started, ended| Interval::new(started, ended).unwrap();
///
/// let serial = [at(0, 10), at(10, 20), at(20, 30), at(30, 40)];
/// assert!(legacy_parallel_efficiency(&serial).unwrap() > LEGACY_PASS); // 0.75: "concurrent"
/// assert!(verify_concurrent_execution(&serial).is_err());
///
/// let one_straggler = [at(0, 100), at(0, 10), at(0, 10), at(0, 10)];
/// assert!(legacy_parallel_efficiency(&one_straggler).unwrap() < LEGACY_PASS); // 0.23: "serial"
/// assert_eq!(verify_concurrent_execution(&one_straggler).unwrap().peak, 4);
/// ```
pub fn legacy_parallel_efficiency(intervals: &[Interval]) -> Option<f64> {
    let lengths = || intervals.iter().map(|interval| interval.length());
    let (sum, max) = (lengths().map(u128::from).sum::<u128>(), lengths().max()?);
    (sum > 0).then(|| 1.0 - max as f64 / sum as f64)
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};
    use std::time::Duration;

    fn intervals(ends: &[(u64, u64)]) -> Vec<Interval> {
        ends.iter().map(|&(started, ended)| Interval { started, ended }).collect()
    }

    /// R46, the first counterexample: strictly serial work, which the original calls concurrent.
    #[test]
    fn serial_work_is_told_from_parallel_work() {
        let serial = intervals(&[(0, 10), (10, 20), (20, 30), (35, 45)]);
        assert!(legacy_parallel_efficiency(&serial).unwrap() > LEGACY_PASS);
        assert_eq!(verify_concurrent_execution(&serial), Err(Serialized::NoOverlap { operations: 4 }));
    }

    /// R46, the second: parallel work with one straggler, which the original calls serial.
    #[test]
    fn a_straggler_does_not_hide_that_work_was_parallel() {
        let straggler = intervals(&[(0, 100), (0, 10), (0, 10), (0, 10)]);
        assert!(legacy_parallel_efficiency(&straggler).unwrap() < LEGACY_PASS);
        let evidence = verify_concurrent_execution(&straggler).unwrap();
        assert_eq!((evidence.peak, evidence.overlap), (4, Duration::from_nanos(10)));
        assert_eq!((evidence.span, evidence.work), (Duration::from_nanos(100), Duration::from_nanos(130)));
    }

    #[test]
    fn operations_without_length_prove_nothing() {
        let points = intervals(&[(0, 10), (5, 5), (7, 7)]);
        assert_eq!(verify_concurrent_execution(&points), Err(Serialized::TooFew { operations: 1 }));
        assert!(Interval::new(2, 1).is_err());
        assert_eq!(legacy_parallel_efficiency(&intervals(&[(3, 3)])), None);
        assert_eq!(legacy_parallel_efficiency(&[]), None);
    }
}
