//! [`Interval`]: two moments in their order.

use herder_core::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// From one moment to another, in nanoseconds of a clock that all of them share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Interval {
    /// When it began.
    pub started: u64,
    /// When it ended; not before it began.
    pub ended: u64,
}

/// Why two numbers are no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid interval: the end ({ended}) is before the start ({started})")]
pub struct InvalidInterval {
    started: u64,
    ended: u64,
}

impl Interval {
    /// An interval from its two ends.
    ///
    /// # Errors
    /// When it would end before it starts.
    pub fn new(started: u64, ended: u64) -> Result<Self, InvalidInterval> {
        if ended < started { Err(InvalidInterval { started, ended }) } else { Ok(Self { started, ended }) }
    }

    /// How long it is.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(self.length())
    }

    /// Between two moments; empty, at the later one, if they are not in order.
    pub(super) fn between(from: Timestamp, to: Timestamp) -> Self {
        Self { started: from.0.min(to.0), ended: to.0 }
    }

    pub(super) fn length(self) -> u64 {
        self.ended.saturating_sub(self.started)
    }

    /// What of it lies within `window`; empty if nothing does.
    pub(super) fn within(self, window: Self) -> Self {
        let started = self.started.clamp(window.started, window.ended.max(window.started));
        Self { started, ended: self.ended.min(window.ended).max(started) }
    }
}
