//! Time as the core sees it: a number that callers hand in. Holds no clock and reads none.

use serde::Serialize;
use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A moment: nanoseconds of the host's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time since `earlier`; zero if that lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
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
