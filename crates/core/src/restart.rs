//! How often a pool may restart its workers, and how long it waits (R28). Counts; starts nothing.

use crate::{Now, settings::RestartSettings};
use std::{collections::VecDeque, time::Duration};

const LONGEST_COOLDOWN: Duration = Duration::from_secs(600);

/// Failed starts and early deaths within the window. More than allowed means the pool failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Intensity {
    settings: RestartSettings,
    events: VecDeque<Now>,
    failed: u32,
}

/// What a counted event amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Within what is allowed.
    GoOn,
    /// Too many; rest until then.
    Escalate { retry_at: Now },
}

impl Intensity {
    pub(crate) fn new(settings: RestartSettings) -> Self {
        Self { settings, events: VecDeque::new(), failed: 0 }
    }

    /// Counts one event. At most `max` + 1 are kept (I6).
    pub(crate) fn count(&mut self, now: Now) -> Verdict {
        while self.events.front().is_some_and(|&at| now - at > self.settings.within) {
            self.events.pop_front();
        }
        self.events.push_back(now);
        if self.events.len() > self.settings.max as usize { self.escalate(now) } else { Verdict::GoOn }
    }

    /// The pool failed (again): the window starts anew after a cooldown that doubles each time.
    pub(crate) fn escalate(&mut self, now: Now) -> Verdict {
        self.events.clear();
        let cooldown = doubled(self.settings.cooldown, self.failed, LONGEST_COOLDOWN.max(self.settings.cooldown));
        self.failed += 1;
        Verdict::Escalate { retry_at: now + cooldown }
    }

    /// A worker became ready after the pool had failed: the next cooldown is short again.
    pub(crate) fn recovered(&mut self) {
        self.failed = 0;
    }

    /// The wait before a slot's next start after `failures` events in a row that counted.
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

fn doubled(base: Duration, times: u32, cap: Duration) -> Duration {
    base.saturating_mul(2u32.saturating_pow(times)).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KindSettings, Settings};

    fn intensity() -> Intensity {
        Intensity::new(Settings::new(KindSettings::Basic, 1).restart) // 5 in 60 s
    }

    /// R28
    #[test]
    fn more_than_max_in_the_window_escalates_and_old_events_do_not_count() {
        let mut restarts = intensity();
        let second = Duration::from_secs(1);
        for n in 0..20u32 {
            assert_eq!(restarts.count(Now(0) + second * 13 * n), Verdict::GoOn, "five in any 60 s");
        }
        let mut restarts = intensity();
        for n in 0..5u32 {
            assert_eq!(restarts.count(Now(0) + second * n), Verdict::GoOn);
        }
        assert_eq!(restarts.count(Now(0) + second * 5), Verdict::Escalate { retry_at: Now(0) + second * 35 });
        assert_eq!(restarts.counted(), 0);
    }

    /// R28
    #[test]
    fn cooldowns_double_up_to_ten_minutes_and_a_recovery_resets_them() {
        let mut restarts = intensity();
        let waits: Vec<u64> = (0..7)
            .map(|_| match restarts.escalate(Now(0)) {
                Verdict::Escalate { retry_at } => retry_at.0 / 1_000_000_000,
                Verdict::GoOn => 0,
            })
            .collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600]);
        restarts.recovered();
        assert_eq!(restarts.escalate(Now(0)), Verdict::Escalate { retry_at: Now(30_000_000_000) });
    }

    /// R28
    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let restarts = intensity();
        let waits: Vec<u128> = [0, 1, 2, 3, 8, 99].map(|n| restarts.backoff(n).as_millis()).into();
        assert_eq!(waits, [0, 100, 200, 400, 10_000, 10_000]);
    }
}
