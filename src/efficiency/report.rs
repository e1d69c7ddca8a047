//! [`EfficiencyReport`]: what a measurement found.

use super::Machine;
use crate::{
    Error, PoolName,
    concurrency::{Comparison, Evidence, Interval, Operation, Serialized, TimeAccount},
};
use std::time::Duration;

/// What a measurement found.
#[derive(Clone, Debug)]
pub struct EfficiencyReport {
    /// The pool.
    pub pool: PoolName,
    /// The command that was called.
    pub command: String,
    /// Base workers.
    pub workers: usize,
    /// Calls that each of them runs at once.
    pub concurrency: usize,
    /// How many callers called, each with one call at a time.
    pub callers: usize,
    /// Whether the workers had to be started first.
    pub start: WorkerStart,
    /// From when to when the run is judged.
    pub window: Interval,
    /// What became of the time of all lanes.
    pub account: TimeAccount,
    /// Whether calls ran side by side, by overlap.
    pub verdict: Verdict,
    /// Side by side against one after the other, in the same run; none if no pairs were asked for.
    pub comparison: Option<Comparison>,
    /// The share of a handler's time for which it needs a core, where the system tells: 0 sleeps, 1 computes.
    pub cpu_share: Option<f64>,
    /// How long a handler takes on average when nothing runs beside it.
    pub uncontended: Option<Duration>,
    /// The machine during the run.
    pub machine: Machine,
    /// The calls that failed.
    pub failures: Failures,
    /// The calls that succeeded, in the order in which they began.
    pub operations: Vec<Operation>,
}

/// Whether the workers had to be started first. Never mixed (R48).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStart {
    /// The run begins with the pool's start.
    Cold,
    /// The run begins with workers that have each run the command already.
    Warm,
}

/// Whether calls ran side by side, by overlap.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// They did.
    Concurrent(Evidence),
    /// They did not.
    Serialized(Serialized),
}

/// Calls that failed.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    /// How many.
    pub count: usize,
    /// The first one's error.
    pub first: Option<Error>,
}

impl Failures {
    pub(super) fn add(&mut self, error: Error) {
        self.take(Self { count: 1, first: Some(error) });
    }

    pub(super) fn take(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }
}

impl EfficiencyReport {
    /// When each handler ran: what [`verify_concurrent_execution`](crate::concurrency::verify_concurrent_execution) judges by.
    pub fn intervals(&self) -> Vec<Interval> {
        self.operations.iter().map(Operation::interval).collect()
    }

    /// Calls a second, of those that succeeded.
    pub fn calls_per_second(&self) -> f64 {
        self.operations.len() as f64 / self.account.measured.as_secs_f64().max(1e-9)
    }
}
