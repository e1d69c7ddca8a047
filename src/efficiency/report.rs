//! [`EfficiencyReport`]: the result of a measurement.

use super::Machine;
use herder_actors::{Error, PoolName};
use herder_efficiency::concurrency::{Comparison, Evidence, Interval, Operation, Serialized, TimeAccount};
use std::time::Duration;

/// The result of a measurement.
#[derive(Clone, Debug)]
pub struct EfficiencyReport {
    /// The name of the pool.
    pub pool: PoolName,
    /// The command that was called.
    pub command: String,
    /// The number of base workers.
    pub workers: usize,
    /// The number of calls that each worker runs at once.
    pub concurrency: usize,
    /// The number of callers, each with one call at a time.
    pub callers: usize,
    /// Whether the run includes the start of the workers.
    pub start: WorkerStart,
    /// The interval of the measured run.
    pub window: Interval,
    /// How the time of all call slots was used.
    pub account: TimeAccount,
    /// Whether calls overlapped.
    pub verdict: Verdict,
    /// The comparison of parallel and serial calls; `None` if no pairs were run.
    pub comparison: Option<Comparison>,
    /// The share of its time for which a handler needs a core, from 0 (sleeps) to 1 (computes). `None` if the system
    /// does not report it.
    pub cpu_share: Option<f64>,
    /// The average duration of a handler while no other one runs.
    pub uncontended: Option<Duration>,
    /// The state of the machine during the run.
    pub machine: Machine,
    /// The failed calls.
    pub failures: Failures,
    /// The successful calls, in the order of their starts.
    pub operations: Vec<Operation>,
}

/// Whether the run includes the start of the workers. Cold and warm runs are never mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStart {
    /// The run starts with the pool.
    Cold,
    /// Each worker has already run the command before the run starts.
    Warm,
}

/// Whether calls overlapped.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// At least two calls overlapped.
    Concurrent(Evidence),
    /// No two calls overlapped.
    Serialized(Serialized),
}

/// The failed calls of a run.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    /// The number of failed calls.
    pub count: usize,
    /// The error of the first failed call.
    pub first: Option<Error>,
}

impl Failures {
    pub(super) fn add(&mut self, error: Error) {
        self.merge(Self { count: 1, first: Some(error) });
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }
}

impl EfficiencyReport {
    /// Returns the interval of each handler, the input of
    /// [`verify_concurrent_execution`](crate::efficiency::concurrency::verify_concurrent_execution).
    pub fn intervals(&self) -> Vec<Interval> {
        self.operations.iter().map(Operation::interval).collect()
    }

    /// Returns the number of successful calls per second.
    pub fn calls_per_second(&self) -> f64 {
        self.operations.len() as f64 / self.account.measured.as_secs_f64().max(1e-9)
    }
}
