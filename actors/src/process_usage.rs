//! What the system knows of a process, as statuses show it: memory and CPU time, read when somebody asks.

use herder_core::Timestamp;
use std::time::Duration;

/// The shortest time over which the use of cores is measured: the system counts their time in steps of 10 ms.
const SHORTEST: Duration = Duration::from_millis(500);
/// How long a reading is used again, so that many readers at once, or one that asks without a pause, cost little.
const FRESH: Duration = Duration::from_millis(250);

/// The memory and the CPU time of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessUsage {
    pub(crate) memory_bytes: u64,
    pub(crate) cpu: Duration,
    /// The number of cores that it has used on average since an earlier reading.
    pub(crate) cores: f64,
}

/// The readings of the memory and the CPU time of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsageReadings {
    /// The reading of the CPU time with which the next one is compared; at first the start of the process.
    base: (Timestamp, Duration),
    last: Option<(Timestamp, ProcessUsage)>,
}

impl UsageReadings {
    pub(crate) fn new(started: Timestamp) -> Self {
        Self { base: (started, Duration::ZERO), last: None }
    }

    /// Returns whether the last reading is too old to be used again.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.last.is_none_or(|(at, _)| now.since(at) >= FRESH)
    }

    /// Returns the last reading.
    pub(crate) fn last(&self) -> Option<ProcessUsage> {
        self.last.map(|(_, usage)| usage)
    }

    /// Adds a reading. Several readers share the readings, so the use of cores is not measured anew by each of them.
    pub(crate) fn add(&mut self, now: Timestamp, memory_bytes: u64, cpu: Duration) {
        let (span, used) = (now.since(self.base.0), cpu.saturating_sub(self.base.1));
        let mut cores = self.last.map_or(0.0, |(_, usage)| usage.cores);
        if span >= SHORTEST {
            cores = used.as_secs_f64() / span.as_secs_f64();
            self.base = (now, cpu);
        }
        self.last = Some((now, ProcessUsage { memory_bytes, cpu, cores }));
    }

    /// Records that the process has exited, although its exit is not handled yet. Until then its time belongs to no other count,
    /// and a total must not go back.
    pub(crate) fn end(&mut self, now: Timestamp) {
        let ended = |(_, usage)| (now, ProcessUsage { memory_bytes: 0, cores: 0.0, ..usage });
        self.last = self.last.map(ended);
    }

    /// Returns the CPU time as it was last read.
    pub(crate) fn last_cpu(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |(_, usage)| usage.cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_cores_is_measured_between_readings() {
        let at = |ms: u64| Timestamp(ms * 1_000_000);
        let mut readings = UsageReadings::new(at(1000));
        let mut add = |ms: u64, cpu: u64| {
            readings.add(at(ms), 7, Duration::from_millis(cpu));
            readings.last().unwrap().cores
        };
        assert_eq!(add(3000, 1000), 0.5, "since the start of the process");
        assert_eq!(add(3010, 1010), 0.5, "too soon for another measurement");
        assert_eq!(add(4000, 3000), 2.0);
        assert_eq!(readings.last_cpu(), Duration::from_secs(3));
    }

    #[test]
    fn a_reading_is_used_again_for_a_moment() {
        let at = |ms: u64| Timestamp(ms * 1_000_000);
        let mut readings = UsageReadings::new(at(1000));
        assert!(readings.is_due(at(1000)), "there is none");
        readings.add(at(1000), 7, Duration::from_millis(20));
        assert_eq!([1000, 1249, 1250].map(|now| readings.is_due(at(now))), [false, false, true]);
    }

    #[test]
    fn a_process_that_has_exited_keeps_its_time() {
        let mut readings = UsageReadings::new(Timestamp(0));
        readings.end(Timestamp(1));
        assert!(readings.last().is_none());
        readings.add(Timestamp(2), 7, Duration::from_millis(20));
        readings.end(Timestamp(3));
        let last = readings.last().unwrap();
        assert_eq!((last.memory_bytes, last.cpu, readings.last_cpu()), (0, last.cpu, Duration::from_millis(20)));
    }
}
