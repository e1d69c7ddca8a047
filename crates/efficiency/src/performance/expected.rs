//! [`Performance`]: from an environment and a plan to a range.

use super::Environment;
use crate::concurrency::LOADED;
use serde::Serialize;
use std::time::Duration;

/// How often a run lies within its range, if the environment stays as it was measured: nine times in ten.
pub const CONFIDENCE: f64 = 0.9;

/// How much quicker or slower a run may be than what was measured of single calls adds up to.
const MODEL_ERROR_BELOW: f64 = 0.85;
const MODEL_ERROR_ABOVE: f64 = 1.3;

/// What is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// How many workers. 0 counts as 1, here and below.
    pub workers: usize,
    /// How many calls each of them runs at once.
    pub concurrency: usize,
    /// How many calls.
    pub operations: usize,
    /// From where.
    pub start: StartMode,
}

/// Whether the workers have to be started first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartMode {
    /// No worker runs.
    Cold,
    /// All are ready.
    Warm,
}

impl Plan {
    /// So many workers, one call at a time each, that have to be started first.
    pub fn cold(workers: usize, operations: usize) -> Self {
        Self { workers, concurrency: 1, operations, start: StartMode::Cold }
    }

    /// So many workers, one call at a time each, that are ready.
    pub fn warm(workers: usize, operations: usize) -> Self {
        Self { start: StartMode::Warm, ..Self::cold(workers, operations) }
    }

    /// The places where a call can run.
    pub fn call_slots(&self) -> usize {
        self.workers.max(1).saturating_mul(self.concurrency.max(1))
    }

    /// `ceil(operations / call_slots)`.
    pub fn waves(&self) -> usize {
        self.operations.div_ceil(self.call_slots())
    }
}

/// How long a plan is expected to take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Expected {
    /// How often all lanes are filled.
    pub waves: usize,
    /// Seldom less.
    pub low: Duration,
    /// What it adds up to.
    pub likely: Duration,
    /// Seldom more.
    pub high: Duration,
    /// How often a run lies between `low` and `high`: a share.
    pub confidence: f64,
    /// Whether the range is worth something.
    pub reliability: Reliability,
}

/// Whether a range is worth something.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reliability {
    /// As far as can be told.
    Reliable,
    /// Others keep this many cores busy: the machine is too loaded to tell. The range is that of the load as it was.
    TooLoaded {
        /// How many cores others use.
        other_load: f64,
    },
}

impl Expected {
    /// Whether a run lies within the range.
    pub fn holds(&self, measured: Duration) -> bool {
        (self.low..=self.high).contains(&measured)
    }
}

/// What an environment can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Performance(Environment);

/// What an environment can do: ask it about plans.
pub fn calculate_expected_performance(environment: &Environment) -> Performance {
    Performance(*environment)
}

/// One of the three numbers of a range.
#[derive(Clone, Copy)]
enum Bound {
    Low,
    Likely,
    High,
}

impl Performance {
    /// How long a plan takes: the workers' start if they are cold, then waves of calls, longer if cores are short.
    pub fn time(&self, plan: Plan) -> Expected {
        let environment = &self.0;
        let end = |end| self.start(plan, end) + self.calls(plan, end);
        let worst = environment.worst_call.saturating_sub(environment.call.likely());
        let straggler = if plan.operations == 0 { Duration::ZERO } else { worst };
        let load = environment.other_load / environment.cores.max(f64::MIN_POSITIVE);
        Expected {
            waves: plan.waves(),
            low: end(Bound::Low).mul_f64(MODEL_ERROR_BELOW),
            likely: end(Bound::Likely),
            high: end(Bound::High).mul_f64(MODEL_ERROR_ABOVE + load) + straggler,
            confidence: CONFIDENCE,
            reliability: if load > LOADED {
                Reliability::TooLoaded { other_load: environment.other_load }
            } else {
                Reliability::Reliable
            },
        }
    }

    /// How many calls a second so many lanes manage once they are warm.
    pub fn throughput(&self, workers: usize, concurrency: usize) -> f64 {
        let plan = Plan { concurrency, ..Plan::warm(workers, 1) };
        plan.call_slots() as f64 / self.one_call(plan.call_slots(), Bound::Likely).as_secs_f64().max(1e-9)
    }

    /// How many times as much so many workers do as one.
    pub fn speed_up(&self, workers: usize) -> f64 {
        self.throughput(workers, 1) / self.throughput(1, 1)
    }

    fn start(&self, plan: Plan, end: Bound) -> Duration {
        let Environment { start, app_start: bridge, parallel_starts: starting_at_once, .. } = &self.0;
        let rounds = plan.workers.max(1).div_ceil((*starting_at_once).max(1));
        let one = match end {
            Bound::Low => start.low() + bridge.low(),
            Bound::Likely => start.likely() + bridge.likely(),
            Bound::High => start.high() + bridge.high(),
        };
        if plan.start == StartMode::Cold { times(one, rounds) } else { Duration::ZERO }
    }

    fn calls(&self, plan: Plan, end: Bound) -> Duration {
        // Fewer calls than lanes leave lanes empty, which nobody's core is missing for.
        times(self.one_call(plan.call_slots().min(plan.operations), end), plan.waves())
    }

    /// One call's time when so many run at once.
    fn one_call(&self, at_once: usize, end: Bound) -> Duration {
        let Environment { call, overhead: way, cpu_share, contention_factor: beside, .. } = &self.0;
        let cpu_share = cpu_share.clamp(0.0, 1.0);
        let shortage = self.shortage(at_once, cpu_share, end);
        let (call, way) = match end {
            Bound::Low => (call.low(), way.low()),
            Bound::Likely => (call.likely(), way.likely()),
            // Who has to wait for a core in a handler may have to wait for one on the way as well.
            Bound::High => (call.high(), way.high().mul_f64(shortage)),
        };
        let beside = if at_once > 1 && !matches!(end, Bound::Low) { beside.max(1.0) } else { 1.0 };
        way + call.mul_f64(beside * (1.0 - cpu_share + cpu_share * shortage))
    }

    /// How many times as many cores are wanted as there are: 1 if there are enough.
    fn shortage(&self, at_once: usize, cpu_share: f64, end: Bound) -> f64 {
        let Environment { cores, other_load, .. } = self.0;
        let wanted = at_once as f64 * cpu_share;
        // Others give way: who wants more gets more. At best they go away.
        let fair = cores * wanted / (wanted + other_load).max(f64::MIN_POSITIVE);
        let free = if matches!(end, Bound::Low) { cores } else { fair.max(cores - other_load) };
        if wanted > free && free > 0.0 { wanted / free } else { 1.0 }
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

    /// Nothing varies: 2.5 s a start, one after the other, and 100 ms a call.
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

    /// R47: `ceil(n / (workers x concurrency))`, and nothing at all for no calls.
    #[test]
    fn r47_calls_come_in_waves() {
        let waves = |workers, concurrency, operations| Plan { concurrency, ..Plan::warm(workers, operations) }.waves();
        assert_eq!([waves(4, 1, 8), waves(4, 1, 9), waves(4, 2, 9), waves(1, 1, 7), waves(4, 4, 0)], [2, 3, 2, 7, 0]);
        assert_eq!((waves(0, 0, 3), waves(usize::MAX, 2, 3)), (3, 1));
        assert_eq!(likely(STEADY, Plan::warm(4, 9)), millis(300));
        assert_eq!(likely(STEADY, Plan::warm(4, 0)), Duration::ZERO);
    }

    /// R47, R48: a cold start counts, side by side as far as the environment can.
    #[test]
    fn r47_a_cold_start_counts_and_a_warm_one_does_not() {
        assert_eq!(likely(STEADY, Plan::cold(4, 4)), millis(4 * 2500 + 100));
        let two = Environment { parallel_starts: 2, ..STEADY };
        assert_eq!(likely(two, Plan::cold(5, 4)), millis(3 * 2500 + 100));
        assert_eq!(likely(two, Plan::warm(4, 4)), millis(100));
    }

    /// R47: eight workers that compute on two cores are as quick as two, and as eight if they sleep.
    #[test]
    fn r47_more_workers_than_cores_speed_up_only_sleeping_handlers() {
        let of = |cpu_share, other_load| Environment { cpu_share, other_load, cores: 2.0, ..STEADY };
        let speed_up = |environment| calculate_expected_performance(&environment).speed_up(8);
        assert!((speed_up(of(0.0, 0.0)) - 8.0).abs() < 1e-9);
        assert!((speed_up(of(1.0, 0.0)) - 2.0).abs() < 1e-9);
        assert_eq!(likely(of(1.0, 0.0), Plan::warm(8, 8)), millis(400));
        assert_eq!(likely(of(1.0, 0.0), Plan::warm(8, 2)), millis(100)); // two calls want two cores, however many workers there are
        // Two others that compute: eight of ten get 1.6 cores.
        assert_eq!(likely(of(1.0, 2.0), Plan::warm(8, 8)), millis(500));
    }

    /// R47: the answer is a range, and says when it is worth nothing.
    #[test]
    fn r47_a_range_and_when_it_is_worth_nothing() {
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
    fn r47_a_spread_is_in_order() {
        assert!(Spread::new(millis(2), millis(1), millis(3)).is_err());
        let measured = Spread::of([millis(3), millis(1), millis(2)]).unwrap();
        assert_eq!((measured.low(), measured.likely(), measured.high()), (millis(1), millis(2), millis(3)));
        assert_eq!(Spread::of([]), None);
    }
}
