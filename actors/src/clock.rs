//! The one clock: CLOCK_MONOTONIC, which workers read too (`time.monotonic_ns()`), so that stamps compare; and the way from it to
//! the wall's. A pool of scripted workers may go by a virtual one (feature `testing`; without it there is nothing to choose, and a
//! look at the clock is a call). Holds nothing else.

use herder_core::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime};

/// What a pool reads the time from, and waits by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    #[cfg(feature = "testing")]
    virtual_clock: Option<crate::testing::VirtualClock>,
}

// Nothing to carry about, and nothing to choose, in what is released.
const _: () = assert!(cfg!(feature = "testing") || size_of::<Clock>() == 0);

impl Clock {
    #[cfg(feature = "testing")]
    pub(crate) fn virtual_clock(virtual_clock: crate::testing::VirtualClock) -> Self {
        Self { virtual_clock: Some(virtual_clock) }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn attach(&self, pool: actix::WeakRecipient<crate::testing::UnansweredPings>) {
        if let Some(virtual_clock) = &self.virtual_clock {
            virtual_clock.attach(pool);
        }
    }

    /// This moment.
    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        #[cfg(feature = "testing")]
        if let Some(virtual_clock) = &self.virtual_clock {
            return virtual_clock.now();
        }
        now()
    }

    /// Waits so long. Cancel safe.
    pub(crate) async fn sleep(&self, span: Duration) {
        self.timer().wait_until(Some(self.now() + span)).await;
    }

    /// For who waits again and again.
    pub(crate) fn timer(&self) -> PoolTimer {
        PoolTimer {
            #[cfg(feature = "testing")]
            timer: self.virtual_clock.as_ref().map(crate::testing::VirtualClock::timer),
        }
    }
}

/// Rings at a moment, again and again. Between two waits its owner does what the ring was for: a virtual clock waits for that.
pub(crate) struct PoolTimer {
    #[cfg(feature = "testing")]
    timer: Option<crate::testing::VirtualTimer>,
}

impl PoolTimer {
    /// Waits until then; `None`: for ever. Cancel safe.
    #[expect(clippy::disallowed_methods, reason = "all timers of a pool wait here")]
    pub(crate) async fn wait_until(&mut self, at: Option<Timestamp>) {
        #[cfg(feature = "testing")]
        if let Some(timer) = &mut self.timer {
            return timer.wait_until(at).await;
        }
        match at {
            Some(at) => tokio::time::sleep(at.since(now())).await,
            None => std::future::pending().await,
        }
    }
}

/// This moment, on the clock that host and workers share: CLOCK_MONOTONIC, as `time.monotonic_ns()` reads it on Linux.
///
/// ```
/// assert!(herder_actors::now() <= herder_actors::now());
/// ```
pub fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    Timestamp(seconds * 1_000_000_000 + nanos)
}

/// From a pool's clock to the wall's, as they stood in one moment.
pub(crate) struct WallClock {
    now: Timestamp,
    system_time: SystemTime,
}

impl WallClock {
    /// As they stand now.
    pub(crate) fn now(clock: &Clock) -> Self {
        Self { now: clock.now(), system_time: SystemTime::now() }
    }

    /// The wall's time of a moment that is not ahead.
    pub(crate) fn at(&self, moment: Timestamp) -> SystemTime {
        self.system_time.checked_sub(self.now.since(moment)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
