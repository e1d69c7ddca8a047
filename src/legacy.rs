//! Helpers for migrating from `DSPex`, the pool that Herder replaces (`docs/migration.md`): its measure of concurrency,
//! the environment of its tests, and its configuration keys. Pools use none of it, except that unknown configuration
//! keys are looked up here.

use crate::{
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
/// [`verify_concurrent_execution`](crate::concurrency::verify_concurrent_execution) gives the correct result for both:
///
/// ```
/// use herder::{
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
pub fn parallel_efficiency(intervals: &[Interval]) -> Option<f64> {
    let lengths = || intervals.iter().map(|interval| interval.duration().as_nanos());
    let (sum, max) = (lengths().sum::<u128>(), lengths().max()?);
    (sum > 0).then(|| 1.0 - max as f64 / sum as f64)
}

/// The environment of `DSPex`'s tests: workers start one after the other, each in 2 s plus 0.5 s for the bridge to
/// Python, and a call takes 100 ms.
///
/// ```
/// use herder::{legacy, performance::{Plan, calculate_expected_performance}};
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

/// What Herder has instead of a configuration key of `DSPex`.
enum Replacement {
    /// The key has this name.
    Renamed(&'static str),
    /// There is no such key; the text says why, or what to use.
    Removed(&'static str),
}

use Replacement::{Removed, Renamed as Is};

/// The configuration keys of `DSPex` with their replacements (R53).
const KEYS: &[(&str, Replacement)] = &[
    ("worker_module", Is("worker_type")),
    ("preferred_worker_type", Is("worker_type")),
    ("session_affinity_enabled", Is("features.session_affinity")),
    ("worker_metrics_enabled", Is("features.worker_metrics")),
    ("state_machine_enabled", Is("features.state_machine")),
    ("max_overflow", Is("overflow")),
    ("pool_overflow", Is("overflow")),
    ("pool_timeout", Is("queue.timeout")),
    ("checkout_timeout", Is("queue.timeout")),
    ("queue_timeout", Is("queue.timeout")),
    ("operation_timeout", Is("timeout")),
    ("init_timeout", Is("start_timeout")),
    ("health_check_interval", Is("health.interval")),
    ("health_check_timeout", Is("health.timeout")),
    ("max_health_failures", Is("health.failures")),
    ("session_timeout", Is("sessions.timeout")),
    ("session_cleanup_interval", Is("sessions.cleanup_interval")),
    ("grace_period", Is("sessions.grace")),
    ("max_restarts", Is("restart.max")),
    ("max_seconds", Is("restart.window")),
    ("python_path", Is("python")),
    ("python_executable", Is("python")),
    ("script_path", Is("app")),
    ("environment", Is("env")),
    ("enhanced_worker_features", Removed("`features`, with the same three names")),
    ("pool_lazy", Removed("not supported: workers always start with their pool")),
    ("max_retries", Removed("`retry.attempts`, which includes the first attempt")),
    ("failure_threshold", Is("breaker.failure_threshold")),
    ("success_threshold", Is("breaker.success_threshold")),
    ("half_open_requests", Is("breaker.half_open_max_calls")),
    ("telemetry_period", Removed("not supported: there are no metrics yet")),
    ("name", Removed("the name of its table, `[pools.NAME]`")),
    ("pool_name", Removed("the name of its table, `[pools.NAME]`")),
    ("pool_mode", Removed("not needed: each table `[pools.NAME]` is a pool")),
    ("pooling_enabled", Removed("not needed: each table `[pools.NAME]` is a pool")),
];

/// Returns the message for a configuration key of `DSPex`; `None` if `DSPex` has no such key.
pub(crate) fn key(name: &str) -> Option<String> {
    KEYS.iter().find(|(old, _)| *old == name).map(|(_, now)| match now {
        Is(key) => format!("DSPex's `{name}` is called `{key}`"),
        Removed(why) => format!("DSPex's `{name}` is {why}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::concurrency::{Serialized, verify_concurrent_execution};
    use herder_actors::schema::{Key, TABLE};

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

    /// R53: each message names a key that exists.
    #[test]
    fn r53_the_original_s_keys_lead_to_keys() {
        for (old, now) in KEYS {
            assert!(!TABLE.iter().any(|key| key.path.split('.').next() == Some(old)), "{old} is a key of ours");
            if let Is(path) = now {
                assert!(Key::find(path).is_some(), "{old} leads to {path}");
            }
        }
    }
}
