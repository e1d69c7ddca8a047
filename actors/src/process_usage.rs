//! What the system knows of a process, as statuses show it: memory and processor time, read when somebody asks.

use herder_core::Timestamp;
use std::time::Duration;

/// The shortest time over which the use of processors is measured: the system counts their time in steps of 10 ms.
const SHORTEST: Duration = Duration::from_millis(500);

/// The memory and the processor time of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessUsage {
    pub(crate) memory_bytes: u64,
    pub(crate) cpu: Duration,
    /// The processors that it has used on average since an earlier reading.
    pub(crate) cores: f64,
}

/// The readings of the processor time of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuReadings {
    /// The reading with which the next one is compared; at first the start of the process.
    base: (Timestamp, Duration),
    last: Duration,
    cores: f64,
}

impl CpuReadings {
    pub(crate) fn new(started: Timestamp) -> Self {
        Self { base: (started, Duration::ZERO), last: Duration::ZERO, cores: 0.0 }
    }

    /// Adds a reading, and returns how many processors the process has used on average since an earlier one. Several readers
    /// share the readings: one that asks right after another gets the same answer.
    pub(crate) fn read(&mut self, now: Timestamp, cpu: Duration) -> f64 {
        let (span, used) = (now.since(self.base.0), cpu.saturating_sub(self.base.1));
        self.last = cpu;
        if span >= SHORTEST {
            self.cores = used.as_secs_f64() / span.as_secs_f64();
            self.base = (now, cpu);
        }
        self.cores
    }

    /// Returns the processor time as it was last read.
    pub(crate) fn last(&self) -> Duration {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_processors_is_measured_between_readings() {
        let at = |ms: u64| Timestamp(ms * 1_000_000);
        let mut readings = CpuReadings::new(at(1000));
        assert_eq!(readings.read(at(3000), Duration::from_secs(1)), 0.5, "since the start of the process");
        assert_eq!(readings.read(at(3010), Duration::from_millis(1010)), 0.5, "too soon for another measurement");
        assert_eq!(readings.read(at(4000), Duration::from_secs(3)), 2.0);
        assert_eq!(readings.last(), Duration::from_secs(3));
    }
}
