//! Points in time as the core sees them: numbers that the caller passes in. The core reads no clock.

use serde::Serialize;
use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A point in time: nanoseconds of the host's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// A point in time that is never reached.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the time since `earlier`, or zero if `earlier` is later than `self`.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// Returns the nanoseconds since `earlier`, or zero if `earlier` is later than `self`. Cheaper than a [`Duration`],
    /// which takes a division to make.
    #[inline]
    pub(crate) fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let seconds = span.as_secs().saturating_mul(1_000_000_000);
        Self(self.0.saturating_add(seconds.saturating_add(u64::from(span.subsec_nanos()))))
    }
}

impl Sub<Timestamp> for Timestamp {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// Returns whole milliseconds, as statuses show them.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
