//! Helpers for migrating from `DSPex`, the pool that Herder replaces (`docs/migration.md`): its measure of concurrency
//! and the environment of its tests.

use herder_efficiency::{
    concurrency::Interval,
    performance::{Environment, Spread},
};
use std::time::Duration;

/// The threshold of `DSPex`: it called operations concurrent if [`parallel_efficiency`] was above this value, that is,
/// if `max < 0.6 x sum`.
pub const CONCURRENT_ABOVE: f64 = 0.4;

/// Returns `DSPex`'s measure of concurrency: `1 - max / sum` of the operations' durations. Returns `None` if all
/// durations are zero.
///
/// **Do not use it to detect concurrency.** It considers how long operations took, but not when they ran. Work that is
/// entirely serial passes, and parallel work with one straggler fails.
/// [`verify_concurrent_execution`] gives the correct result for both:
///
/// ```
/// use herder::efficiency::{
///     concurrency::{Interval, verify_concurrent_execution},
///     legacy::{CONCURRENT_ABOVE, parallel_efficiency},
/// };
/// let at = |started, ended| Interval::new(started, ended).unwrap();
///
/// let serial = [at(0, 10), at(10, 20), at(20, 30), at(30, 40)];
/// assert!(parallel_efficiency(&serial).unwrap() > CONCURRENT_ABOVE); // 0.75: "concurrent"
/// assert!(verify_concurrent_execution(&serial).is_err());
///
/// let one_straggler = [at(0, 100), at(0, 10), at(0, 10), at(0, 10)];
/// assert!(parallel_efficiency(&one_straggler).unwrap() < CONCURRENT_ABOVE); // 0.23: "serial"
/// assert_eq!(verify_concurrent_execution(&one_straggler).unwrap().peak, 4);
/// ```
///
/// [`verify_concurrent_execution`]: super::concurrency::verify_concurrent_execution
pub fn parallel_efficiency(intervals: &[Interval]) -> Option<f64> {
    let lengths = || intervals.iter().map(|interval| interval.duration().as_nanos());
    let (sum, max) = (lengths().sum::<u128>(), lengths().max()?);
    (sum > 0).then(|| 1.0 - max as f64 / sum as f64)
}

/// The environment of `DSPex`'s tests: workers start one after the other, each in 2 s plus 0.5 s for the bridge to
/// Python, and a call takes 100 ms.
///
/// ```
/// use herder::efficiency::{legacy, performance::{Plan, calculate_expected_performance}};
/// use std::time::Duration;
/// let performance = calculate_expected_performance(&legacy::ENVIRONMENT);
/// // Two workers start in 5 s; six calls are three waves of 100 ms. DSPex's limit was 1 s; it measured 5.6 s.
/// let expected = performance.time(Plan::cold(2, 6));
/// assert_eq!((expected.waves, expected.likely), (3, Duration::from_millis(5300)));
/// assert!(expected.holds(Duration::from_millis(5646)));
/// ```
pub const ENVIRONMENT: Environment = Environment {
    start: Spread::exactly(Duration::from_secs(2)),
    app_start: Spread::exactly(Duration::from_millis(500)),
    parallel_starts: 1,
    call: Spread::exactly(Duration::from_millis(100)),
    worst_call: Duration::from_millis(100),
    overhead: Spread::exactly(Duration::ZERO),
    cpu_share: 0.0,
    contention_factor: 1.0,
    cores: 1.0,
    other_load: 0.0,
};

#[cfg(test)]
mod tests {
    use super::*;
    use herder_efficiency::concurrency::{Serialized, verify_concurrent_execution};

    fn intervals(ends: &[(u64, u64)]) -> Vec<Interval> {
        ends.iter().map(|&(started, ended)| Interval { started, ended }).collect()
    }

    /// R46, first counterexample: `DSPex`'s measure calls strictly serial work concurrent.
    #[test]
    fn results_distinguish_serial_from_parallel_work() {
        let serial = intervals(&[(0, 10), (10, 20), (20, 30), (35, 45)]);
        assert!(parallel_efficiency(&serial).unwrap() > CONCURRENT_ABOVE);
        assert_eq!(verify_concurrent_execution(&serial), Err(Serialized::NoOverlap { operations: 4 }));
    }

    /// R46, second counterexample: `DSPex`'s measure calls parallel work with one straggler serial.
    #[test]
    fn a_straggler_does_not_hide_that_work_was_parallel() {
        let straggler = intervals(&[(0, 100), (0, 10), (0, 10), (0, 10)]);
        assert!(parallel_efficiency(&straggler).unwrap() < CONCURRENT_ABOVE);
        let evidence = verify_concurrent_execution(&straggler).unwrap();
        assert_eq!((evidence.peak, evidence.overlap), (4, Duration::from_nanos(10)));
        assert_eq!((evidence.span, evidence.work), (Duration::from_nanos(100), Duration::from_nanos(130)));
    }

    #[test]
    fn operations_without_length_prove_nothing() {
        let points = intervals(&[(0, 10), (5, 5), (7, 7)]);
        assert_eq!(verify_concurrent_execution(&points), Err(Serialized::TooFewOperations { operations: 1 }));
        assert!(Interval::new(2, 1).is_err());
        assert_eq!(parallel_efficiency(&intervals(&[(3, 3)])), None);
        assert_eq!(parallel_efficiency(&[]), None);
    }
}
