//! The one clock: CLOCK_MONOTONIC, which workers read too (`time.monotonic_ns()`), so that stamps compare; and the way from it to
//! the wall's. No state.

use herder_core::Now;
use rustix::time::{ClockId, clock_gettime};
use std::time::SystemTime;

/// This moment, on the clock that host and workers share: CLOCK_MONOTONIC, as `time.monotonic_ns()` reads it on Linux.
///
/// ```
/// assert!(herder_actors::now() <= herder_actors::now());
/// ```
pub fn now() -> Now {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    Now(seconds * 1_000_000_000 + nanos)
}

/// From this clock to the wall's, as they stood in one moment.
pub(crate) struct Wall {
    now: Now,
    wall: SystemTime,
}

impl Wall {
    /// As they stand now.
    pub(crate) fn now() -> Self {
        Self { now: now(), wall: SystemTime::now() }
    }

    /// The wall's time of a moment that is not ahead.
    pub(crate) fn at(&self, moment: Now) -> SystemTime {
        self.wall.checked_sub(self.now.since(moment)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
