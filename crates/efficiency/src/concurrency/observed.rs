//! [`ObservedRun`]: everything that was seen of a run.

use super::{Interval, Operation};
use herder_core::WorkerId;
use std::time::Duration;

/// A run as it was seen: what an [`TimeAccount`](super::TimeAccount) is made of. All moments are of one clock.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedRun {
    /// From when to when the run is judged: from the first call to the last answer, or, of a cold start, from the pool's start.
    pub window: Interval,
    /// The workers that were paid for. One that ran operations and is not listed counts as a worker of concurrency 1.
    pub workers: Vec<ObservedWorker>,
    /// The calls that ran, in any order.
    pub operations: Vec<Operation>,
    /// When callers encoded arguments or decoded values.
    pub encoding: Vec<Interval>,
    /// How long an operation takes on average when nothing runs beside it. Without it only waits for a core can be told from work.
    pub uncontended: Option<Duration>,
}

/// A slot of the pool during a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedWorker {
    /// The slot.
    pub worker: WorkerId,
    /// How many calls it runs at once: its lanes. 0 counts as 1.
    pub concurrency: usize,
    /// When it had no process that was ready.
    pub starting: Vec<Interval>,
    /// What the system counted of its process, where the system does.
    pub cpu_time: Option<CpuTime>,
}

/// What all threads of a process did within the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CpuTime {
    /// Time on a processor.
    pub used: Duration,
    /// Time in which it could have run and no core was free.
    pub waited: Duration,
}
