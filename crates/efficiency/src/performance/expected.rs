//! [`Performance`]: predicts the duration of a plan in an environment.

use super::Environment;
use crate::concurrency::LOADED;
use serde::Serialize;
use std::time::Duration;

/// The probability that a run lies within its predicted range if the environment stays as measured.
pub const CONFIDENCE: f64 = 0.9;

/// The model error: the factors by which a run may be faster or slower than the sum of its measured parts.
const MODEL_ERROR_BELOW: f64 = 0.85;
const MODEL_ERROR_ABOVE: f64 = 1.3;

/// The calls to run and the workers to run them on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The number of workers. 0 counts as 1, also for `concurrency`.
    pub workers: usize,
    /// The number of calls that each worker runs at once.
    pub concurrency: usize,
    /// The number of calls.
    pub operations: usize,
    /// Whether the workers have to be started first.
    pub start: StartMode,
}

/// Whether the workers have to be started first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartMode {
    /// No worker runs.
    Cold,
    /// All workers are ready.
    Warm,
}

impl Plan {
    /// Creates a plan for workers of concurrency 1 that have to be started first.
    pub fn cold(workers: usize, operations: usize) -> Self {
        Self { workers, concurrency: 1, operations, start: StartMode::Cold }
    }

    /// Creates a plan for workers of concurrency 1 that are ready.
    pub fn warm(workers: usize, operations: usize) -> Self {
        Self { start: StartMode::Warm, ..Self::cold(workers, operations) }
    }

    /// Returns the number of places where a call can run.
    pub fn call_slots(&self) -> usize {
        self.workers.max(1).saturating_mul(self.concurrency.max(1))
    }

    /// Returns how often all call slots are filled: `ceil(operations / call_slots)`.
    pub fn waves(&self) -> usize {
        self.operations.div_ceil(self.call_slots())
    }
}

/// The predicted duration of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Expected {
    /// How often all call slots are filled.
    pub waves: usize,
    /// The lower bound of the range.
    pub low: Duration,
    /// The most likely duration.
    pub likely: Duration,
    /// The upper bound of the range.
    pub high: Duration,
    /// The probability that a run lies between `low` and `high`, from 0 to 1.
    pub confidence: f64,
    /// Whether the range is reliable.
    pub reliability: Reliability,
}

/// Whether a range is reliable.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reliability {
    /// There is no known reason to doubt the range.
    Reliable,
    /// Other processes use too many cores for a reliable prediction. The range assumes that the load stays as measured.
    TooLoaded {
        /// The number of cores that other processes use.
        other_load: f64,
    },
}

impl Expected {
    /// Returns whether a measured duration lies within the range.
    pub fn holds(&self, measured: Duration) -> bool {
        (self.low..=self.high).contains(&measured)
    }
}

/// The performance of an environment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Performance(Environment);

/// Returns the performance of an environment, which predicts the duration of plans.
pub fn calculate_expected_performance(environment: &Environment) -> Performance {
    Performance(*environment)
}

/// One of the three values of a range.
#[derive(Clone, Copy)]
enum Bound {
    Low,
    Likely,
    High,
}

impl Performance {
    /// Predicts the duration of a plan: the start of the workers if they are cold, then waves of calls, which take longer if
    /// there are too few cores.
    pub fn time(&self, plan: Plan) -> Expected {
        let environment = &self.0;
        let total = |bound| self.start(plan, bound) + self.calls(plan, bound);
        let excess = environment.worst_call.saturating_sub(environment.call.likely());
        let straggler = if plan.operations == 0 { Duration::ZERO } else { excess };
        let load = environment.other_load / environment.cores.max(f64::MIN_POSITIVE);
        Expected {
            waves: plan.waves(),
            low: total(Bound::Low).mul_f64(MODEL_ERROR_BELOW),
            likely: total(Bound::Likely),
            high: total(Bound::High).mul_f64(MODEL_ERROR_ABOVE + load) + straggler,
            confidence: CONFIDENCE,
            reliability: if load > LOADED {
                Reliability::TooLoaded { other_load: environment.other_load }
            } else {
                Reliability::Reliable
            },
        }
    }

    /// Returns the number of calls a second once the workers are warm.
    pub fn throughput(&self, workers: usize, concurrency: usize) -> f64 {
        let plan = Plan { concurrency, ..Plan::warm(workers, 1) };
        plan.call_slots() as f64 / self.one_call(plan.call_slots(), Bound::Likely).as_secs_f64().max(1e-9)
    }

    /// Returns the throughput of `workers` as a multiple of the throughput of one worker.
    pub fn speed_up(&self, workers: usize) -> f64 {
        self.throughput(workers, 1) / self.throughput(1, 1)
    }

    fn start(&self, plan: Plan, bound: Bound) -> Duration {
        let Environment { start, app_start, parallel_starts, .. } = &self.0;
        let rounds = plan.workers.max(1).div_ceil((*parallel_starts).max(1));
        let one = match bound {
            Bound::Low => start.low() + app_start.low(),
            Bound::Likely => start.likely() + app_start.likely(),
            Bound::High => start.high() + app_start.high(),
        };
        if plan.start == StartMode::Cold { times(one, rounds) } else { Duration::ZERO }
    }

    fn calls(&self, plan: Plan, bound: Bound) -> Duration {
        // With fewer calls than slots, some slots stay empty and need no core.
        times(self.one_call(plan.call_slots().min(plan.operations), bound), plan.waves())
    }

    /// Returns the duration of one call while `parallel` calls run.
    fn one_call(&self, parallel: usize, bound: Bound) -> Duration {
        let Environment { call, overhead, cpu_share, contention_factor, .. } = &self.0;
        let cpu_share = cpu_share.clamp(0.0, 1.0);
        let shortage = self.shortage(parallel, cpu_share, bound);
        let (call, overhead) = match bound {
            Bound::Low => (call.low(), overhead.low()),
            Bound::Likely => (call.likely(), overhead.likely()),
            // A call that waits for a core in its handler may also wait for one in transit.
            Bound::High => (call.high(), overhead.high().mul_f64(shortage)),
        };
        let contention = if parallel > 1 && !matches!(bound, Bound::Low) { contention_factor.max(1.0) } else { 1.0 };
        overhead + call.mul_f64(contention * (1.0 - cpu_share + cpu_share * shortage))
    }

    /// Returns how many times as many cores are needed as there are: 1 if there are enough.
    fn shortage(&self, parallel: usize, cpu_share: f64, bound: Bound) -> f64 {
        let Environment { cores, other_load, .. } = self.0;
        let needed = parallel as f64 * cpu_share;
        // The scheduler divides the cores between our calls and other processes in proportion to demand. In the best case
        // (`Bound::Low`), the other processes stop.
        let fair = cores * needed / (needed + other_load).max(f64::MIN_POSITIVE);
        let free = if matches!(bound, Bound::Low) { cores } else { fair.max(cores - other_load) };
        if needed > free && free > 0.0 { needed / free } else { 1.0 }
    }
}

fn times(one: Duration, count: usize) -> Duration {
    one.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::{super::Spread, *};

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// No value varies: 2.5 s for a start, one worker after the other, and 100 ms for a call.
    const STEADY: Environment = Environment {
        start: Spread::exactly(millis(2000)),
        app_start: Spread::exactly(millis(500)),
        parallel_starts: 1,
        call: Spread::exactly(millis(100)),
        worst_call: millis(100),
        overhead: Spread::exactly(Duration::ZERO),
        cpu_share: 0.0,
        contention_factor: 1.0,
        cores: 1.0,
        other_load: 0.0,
    };

    fn likely(environment: Environment, plan: Plan) -> Duration {
        calculate_expected_performance(&environment).time(plan).likely
    }

    /// R47: the number of waves is `ceil(n / (workers x concurrency))`; without calls, the predicted time is zero.
    #[test]
    fn r47_calls_run_in_waves() {
        let waves = |workers, concurrency, operations| Plan { concurrency, ..Plan::warm(workers, operations) }.waves();
        assert_eq!([waves(4, 1, 8), waves(4, 1, 9), waves(4, 2, 9), waves(1, 1, 7), waves(4, 4, 0)], [2, 3, 2, 7, 0]);
        assert_eq!((waves(0, 0, 3), waves(usize::MAX, 2, 3)), (3, 1));
        assert_eq!(likely(STEADY, Plan::warm(4, 9)), millis(300));
        assert_eq!(likely(STEADY, Plan::warm(4, 0)), Duration::ZERO);
    }

    /// R47, R48: a cold start is added, with as many workers in parallel as the environment allows.
    #[test]
    fn r47_cold_start_adds_start_time_and_warm_start_does_not() {
        assert_eq!(likely(STEADY, Plan::cold(4, 4)), millis(4 * 2500 + 100));
        let two = Environment { parallel_starts: 2, ..STEADY };
        assert_eq!(likely(two, Plan::cold(5, 4)), millis(3 * 2500 + 100));
        assert_eq!(likely(two, Plan::warm(4, 4)), millis(100));
    }

    /// R47: on two cores, eight workers have the speed-up of two if the handlers compute, and of eight if they sleep.
    #[test]
    fn r47_more_workers_than_cores_speed_up_only_sleeping_handlers() {
        let of = |cpu_share, other_load| Environment { cpu_share, other_load, cores: 2.0, ..STEADY };
        let speed_up = |environment| calculate_expected_performance(&environment).speed_up(8);
        assert!((speed_up(of(0.0, 0.0)) - 8.0).abs() < 1e-9);
        assert!((speed_up(of(1.0, 0.0)) - 2.0).abs() < 1e-9);
        assert_eq!(likely(of(1.0, 0.0), Plan::warm(8, 8)), millis(400));
        assert_eq!(likely(of(1.0, 0.0), Plan::warm(8, 2)), millis(100)); // two calls need two cores, however many workers there are
        // Other processes need two cores: eight of ten runnable threads get 1.6 cores.
        assert_eq!(likely(of(1.0, 2.0), Plan::warm(8, 8)), millis(500));
    }

    /// R47: the prediction is a range, and states when the range is not reliable.
    #[test]
    fn r47_prediction_is_a_range_with_its_reliability() {
        let call = Spread::new(millis(90), millis(100), millis(150)).unwrap();
        let environment = Environment { call, worst_call: millis(200), cores: 2.0, ..STEADY };
        let expected = calculate_expected_performance(&environment).time(Plan::warm(1, 10));
        assert_eq!((expected.low, expected.likely, expected.high), (millis(765), millis(1000), millis(2050)));
        assert!(expected.holds(millis(765)) && expected.holds(millis(2050)) && !expected.holds(millis(2051)));
        assert_eq!(expected.reliability, Reliability::Reliable);
        let loaded = Environment { other_load: 1.5, ..environment };
        let expected = calculate_expected_performance(&loaded).time(Plan::warm(1, 10));
        assert_eq!(expected.reliability, Reliability::TooLoaded { other_load: 1.5 });
    }

    #[test]
    fn r47_spread_must_be_in_ascending_order() {
        assert!(Spread::new(millis(2), millis(1), millis(3)).is_err());
        let measured = Spread::of([millis(3), millis(1), millis(2)]).unwrap();
        assert_eq!((measured.low(), measured.likely(), measured.high()), (millis(1), millis(2), millis(3)));
        assert_eq!(Spread::of([]), None);
    }
}
