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

    /// Returns the point in time that is `span` later.
    #[inline]
    pub(crate) fn after(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        self.after(Nanos::from(span))
    }
}

/// A length of time in nanoseconds, as [`Timestamp`] counts them. A timeout that each call adds is stored this way: to add a
/// [`Duration`] takes a multiplication and several more instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Nanos(u64);

impl From<Duration> for Nanos {
    fn from(span: Duration) -> Self {
        let seconds = span.as_secs().saturating_mul(1_000_000_000);
        Self(seconds.saturating_add(u64::from(span.subsec_nanos())))
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
