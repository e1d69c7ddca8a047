//! [`Environment`]: what a machine and a worker cost.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A duration that varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    low: Duration,
    likely: Duration,
    high: Duration,
}

/// Why three durations are no spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid range: {low:?}, {likely:?} and {high:?} are not in ascending order")]
pub struct InvalidSpread {
    low: Duration,
    likely: Duration,
    high: Duration,
}

impl Spread {
    /// A duration that always is the same.
    pub const fn exactly(duration: Duration) -> Self {
        Self { low: duration, likely: duration, high: duration }
    }

    /// A duration between two others.
    ///
    /// # Errors
    /// When they are not in order.
    pub fn new(low: Duration, likely: Duration, high: Duration) -> Result<Self, InvalidSpread> {
        if low <= likely && likely <= high {
            Ok(Self { low, likely, high })
        } else {
            Err(InvalidSpread { low, likely, high })
        }
    }

    /// The spread of what was measured: the least, the median, the greatest. `None` of nothing.
    pub fn of(measured: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut sorted: Vec<Duration> = measured.into_iter().collect();
        sorted.sort_unstable();
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        Some(Self { low, likely: sorted[sorted.len() / 2], high })
    }

    /// Seldom less.
    pub fn low(&self) -> Duration {
        self.low
    }

    /// The median.
    pub fn likely(&self) -> Duration {
        self.likely
    }

    /// Seldom more.
    pub fn high(&self) -> Duration {
        self.high
    }
}

/// What a machine and a worker cost: given or measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Until a worker's interpreter runs and its imports are done.
    pub start: Spread,
    /// From there until it can take calls.
    pub app_start: Spread,
    /// How many workers start side by side; more have to wait. 0 counts as 1.
    pub parallel_starts: usize,
    /// A call's handler when nothing runs beside it: the average of a few calls, and how that varies.
    pub call: Spread,
    /// The longest single call that is to be reckoned with, once a run.
    pub worst_call: Duration,
    /// A call's way to the worker and back.
    pub overhead: Spread,
    /// The share of its time for which a handler needs a core: 0 sleeps, 1 computes.
    pub cpu_share: f64,
    /// How many times as long a call takes when all cores are in use and none is missing: shared caches, shared cores. 1 if not at all.
    pub contention_factor: f64,
    /// The cores that may be used.
    pub cores: f64,
    /// How many of them others keep busy.
    pub other_load: f64,
}
