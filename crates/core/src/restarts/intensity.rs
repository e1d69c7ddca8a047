//! The limit on restarts of workers, and the wait before a start (R28). Counts only; starts nothing.

use crate::{Timestamp, settings::RestartSettings};
use std::{collections::VecDeque, time::Duration};

const LONGEST_COOLDOWN: Duration = Duration::from_secs(600);

/// Counts failed starts of base workers, and early deaths without a call, within a window. The pool fails when there
/// are more than allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RestartIntensity {
    settings: RestartSettings,
    events: VecDeque<Timestamp>,
    failed: u32,
}

/// The result of counting one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntensityVerdict {
    /// The number of events is within the limit.
    WithinLimit,
    /// There were too many events. Nothing is started before `retry_at`.
    Exceeded { retry_at: Timestamp },
}

impl RestartIntensity {
    pub(crate) fn new(settings: RestartSettings) -> Self {
        Self { settings, events: VecDeque::new(), failed: 0 }
    }

    /// Counts one event. Keeps at most `max` + 1 events ([I6](crate#invariants)).
    pub(crate) fn count(&mut self, now: Timestamp) -> IntensityVerdict {
        while self.events.front().is_some_and(|&at| now - at > self.settings.window) {
            self.events.pop_front();
        }
        self.events.push_back(now);
        if self.events.len() > self.settings.max as usize { self.escalate(now) } else { IntensityVerdict::WithinLimit }
    }

    /// Returns the next cooldown of a pool that has failed, which doubles each time, and clears the window.
    pub(crate) fn escalate(&mut self, now: Timestamp) -> IntensityVerdict {
        self.events.clear();
        let cooldown = doubled(self.settings.cooldown, self.failed, LONGEST_COOLDOWN.max(self.settings.cooldown));
        self.failed += 1;
        IntensityVerdict::Exceeded { retry_at: now + cooldown }
    }

    /// Resets the cooldown to its initial length, after a worker of a failed pool became ready.
    pub(crate) fn record_recovery(&mut self) {
        self.failed = 0;
    }

    /// Returns the wait before a slot's next start, after this many consecutive failed starts and early deaths.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            _ => doubled(self.settings.backoff, failures - 1, self.settings.max_backoff),
        }
    }

    pub(crate) fn is_early(&self, uptime: Duration) -> bool {
        uptime < self.settings.min_uptime
    }

    #[cfg(test)]
    pub(crate) fn counted(&self) -> usize {
        self.events.len()
    }
}

/// The backoff that all overflow workers share (R12). Overflow workers start for the same reason, and what prevents one
/// from starting prevents the others too. After a failed start none starts before the wait is over, and then one at a
/// time until one is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OverflowStarts {
    /// Consecutive failures.
    failures: u32,
    cooldown_until: Timestamp,
}

impl OverflowStarts {
    /// Counts a failed start. Starts that fail together are one event: while the wait after the first lasts, further
    /// failures add nothing.
    pub(crate) fn record_failure(&mut self, now: Timestamp, intensity: &RestartIntensity) {
        if now >= self.cooldown_until {
            self.failures = self.failures.saturating_add(1);
            self.cooldown_until = now + intensity.backoff(self.failures);
        }
    }

    /// Resets the backoff, after an overflow worker became ready.
    pub(crate) fn record_success(&mut self) {
        *self = Self::default();
    }

    /// Returns whether the last start failed, so that only one start is tried at a time.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Returns the time before which no overflow worker starts.
    pub(crate) fn cooldown_until(&self) -> Timestamp {
        self.cooldown_until
    }
}

fn doubled(base: Duration, times: u32, cap: Duration) -> Duration {
    base.saturating_mul(2u32.saturating_pow(times)).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, WorkerTypeSettings};

    fn intensity() -> RestartIntensity {
        // The default is 5 within 60 s.
        RestartIntensity::new(Settings::new(WorkerTypeSettings::Basic, 1).restart)
    }

    /// R28
    #[test]
    fn more_than_max_in_the_window_escalates_and_old_events_do_not_count() {
        let mut restarts = intensity();
        let second = Duration::from_secs(1);
        for n in 0..20u32 {
            assert_eq!(
                restarts.count(Timestamp(0) + second * 13 * n),
                IntensityVerdict::WithinLimit,
                "at most five in any 60 s"
            );
        }
        let mut restarts = intensity();
        for n in 0..5u32 {
            assert_eq!(restarts.count(Timestamp(0) + second * n), IntensityVerdict::WithinLimit);
        }
        assert_eq!(
            restarts.count(Timestamp(0) + second * 5),
            IntensityVerdict::Exceeded { retry_at: Timestamp(0) + second * 35 }
        );
        assert_eq!(restarts.counted(), 0);
    }

    /// R28: an event exactly as old as the window still counts.
    #[test]
    fn an_event_as_old_as_the_window_still_counts() {
        let mut restarts = intensity();
        let (window, moment) = (Duration::from_secs(60), Duration::from_nanos(1));
        (0..5).for_each(|_| assert_eq!(restarts.count(Timestamp(7)), IntensityVerdict::WithinLimit));
        let mut later = restarts.clone();
        assert!(matches!(restarts.count(Timestamp(7) + window), IntensityVerdict::Exceeded { .. }));
        assert_eq!(later.count(Timestamp(7) + window + moment), IntensityVerdict::WithinLimit);
        assert_eq!(later.counted(), 1);
    }

    /// R12: failures within the wait are one event, a failure at its end is another, and a success resets the backoff.
    #[test]
    fn overflow_workers_share_one_backoff() {
        let (restarts, ms) = (intensity(), Duration::from_millis(1));
        let mut overflow = OverflowStarts::default();
        assert!(!overflow.is_failing() && overflow.cooldown_until() == Timestamp(0));
        (0..8).for_each(|n| overflow.record_failure(Timestamp(0) + ms * n, &restarts));
        assert!(overflow.is_failing());
        assert_eq!(overflow.cooldown_until(), Timestamp(0) + ms * 100);
        overflow.record_failure(Timestamp(0) + ms * 100, &restarts);
        assert_eq!(overflow.cooldown_until(), Timestamp(0) + ms * 300);
        overflow.record_success();
        assert_eq!(overflow, OverflowStarts::default());
    }

    /// R28
    #[test]
    fn cooldowns_double_up_to_ten_minutes_and_a_recovery_resets_them() {
        let mut restarts = intensity();
        let waits: Vec<u64> = (0..7)
            .map(|_| match restarts.escalate(Timestamp(0)) {
                IntensityVerdict::Exceeded { retry_at } => retry_at.0 / 1_000_000_000,
                IntensityVerdict::WithinLimit => 0,
            })
            .collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600]);
        restarts.record_recovery();
        assert_eq!(restarts.escalate(Timestamp(0)), IntensityVerdict::Exceeded { retry_at: Timestamp(30_000_000_000) });
    }

    /// R28
    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let restarts = intensity();
        let waits: Vec<u128> = [0, 1, 2, 3, 8, 99].map(|n| restarts.backoff(n).as_millis()).into();
        assert_eq!(waits, [0, 100, 200, 400, 10_000, 10_000]);
    }
}
