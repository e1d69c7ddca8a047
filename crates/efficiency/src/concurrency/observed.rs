//! [`ObservedRun`]: the observations of a run.

use super::{Interval, Operation};
use herder_core::WorkerId;
use std::time::Duration;

/// The observations of a run, from which a [`TimeAccount`](super::TimeAccount) is computed. All timestamps are of one clock.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedRun {
    /// The interval that is judged: from the first call, or from the start of the pool if the workers start cold, to the last
    /// answer.
    pub window: Interval,
    /// The workers of the pool. A worker that ran operations and is not listed counts as a worker of concurrency 1.
    pub workers: Vec<ObservedWorker>,
    /// The calls that ran, in any order.
    pub operations: Vec<Operation>,
    /// The intervals in which callers encoded arguments or decoded results.
    pub encoding: Vec<Interval>,
    /// The average duration of an operation that runs alone. Without it, only waits for a core can be distinguished from work.
    pub uncontended: Option<Duration>,
}

/// A worker slot of the pool during a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedWorker {
    /// The slot.
    pub id: WorkerId,
    /// The number of calls that the worker runs at once, which is its number of call slots. 0 counts as 1.
    pub concurrency: usize,
    /// The intervals in which the slot had no ready process.
    pub starting: Vec<Interval>,
    /// The CPU times of the process, if the operating system reports them.
    pub cpu_time: Option<CpuTime>,
}

/// The CPU times of a process within the window, summed over its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CpuTime {
    /// The time on a CPU.
    pub used: Duration,
    /// The time in which a thread was ready to run and no core was free.
    pub waited: Duration,
}
