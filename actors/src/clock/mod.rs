//! The clock of a pool: CLOCK_MONOTONIC, which workers read, too (`time.monotonic_ns()`), so that times of both can be
//! compared; and the conversion to system time. With the feature `testing` a pool of scripted workers may use a virtual
//! clock; without the feature reading the clock is a plain call.

#[cfg(feature = "testing")]
mod virtual_clock;

#[cfg(feature = "testing")]
pub use virtual_clock::VirtualClock;
#[cfg(feature = "testing")]
pub(crate) use virtual_clock::{UnansweredPings, VirtualTimer};

use herder_core::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime};

/// The clock that a pool reads and waits by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    #[cfg(feature = "testing")]
    virtual_clock: Option<VirtualClock>,
}

// Without the feature `testing` the value has no size, so nothing is stored or checked.
const _: () = assert!(cfg!(feature = "testing") || size_of::<Clock>() == 0);

impl Clock {
    #[cfg(feature = "testing")]
    pub(crate) fn virtual_clock(virtual_clock: VirtualClock) -> Self {
        Self { virtual_clock: Some(virtual_clock) }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn attach(&self, pool: actix::WeakRecipient<UnansweredPings>) {
        if let Some(virtual_clock) = &self.virtual_clock {
            virtual_clock.attach(pool);
        }
    }

    /// Returns the current time.
    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        #[cfg(feature = "testing")]
        if let Some(virtual_clock) = &self.virtual_clock {
            return virtual_clock.now();
        }
        now()
    }

    /// Waits for this long. Cancel safe.
    pub(crate) async fn sleep(&self, span: Duration) {
        self.timer().wait_until(Some(self.now() + span)).await;
    }

    /// Returns a timer for repeated waits.
    pub(crate) fn timer(&self) -> PoolTimer {
        PoolTimer {
            #[cfg(feature = "testing")]
            timer: self.virtual_clock.as_ref().map(VirtualClock::timer),
        }
    }
}

/// A timer for repeated waits. After each wait its owner does the work that was due before it waits again: a virtual clock
/// relies on that to know that the work is done.
pub(crate) struct PoolTimer {
    #[cfg(feature = "testing")]
    timer: Option<VirtualTimer>,
}

impl PoolTimer {
    /// Waits until this time; with `None`, for ever. Cancel safe.
    #[expect(clippy::disallowed_methods, reason = "all timers of a pool wait here")]
    pub(crate) async fn wait_until(&mut self, time: Option<Timestamp>) {
        #[cfg(feature = "testing")]
        if let Some(timer) = &mut self.timer {
            return timer.wait_until(time).await;
        }
        match time {
            Some(time) => tokio::time::sleep(time.since(now())).await,
            None => std::future::pending().await,
        }
    }
}

/// Returns the current time on the clock that host and workers share: CLOCK_MONOTONIC, as `time.monotonic_ns()` reads it on
/// Linux.
///
/// ```
/// # use herder_actors::now;
/// assert!(now() <= now());
/// ```
pub fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    Timestamp(seconds * 1_000_000_000 + nanos)
}

/// Converts times of a pool's clock to system times, by one reading of both clocks.
pub(crate) struct WallClock {
    now: Timestamp,
    system_time: SystemTime,
}

impl WallClock {
    /// Reads both clocks.
    pub(crate) fn now(clock: &Clock) -> Self {
        Self { now: clock.now(), system_time: SystemTime::now() }
    }

    /// Returns the system time of a time that is not in the future.
    pub(crate) fn at(&self, time: Timestamp) -> SystemTime {
        self.system_time.checked_sub(self.now.since(time)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
