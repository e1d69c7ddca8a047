//! [`Observed`]: everything that was seen of a run.

use super::{Interval, Operation};
use herder_core::WorkerId;
use std::time::Duration;

/// A run as it was seen: what an [`Account`](super::Account) is made of. All moments are of one clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// From when to when the run is judged: from the first call to the last answer, or, of a cold start, from the pool's start.
    pub window: Interval,
    /// The workers that were paid for. One that ran operations and is not listed counts as a worker of concurrency 1.
    pub workers: Vec<WorkerSeen>,
    /// The calls that ran, in any order.
    pub operations: Vec<Operation>,
    /// When callers encoded arguments or decoded values.
    pub coding: Vec<Interval>,
    /// How long an operation takes on average when nothing runs beside it. Without it only waits for a core can be told from work.
    pub alone: Option<Duration>,
}

/// A slot of the pool during a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSeen {
    /// The slot.
    pub worker: WorkerId,
    /// How many calls it runs at once: its lanes. 0 counts as 1.
    pub concurrency: usize,
    /// When it had no process that was ready.
    pub starting: Vec<Interval>,
    /// What the system counted of its process, where the system does.
    pub processor: Option<Processor>,
}

/// What all threads of a process did within the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Processor {
    /// Time on a processor.
    pub used: Duration,
    /// Time in which it could have run and no core was free.
    pub waited: Duration,
}
