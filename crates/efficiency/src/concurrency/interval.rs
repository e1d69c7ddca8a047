//! [`Interval`]: a start and an end in order.

use herder_core::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// A start and an end, in nanoseconds of a clock that all intervals share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Interval {
    /// The start.
    pub started: u64,
    /// The end, which is not before the start.
    pub ended: u64,
}

/// The error for an end that is before its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid interval: the end ({ended}) is before the start ({started})")]
pub struct InvalidInterval {
    started: u64,
    ended: u64,
}

impl Interval {
    /// Creates an interval from its start and its end.
    ///
    /// # Errors
    /// If the end is before the start.
    pub fn new(started: u64, ended: u64) -> Result<Self, InvalidInterval> {
        if ended < started { Err(InvalidInterval { started, ended }) } else { Ok(Self { started, ended }) }
    }

    /// Returns the length of the interval.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(self.length())
    }

    /// Creates the interval between two timestamps. If they are not in order, the interval is empty and lies at `to`.
    pub(super) fn between(from: Timestamp, to: Timestamp) -> Self {
        Self { started: from.0.min(to.0), ended: to.0 }
    }

    pub(super) fn length(self) -> u64 {
        self.ended.saturating_sub(self.started)
    }

    /// Returns the part of this interval within `window`, or an empty interval if there is none.
    pub(super) fn within(self, window: Self) -> Self {
        let started = self.started.clamp(window.started, window.ended.max(window.started));
        Self { started, ended: self.ended.min(window.ended).max(started) }
    }
}
