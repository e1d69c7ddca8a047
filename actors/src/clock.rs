//! The one clock: CLOCK_MONOTONIC, which workers read too (`time.monotonic_ns()`), so that stamps compare. No state.

use herder_core::Now;
use rustix::time::{ClockId, clock_gettime};

/// This moment.
pub(crate) fn now() -> Now {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    Now(seconds * 1_000_000_000 + nanos)
}
