//! [`Environment`]: the measured or given costs of a machine and of a worker.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A duration that varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    low: Duration,
    likely: Duration,
    high: Duration,
}

/// The error for three durations that are not in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid range: {low:?}, {likely:?} and {high:?} are not in ascending order")]
pub struct InvalidSpread {
    low: Duration,
    likely: Duration,
    high: Duration,
}

impl Spread {
    /// Returns a duration that does not vary.
    pub const fn exactly(duration: Duration) -> Self {
        Self { low: duration, likely: duration, high: duration }
    }

    /// Creates a duration that varies between `low` and `high`.
    ///
    /// # Errors
    /// If the durations are not in ascending order.
    pub fn new(low: Duration, likely: Duration, high: Duration) -> Result<Self, InvalidSpread> {
        if low <= likely && likely <= high {
            Ok(Self { low, likely, high })
        } else {
            Err(InvalidSpread { low, likely, high })
        }
    }

    /// Returns the minimum, the median and the maximum of the measured durations, or `None` if there are none.
    pub fn of(measured: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut sorted: Vec<Duration> = measured.into_iter().collect();
        sorted.sort_unstable();
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        Some(Self { low, likely: sorted[sorted.len() / 2], high })
    }

    /// Returns the lower bound, which few measurements fall below.
    pub fn low(&self) -> Duration {
        self.low
    }

    /// Returns the median.
    pub fn likely(&self) -> Duration {
        self.likely
    }

    /// Returns the upper bound, which few measurements exceed.
    pub fn high(&self) -> Duration {
        self.high
    }
}

/// The costs of a machine and of a worker, given or measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The time from the start of a worker until its interpreter has finished its imports.
    pub start: Spread,
    /// The time from there until the worker is ready for calls.
    pub app_start: Spread,
    /// The number of workers that start in parallel; other workers wait. 0 counts as 1.
    pub parallel_starts: usize,
    /// The duration of a handler that runs alone: the average of a few calls, with its variation.
    pub call: Spread,
    /// The duration of the slowest single call to expect. It is added once a run.
    pub worst_call: Duration,
    /// The time that a call and its answer take between host and worker.
    pub overhead: Spread,
    /// The fraction of its time for which a handler needs a core: 0 for a handler that sleeps, 1 for one that computes.
    pub cpu_share: f64,
    /// The factor by which a call takes longer while all cores are in use and none is missing, because cores and caches are
    /// shared. 1 if it does not take longer.
    pub contention_factor: f64,
    /// The number of cores that may be used.
    pub cores: f64,
    /// The number of these cores that other processes use.
    pub other_load: f64,
}
