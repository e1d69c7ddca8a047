//! [`compare`]: decides by the ratios of pairs of runs whether parallel execution is faster than serial execution (R48). The
//! two runs of a pair alternate within one measurement, so that both see the same machine load.

use serde::Serialize;
use std::time::Duration;

/// The fraction of the serial time that parallel execution has to save.
pub const GAIN: f64 = 0.2;

/// The minimum number of pairs. Whatever the distribution of the n ratios, its median lies between the smallest and the largest
/// of them with a probability of `1 - 2 / 2^n`: 94 % for five pairs.
pub const PAIRS: usize = 5;

/// The fraction of the cores that other processes may use. Above it, the machine is too loaded for a comparison.
pub const LOADED: f64 = 0.5;

/// The durations of the same operations, run in series and in parallel shortly after each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The duration of the serial run.
    pub serial: Duration,
    /// The duration of the parallel run.
    pub parallel: Duration,
}

impl Pair {
    fn speed_up(&self) -> f64 {
        self.serial.as_secs_f64() / self.parallel.as_secs_f64().max(1e-9)
    }
}

/// The conditions that decide whether the operations could overlap at all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ComparisonConditions {
    /// The number of places where a call can run: workers times their concurrency, or the number of callers if that is smaller.
    pub call_slots: usize,
    /// The number of cores that may be used.
    pub cores: f64,
    /// The number of cores that other processes used, if it is known.
    pub other_load: Option<f64>,
    /// The fraction of an operation's time for which it needs a core, from 0 to 1, if it is known.
    pub cpu_share: Option<f64>,
}

/// The result of a comparison of parallel with serial execution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The number of pairs.
    pub pairs: usize,
    /// The median of serial / parallel. 1 means that both took the same time.
    pub speed_up: f64,
    /// The smallest ratio of a pair.
    pub low: f64,
    /// The largest ratio of a pair.
    pub high: f64,
    /// Whether parallel execution is faster.
    pub verdict: Gain,
}

/// Whether parallel execution is faster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gain {
    /// Parallel execution saved at least [`GAIN`] of the serial time in each pair.
    Proven,
    /// The pairs do not show whether parallel execution is faster, for this reason. This is not a failure.
    Inconclusive(Inconclusive),
}

/// The reason why a comparison has no result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
    /// There are fewer than [`PAIRS`] pairs.
    #[error("{pairs} pairs are too few; at least {PAIRS} are required")]
    TooFewPairs {
        /// The number of pairs.
        pairs: usize,
    },
    /// Only one call can run at a time.
    #[error("only one call can run at a time, so calls cannot overlap")]
    OneCallSlot,
    /// The operations need cores, and too few of them are free.
    #[error("each call uses {cpu_share:.2} of a core and only {free:.1} cores are free, so calls can hardly overlap")]
    NoFreeCore {
        /// The fraction of a call's time for which it needs a core.
        cpu_share: f64,
        /// The number of cores that other processes did not use.
        free: f64,
    },
    /// Other processes use too many cores.
    #[error("the machine is too loaded: other processes keep {other_load:.1} of {cores:.1} cores busy")]
    Loaded {
        /// The number of cores that other processes use.
        other_load: f64,
        /// The number of cores.
        cores: f64,
    },
    /// Some pairs show a gain and some do not.
    #[error("the pairs disagree: parallel execution was {low:.2} to {high:.2} times as fast")]
    Inconsistent {
        /// The smallest speed-up.
        low: f64,
        /// The largest speed-up.
        high: f64,
    },
    /// No pair shows a gain, and no known condition explains it.
    /// [`verify_concurrent_execution`](super::verify_concurrent_execution) shows whether the calls overlapped.
    #[error("parallel execution was only {speed_up:.2} times as fast, for no known reason")]
    NoGain {
        /// The median speed-up.
        speed_up: f64,
    },
}

/// Compares the pairs. Never fails: if there is no result, the verdict contains the reason.
///
/// ```
/// # use herder_efficiency::concurrency::{ComparisonConditions, Gain, Inconclusive, Pair, compare};
/// use std::time::Duration;
/// let pair = |serial, parallel| Pair { serial: Duration::from_millis(serial), parallel: Duration::from_millis(parallel) };
/// let four_slots = ComparisonConditions { call_slots: 4, cores: 2.0, other_load: Some(0.1), cpu_share: Some(0.02) };
/// let pairs = [pair(40, 11), pair(41, 10), pair(40, 12), pair(42, 11), pair(40, 10)];
/// assert_eq!(compare(&pairs, &four_slots).verdict, Gain::Proven);
/// let one_slot = ComparisonConditions { call_slots: 1, ..four_slots };
/// let same = [pair(40, 40); 5];
/// assert_eq!(compare(&same, &one_slot).verdict, Gain::Inconclusive(Inconclusive::OneCallSlot));
/// ```
pub fn compare(pairs: &[Pair], conditions: &ComparisonConditions) -> Comparison {
    let mut speed_ups: Vec<f64> = pairs.iter().map(Pair::speed_up).collect();
    speed_ups.sort_by(f64::total_cmp);
    let speed_up_at = |index: usize| speed_ups.get(index).copied().unwrap_or(1.0);
    let last = speed_ups.len().saturating_sub(1);
    let speed_up = f64::midpoint(speed_up_at(last / 2), speed_up_at(last.div_ceil(2)));
    let mut comparison = Comparison {
        pairs: pairs.len(),
        speed_up,
        low: speed_up_at(0),
        high: speed_up_at(last),
        verdict: Gain::Proven,
    };
    comparison.verdict = comparison.inconclusive_reason(conditions).map_or(Gain::Proven, Gain::Inconclusive);
    comparison
}

impl Comparison {
    /// Returns the reason why there is no result, or `None` if there is a gain. A measured gain counts under all conditions;
    /// the conditions only explain why there is none.
    fn inconclusive_reason(&self, conditions: &ComparisonConditions) -> Option<Inconclusive> {
        let Self { pairs, speed_up, low, high, .. } = *self;
        let required = 1.0 / (1.0 - GAIN);
        if pairs < PAIRS {
            return Some(Inconclusive::TooFewPairs { pairs });
        }
        if low >= required {
            return None;
        }
        Some(conditions.limiting_factor(required).unwrap_or(if high >= required {
            Inconclusive::Inconsistent { low, high }
        } else {
            Inconclusive::NoGain { speed_up }
        }))
    }
}

impl ComparisonConditions {
    fn limiting_factor(&self, required: f64) -> Option<Inconclusive> {
        let Self { call_slots, cores, other_load, cpu_share } = *self;
        if call_slots < 2 {
            return Some(Inconclusive::OneCallSlot);
        }
        let (other_load, cpu_share) = (other_load.unwrap_or(0.0), cpu_share.unwrap_or(0.0));
        if other_load > LOADED * cores {
            return Some(Inconclusive::Loaded { other_load, cores });
        }
        let free = (cores - other_load).max(0.0);
        // `required` is squared to leave a margin: the cores that would just suffice in theory do not suffice in practice.
        (cpu_share > 0.0 && free / cpu_share < required * required)
            .then_some(Inconclusive::NoFreeCore { cpu_share, free })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: ComparisonConditions =
        ComparisonConditions { call_slots: 4, cores: 4.0, other_load: Some(0.0), cpu_share: Some(0.1) };

    fn pairs(speed_ups: &[f64]) -> Vec<Pair> {
        let pair = |&by: &f64| Pair { serial: Duration::from_secs_f64(by), parallel: Duration::from_secs(1) };
        speed_ups.iter().map(pair).collect()
    }

    fn verdict(speed_ups: &[f64], conditions: ComparisonConditions) -> Gain {
        compare(&pairs(speed_ups), &conditions).verdict
    }

    /// R48: a gain is proven if every pair saves 20 % of the serial time, and not if one pair saves slightly less.
    #[test]
    fn r48_gain_requires_twenty_per_cent_in_each_pair() {
        assert_eq!(verdict(&[1.25, 1.3, 1.26, 4.0, 1.25], IDLE), Gain::Proven);
        let inconsistent = Inconclusive::Inconsistent { low: 1.24, high: 4.0 };
        assert_eq!(verdict(&[1.24, 1.3, 1.26, 4.0, 1.25], IDLE), Gain::Inconclusive(inconsistent));
        assert_eq!(verdict(&[9.0; 4], IDLE), Gain::Inconclusive(Inconclusive::TooFewPairs { pairs: 4 }));
        assert_eq!(verdict(&[], IDLE), Gain::Inconclusive(Inconclusive::TooFewPairs { pairs: 0 }));
    }

    /// R48: a verdict without a gain names the limiting factor.
    #[test]
    fn r48_limiting_factor_is_named() {
        let no_gain = [1.0, 1.1, 0.9, 1.0, 1.05];
        let verdict_under = |conditions| verdict(&no_gain, conditions);
        assert_eq!(
            verdict_under(ComparisonConditions { call_slots: 1, ..IDLE }),
            Gain::Inconclusive(Inconclusive::OneCallSlot)
        );
        let loaded = Inconclusive::Loaded { other_load: 3.0, cores: 4.0 };
        assert_eq!(verdict_under(ComparisonConditions { other_load: Some(3.0), ..IDLE }), Gain::Inconclusive(loaded));
        let one_core = ComparisonConditions { cores: 1.0, cpu_share: Some(0.9), ..IDLE };
        assert_eq!(verdict_under(one_core), Gain::Inconclusive(Inconclusive::NoFreeCore { cpu_share: 0.9, free: 1.0 }));
        assert_eq!(verdict_under(IDLE), Gain::Inconclusive(Inconclusive::NoGain { speed_up: 1.0 }));
    }

    /// A measured gain counts even if the conditions make it unlikely, for example on a loaded machine.
    #[test]
    fn r48_gain_counts_under_unfavourable_conditions() {
        let unlikely = ComparisonConditions { call_slots: 1, cores: 0.5, other_load: None, cpu_share: None };
        assert_eq!(verdict(&[2.0; 5], unlikely), Gain::Proven);
    }
}
