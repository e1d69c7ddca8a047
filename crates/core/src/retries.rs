//! Whether a lost call may be retried, and the wait before the retry (R33). Holds the retry budget of the pool. Sends
//! nothing and draws no random number; what it needs to know of a call is an argument.

use crate::{Backoff, CallId, Timestamp, settings::RetrySettings};
use std::time::Duration;

/// The retries of a pool: how many attempts a call has, how long it waits before each, and how many retries all calls
/// together may have.
///
/// # Invariants
/// - Within ten seconds, at most [`RESERVE`] retries and the configured share of the successes are sent, as long as each
///   retry is preceded by [`has_budget`](Self::has_budget) and followed by [`spend`](Self::spend).
/// - Equal arguments give equal waits, so that a schedule replays.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Retries {
    settings: RetrySettings,
    /// The seed for the jitter of the waits.
    seed: u64,
    budget: Budget,
}

impl Retries {
    pub(crate) fn new(settings: RetrySettings, seed: u64) -> Self {
        Self { settings, seed, budget: Budget::default() }
    }

    /// Returns the wait before the next attempt of a call, after `sent` attempts and a previous wait of `before`. `None`
    /// if the call has had all its attempts.
    pub(crate) fn wait_before_next(&self, call: CallId, sent: u32, before: Duration) -> Option<Duration> {
        (sent < self.settings.attempts).then(|| self.settings.wait(sent, before, scatter(self.seed, call.0, sent)))
    }

    /// Returns whether one more retry is within the budget.
    pub(crate) fn has_budget(&mut self, now: Timestamp) -> bool {
        self.budget.allows(now, self.settings.budget)
    }

    /// Counts a retry that is sent.
    pub(crate) fn spend(&mut self, now: Timestamp) {
        self.budget.spend(now);
    }

    /// Counts a call that was answered with a result.
    #[inline]
    pub(crate) fn succeeded(&mut self, now: Timestamp) {
        self.budget.record_success(now);
    }
}

impl RetrySettings {
    /// Returns the wait before the next attempt, after `sent` attempts and a previous wait of `before`. `random` is any
    /// number; equal numbers give equal waits. The result never exceeds `max`.
    pub fn wait(&self, sent: u32, before: Duration, random: u64) -> Duration {
        let grown = match &self.backoff {
            Backoff::Linear => self.base.saturating_mul(sent),
            Backoff::Exponential => self.base.saturating_mul(2u32.saturating_pow(sent.saturating_sub(1))),
            Backoff::Fibonacci => self.base.saturating_mul(fibonacci(sent)),
            Backoff::Decorrelated => return self.decorrelated_wait(before, random).min(self.max),
            Backoff::Custom(waits) => nth_or_last(waits, sent),
        };
        add_jitter(grown.min(self.max), self.jitter, random).min(self.max)
    }

    fn decorrelated_wait(&self, before: Duration, random: u64) -> Duration {
        let longest = before.max(self.base).saturating_mul(3);
        self.base + thousandths_of(longest.saturating_sub(self.base), random % 1001)
    }
}

fn nth_or_last(waits: &[Duration], sent: u32) -> Duration {
    let place = (sent.saturating_sub(1) as usize).min(waits.len().saturating_sub(1));
    waits.get(place).copied().unwrap_or_default()
}

/// Returns the `n`th Fibonacci number: 1, 1, 2, 3, 5, ..., from `n` = 1.
fn fibonacci(n: u32) -> u32 {
    let (mut this, mut next) = (1u32, 1u32);
    for _ in 1..n.min(64) {
        (this, next) = (next, this.saturating_add(next));
    }
    this
}

/// Returns a wait that is up to `jitter` thousandths shorter or longer than `wait`.
fn add_jitter(wait: Duration, jitter: u32, random: u64) -> Duration {
    let least = wait.saturating_sub(thousandths_of(wait, jitter.into()));
    least + thousandths_of(thousandths_of(wait, u64::from(jitter) * 2), random % 1001)
}

/// Returns this many thousandths of a duration.
fn thousandths_of(span: Duration, thousandths: u64) -> Duration {
    let nanos = span.as_nanos().saturating_mul(thousandths.into()) / 1000;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Returns a number that looks random and depends on the arguments alone (splitmix64; Steele, Lea, Flood, OOPSLA 2014),
/// so that a schedule replays.
fn scatter(seed: u64, call: u64, attempt: u32) -> u64 {
    let mut mixed = seed ^ call.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(attempt) << 56;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The number of seconds that count.
const WINDOW: usize = 10;
/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// The retries within the window that need no successes, so that a pool that has just started, or is nearly idle, may
/// retry too.
const RESERVE: u64 = 10;

/// The retry budget of the pool: retries are limited to a fraction of recent successes, so that they never multiply an
/// outage. Counts successes and retries of the last ten seconds, one bucket a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Budget {
    /// The beginning of the last second in which something was counted, in nanoseconds.
    second: u64,
    /// The bucket of that second.
    place: usize,
    successes: [u32; WINDOW],
    retries: [u32; WINDOW],
}

impl Budget {
    /// Counts a call that was answered with a result.
    #[inline]
    fn record_success(&mut self, now: Timestamp) {
        let place = self.advance(now);
        self.successes[place] = self.successes[place].saturating_add(1);
    }

    /// Counts a retry.
    fn spend(&mut self, now: Timestamp) {
        let place = self.advance(now);
        self.retries[place] = self.retries[place].saturating_add(1);
    }

    /// Returns whether one more retry is within the budget: `share` thousandths of the successes, plus [`RESERVE`].
    fn allows(&mut self, now: Timestamp, share: u32) -> bool {
        self.advance(now);
        let sum = |counts: &[u32; WINDOW]| counts.iter().map(|&count| u64::from(count)).sum::<u64>();
        sum(&self.retries) < RESERVE + sum(&self.successes) * u64::from(share) / 1000
    }

    /// Clears the buckets of the seconds that have passed and returns the index of the current one.
    #[inline]
    fn advance(&mut self, now: Timestamp) -> usize {
        // Not a comparison of numbers of seconds, which would take a division for each call.
        if now.0.wrapping_sub(self.second) >= SECOND {
            self.begin(now.0 / SECOND);
        }
        self.place
    }

    #[cold]
    fn begin(&mut self, second: u64) {
        // At most `WINDOW` buckets are cleared, however long the pool was idle.
        let before = self.second / SECOND;
        for passed in (before + 1..=second).rev().take(WINDOW) {
            let place = (passed % WINDOW as u64) as usize;
            (self.successes[place], self.retries[place]) = (0, 0);
        }
        let second = second.max(before);
        self.second = second * SECOND;
        self.place = (second % WINDOW as u64) as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, WorkerTypeSettings};

    const MS: Duration = Duration::from_millis(1);

    fn waits(backoff: Backoff, jitter: u32, random: u64) -> Vec<u128> {
        let settings = RetrySettings { backoff, jitter, ..Settings::new(WorkerTypeSettings::Basic, 1).retry };
        let mut before = Duration::ZERO;
        let mut next = |sent| {
            before = settings.wait(sent, before, random);
            before.as_millis()
        };
        (1..=8).map(&mut next).collect()
    }

    /// R33: base 100 ms, cap 5 s, no jitter.
    #[test]
    fn backoffs_grow_as_documented() {
        assert_eq!(waits(Backoff::Linear, 0, 7), [100, 200, 300, 400, 500, 600, 700, 800]);
        assert_eq!(waits(Backoff::Exponential, 0, 7), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(waits(Backoff::Fibonacci, 0, 7), [100, 100, 200, 300, 500, 800, 1300, 2100]);
        assert_eq!(waits(Backoff::Custom(vec![5 * MS, 70 * MS]), 0, 7), [5, 70, 70, 70, 70, 70, 70, 70]);
        assert_eq!(waits(Backoff::Custom(Vec::new()), 0, 7), [0; 8]);
        assert_eq!(waits(Backoff::Decorrelated, 0, 0), [100; 8], "the shortest possible waits");
        assert_eq!(
            waits(Backoff::Decorrelated, 0, 1000),
            [300, 900, 2700, 5000, 5000, 5000, 5000, 5000],
            "the longest possible waits"
        );
    }

    /// R33: +-25 %, and never above the cap.
    #[test]
    fn jitter_changes_a_wait_by_at_most_a_quarter() {
        assert_eq!(waits(Backoff::Linear, 250, 0)[..2], [75, 150]);
        assert_eq!(waits(Backoff::Linear, 250, 500)[..2], [100, 200]);
        assert_eq!(waits(Backoff::Linear, 250, 1000)[..2], [125, 250]);
        assert_eq!(waits(Backoff::Exponential, 250, 1000)[7], 5000);
        let drawn: Vec<u64> = (0..1000).map(|call| scatter(1, call, 1) % 1001).collect();
        assert!(drawn.iter().any(|&n| n < 50) && drawn.iter().any(|&n| n > 950), "the numbers are not spread out");
    }

    /// R33: a fraction of the successes of the last ten seconds, plus ten.
    #[test]
    fn the_budget_is_a_share_of_recent_successes() {
        let mut budget = Budget::default();
        let at = |seconds: u64| Timestamp(seconds * 1_000_000_000);
        for n in 0..10 {
            assert!(budget.allows(at(100), 200), "{n}");
            budget.spend(at(100));
        }
        assert!(!budget.allows(at(100), 200));
        (0..10).for_each(|_| budget.record_success(at(103)));
        assert!(budget.allows(at(103), 200), "ten successes allow two more retries");
        (0..2).for_each(|_| budget.spend(at(103)));
        assert!(!budget.allows(at(109), 200));
        assert!(budget.allows(at(110), 200), "the ten retries of second 100 no longer count");
        (0..10).for_each(|_| budget.spend(at(110)));
        assert!(!budget.allows(at(112), 200));
        assert!(!budget.allows(at(113), 200), "the successes of second 103 no longer count");
        assert!(budget.allows(at(1_000_000), 0));
    }

    /// R33
    #[test]
    fn r33_waits_depend_on_the_seed_the_call_and_the_attempt_alone() {
        let settings = RetrySettings { attempts: 3, ..Settings::new(WorkerTypeSettings::Basic, 1).retry };
        let retries = Retries::new(settings, 7);
        let wait = |call, sent| retries.wait_before_next(CallId(call), sent, Duration::ZERO);
        assert_eq!(wait(1, 1), retries.clone().wait_before_next(CallId(1), 1, Duration::ZERO));
        assert_ne!(wait(1, 1), wait(2, 1), "calls that were lost together do not return together");
        assert!(wait(1, 2).is_some() && wait(1, 3).is_none(), "the third attempt was the last");
    }
}
