//! [`compare`]: whether side by side beats one after the other, by the ratios of pairs that ran in one run, turn by turn (R48).

use serde::Serialize;
use std::time::Duration;

/// By how much of serial's time parallel has to be quicker.
pub const GAIN: f64 = 0.2;

/// So many pairs at least. The median of all such runs lies between the least and the greatest of n ratios with a probability of
/// `1 - 2 / 2^n`, whatever their distribution: 94 % for five.
pub const PAIRS: usize = 5;

/// Others may keep this share of the cores busy before a machine is called too loaded to tell.
pub const LOADED: f64 = 0.5;

/// The same operations twice, shortly after each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// How long they took one after the other.
    pub serial: Duration,
    /// How long they took side by side.
    pub parallel: Duration,
}

impl Pair {
    fn speed_up(&self) -> f64 {
        self.serial.as_secs_f64() / self.parallel.as_secs_f64().max(1e-9)
    }
}

/// What decides whether the operations could overlap at all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ComparisonConditions {
    /// The places where a call can run: workers times their concurrency, or fewer if there are fewer callers.
    pub call_slots: usize,
    /// The cores that may be used.
    pub cores: f64,
    /// How many cores others kept busy, where that is known.
    pub other_load: Option<f64>,
    /// The share of an operation's time for which it needs a core, from 0 to 1, where that is known.
    pub cpu_share: Option<f64>,
}

/// Parallel against serial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// How many pairs ran.
    pub pairs: usize,
    /// The median of serial / parallel. 1: as quick.
    pub speed_up: f64,
    /// The least of them.
    pub low: f64,
    /// The greatest of them.
    pub high: f64,
    /// Whether parallel is quicker.
    pub verdict: Gain,
}

/// Whether parallel is quicker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gain {
    /// In each pair by at least [`GAIN`].
    Proven,
    /// It can't be told, and this is why. Not a failure.
    Inconclusive(Inconclusive),
}

/// Why it can't be told whether parallel is quicker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
    /// Not enough to judge by.
    #[error("{pairs} pairs are too few; at least {PAIRS} are required")]
    TooFewPairs {
        /// How many there are.
        pairs: usize,
    },
    /// Nothing could overlap.
    #[error("only one call can run at a time, so calls cannot overlap")]
    OneCallSlot,
    /// The operations compute, and the cores for it are not there.
    #[error("each call uses {cpu_share:.2} of a core and only {free:.1} cores are free, so calls can hardly overlap")]
    NoFreeCore {
        /// The share of its time for which a call needs a core.
        cpu_share: f64,
        /// How many cores nobody else used.
        free: f64,
    },
    /// Others keep the machine busy.
    #[error("the machine is too loaded: other processes keep {other_load:.1} of {cores:.1} cores busy")]
    Loaded {
        /// How many cores others use.
        other_load: f64,
        /// How many there are.
        cores: f64,
    },
    /// Some pairs say yes and some no.
    #[error("the pairs disagree: parallel execution was {low:.2} to {high:.2} times as fast")]
    Inconsistent {
        /// The least speed-up.
        low: f64,
        /// The greatest.
        high: f64,
    },
    /// All pairs say no, though nothing is known to stand in the way: see the verdict by overlap.
    #[error("parallel execution was only {speed_up:.2} times as fast, for no known reason")]
    NoGain {
        /// The median speed-up.
        speed_up: f64,
    },
}

/// Compares pairs. Never fails: what can't be told is said to be so, and why.
///
/// ```
/// use herder_efficiency::concurrency::{ComparisonConditions, Gain, Inconclusive, Pair, compare};
/// use std::time::Duration;
/// let pair = |serial, parallel| Pair { serial: Duration::from_millis(serial), parallel: Duration::from_millis(parallel) };
/// let four_lanes = ComparisonConditions { call_slots: 4, cores: 2.0, other_load: Some(0.1), cpu_share: Some(0.02) };
/// let pairs = [pair(40, 11), pair(41, 10), pair(40, 12), pair(42, 11), pair(40, 10)];
/// assert_eq!(compare(&pairs, &four_lanes).verdict, Gain::Proven);
/// let one_lane = ComparisonConditions { call_slots: 1, ..four_lanes };
/// let same = [pair(40, 40); 5];
/// assert_eq!(compare(&same, &one_lane).verdict, Gain::Inconclusive(Inconclusive::OneCallSlot));
/// ```
pub fn compare(pairs: &[Pair], circumstances: &ComparisonConditions) -> Comparison {
    let mut speed_ups: Vec<f64> = pairs.iter().map(Pair::speed_up).collect();
    speed_ups.sort_by(f64::total_cmp);
    let at = |index: usize| speed_ups.get(index).copied().unwrap_or(1.0);
    let last = speed_ups.len().saturating_sub(1);
    let speed_up = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
    let mut comparison = Comparison { pairs: pairs.len(), speed_up, low: at(0), high: at(last), verdict: Gain::Proven };
    comparison.verdict = comparison.judge(circumstances).map_or(Gain::Proven, Gain::Inconclusive);
    comparison
}

impl Comparison {
    /// Why it can't be told, if so. A gain is one whatever the circumstances; they explain why there is none.
    fn judge(&self, circumstances: &ComparisonConditions) -> Option<Inconclusive> {
        let Self { pairs, speed_up, low, high, .. } = *self;
        let wanted = 1.0 / (1.0 - GAIN);
        if pairs < PAIRS {
            return Some(Inconclusive::TooFewPairs { pairs });
        }
        if low >= wanted {
            return None;
        }
        Some(circumstances.limiting_factor(wanted).unwrap_or(if high >= wanted {
            Inconclusive::Inconsistent { low, high }
        } else {
            Inconclusive::NoGain { speed_up }
        }))
    }
}

impl ComparisonConditions {
    fn limiting_factor(&self, wanted: f64) -> Option<Inconclusive> {
        let Self { call_slots, cores, other_load, cpu_share } = *self;
        if call_slots < 2 {
            return Some(Inconclusive::OneCallSlot);
        }
        let (other_load, cpu_share) = (other_load.unwrap_or(0.0), cpu_share.unwrap_or(0.0));
        if other_load > LOADED * cores {
            return Some(Inconclusive::Loaded { other_load, cores });
        }
        let free = (cores - other_load).max(0.0);
        // With some room: what could be had at the very best is never had.
        (cpu_share > 0.0 && free / cpu_share < wanted * wanted).then_some(Inconclusive::NoFreeCore { cpu_share, free })
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

    fn verdict(speed_ups: &[f64], circumstances: ComparisonConditions) -> Gain {
        compare(&pairs(speed_ups), &circumstances).verdict
    }

    /// R48: by 20 % of serial's time in every pair, and not by a hair less.
    #[test]
    fn r48_a_gain_is_twenty_per_cent_in_each_pair() {
        assert_eq!(verdict(&[1.25, 1.3, 1.26, 4.0, 1.25], IDLE), Gain::Proven);
        let scattered = Inconclusive::Inconsistent { low: 1.24, high: 4.0 };
        assert_eq!(verdict(&[1.24, 1.3, 1.26, 4.0, 1.25], IDLE), Gain::Inconclusive(scattered));
        assert_eq!(verdict(&[9.0; 4], IDLE), Gain::Inconclusive(Inconclusive::TooFewPairs { pairs: 4 }));
        assert_eq!(verdict(&[], IDLE), Gain::Inconclusive(Inconclusive::TooFewPairs { pairs: 0 }));
    }

    /// R48: no gain is never a bare no, it comes with what stood in the way.
    #[test]
    fn r48_limiting_factor_is_named() {
        let none = [1.0, 1.1, 0.9, 1.0, 1.05];
        let why = |circumstances| verdict(&none, circumstances);
        assert_eq!(why(ComparisonConditions { call_slots: 1, ..IDLE }), Gain::Inconclusive(Inconclusive::OneCallSlot));
        let loaded = Inconclusive::Loaded { other_load: 3.0, cores: 4.0 };
        assert_eq!(why(ComparisonConditions { other_load: Some(3.0), ..IDLE }), Gain::Inconclusive(loaded));
        let one_core = ComparisonConditions { cores: 1.0, cpu_share: Some(0.9), ..IDLE };
        assert_eq!(why(one_core), Gain::Inconclusive(Inconclusive::NoFreeCore { cpu_share: 0.9, free: 1.0 }));
        assert_eq!(why(IDLE), Gain::Inconclusive(Inconclusive::NoGain { speed_up: 1.0 }));
    }

    /// What is measured beats what was expected: a gain on a loaded machine is a gain.
    #[test]
    fn r48_a_gain_needs_no_circumstances() {
        let unlikely = ComparisonConditions { call_slots: 1, cores: 0.5, other_load: None, cpu_share: None };
        assert_eq!(verdict(&[2.0; 5], unlikely), Gain::Proven);
    }
}
