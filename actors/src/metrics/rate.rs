//! How often something has happened in the last ten seconds: eleven counters of one second each.

use herder_core::Timestamp;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
/// Ten seconds, and the part of an eleventh with which the current second began.
const SLOTS: u64 = 11;
const WINDOW: Duration = Duration::from_secs(10);

/// Counts events by the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The last second in which something was counted.
    second: u64,
    counts: [u32; SLOTS as usize],
}

impl Rate {
    pub(crate) fn count(&mut self, now: Timestamp) {
        self.advance(now);
        let count = &mut self.counts[(self.second % SLOTS) as usize];
        *count = count.saturating_add(1);
    }

    /// Empties the counters of the seconds that have passed.
    fn advance(&mut self, now: Timestamp) {
        let second = now.0 / SECOND;
        if second <= self.second {
            return;
        }
        let passed = (second - self.second).min(SLOTS);
        (1..=passed).for_each(|ago| self.counts[((self.second + ago) % SLOTS) as usize] = 0);
        self.second = second;
    }

    /// Returns the events per second of the last ten seconds, or since `since` if that is later.
    pub(crate) fn per_second(mut self, now: Timestamp, since: Timestamp) -> f64 {
        self.advance(now);
        let oldest = f64::from(self.counts[((self.second + 1) % SLOTS) as usize]);
        let all: f64 = self.counts.iter().map(|count| f64::from(*count)).sum();
        // The window moves on continuously: the part of the oldest second that has left it is not counted.
        let left = oldest * (now.0 % SECOND) as f64 / SECOND as f64;
        let seconds = now.since(since).clamp(Duration::from_secs(1), WINDOW).as_secs_f64();
        ((all - left) / seconds * 100.0).round() / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tenths: u64) -> Timestamp {
        Timestamp(tenths * SECOND / 10)
    }

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(at(1000), at(0)), 0.0);
        (0..=300).for_each(|tenth| rate.count(at(1000 + tenth)));
        assert!((9.5..=10.5).contains(&rate.per_second(at(1300), at(0))), "{rate:?}");
        assert!((9.5..=10.5).contains(&rate.per_second(at(1304), at(0))), "in the middle of a second: {rate:?}");
        assert!((4.5..=5.5).contains(&rate.per_second(at(1350), at(0))), "the last 5 s had none: {rate:?}");
        assert_eq!(rate.per_second(at(1420), at(0)), 0.0);
        rate.count(at(9000));
        assert_eq!(rate.per_second(at(9001), at(8980)), 0.48, "a pool of 2.1 s");
    }
}
