//! What the system knows of a process, as statuses show it: memory and CPU time, read when somebody asks.

use herder_core::Timestamp;
use std::time::Duration;

/// The shortest time over which the use of cores is measured: the system counts their time in steps of 10 ms.
const SHORTEST: Duration = Duration::from_millis(500);
/// How long a reading is used again, so that many readers at once, or one that asks without a pause, cost little on the thread
/// of the pool.
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

    /// Returns the last reading, unless it is too old.
    pub(crate) fn recent(&self, now: Timestamp) -> Option<ProcessUsage> {
        self.last.filter(|(at, _)| now.since(*at) < FRESH).map(|(_, usage)| usage)
    }

    /// Adds a reading. Several readers share the readings, so the use of cores is not measured anew by each of them.
    pub(crate) fn add(&mut self, now: Timestamp, memory_bytes: u64, cpu: Duration) -> ProcessUsage {
        let (span, used) = (now.since(self.base.0), cpu.saturating_sub(self.base.1));
        let mut cores = self.last.map_or(0.0, |(_, usage)| usage.cores);
        if span >= SHORTEST {
            cores = used.as_secs_f64() / span.as_secs_f64();
            self.base = (now, cpu);
        }
        let usage = ProcessUsage { memory_bytes, cpu, cores };
        self.last = Some((now, usage));
        usage
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
        let mut add = |ms: u64, cpu: u64| readings.add(at(ms), 7, Duration::from_millis(cpu)).cores;
        assert_eq!(add(3000, 1000), 0.5, "since the start of the process");
        assert_eq!(add(3010, 1010), 0.5, "too soon for another measurement");
        assert_eq!(add(4000, 3000), 2.0);
        assert_eq!(readings.last_cpu(), Duration::from_secs(3));
    }

    #[test]
    fn a_reading_is_used_again_for_a_moment() {
        let at = |ms: u64| Timestamp(ms * 1_000_000);
        let mut readings = UsageReadings::new(at(1000));
        assert!(readings.recent(at(1000)).is_none(), "there is none");
        readings.add(at(1000), 7, Duration::from_millis(20));
        let memory = |now: u64| readings.recent(at(now)).map(|usage| usage.memory_bytes);
        assert_eq!((memory(1000), memory(1249), memory(1250)), (Some(7), Some(7), None));
    }
}
