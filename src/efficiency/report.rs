//! [`EfficiencyReport`]: the result of a measurement.

use super::Machine;
use herder_actors::{Error, PoolName};
use herder_efficiency::concurrency::{Comparison, Evidence, Interval, Operation, Serialized, TimeAccount};
use serde::{Serialize, Serializer};
use std::time::Duration;

/// The result of a measurement.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStart {
    /// The run starts with the pool.
    Cold,
    /// Each worker has already run the command before the run starts.
    Warm,
}

/// Whether calls overlapped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// At least two calls overlapped.
    Concurrent(Evidence),
    /// No two calls overlapped.
    Serialized(Serialized),
}

/// The failed calls of a run. Serialized, the first error is its [`ProblemDetails`](crate::error::ProblemDetails).
#[derive(Clone, Debug, Default, Serialize)]
pub struct Failures {
    /// The number of failed calls.
    pub count: usize,
    /// The error of the first failed call.
    #[serde(serialize_with = "as_problem")]
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

fn as_problem<S: Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    error.as_ref().map(Error::problem).serialize(serializer)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_failure_is_serialized_as_its_problem_details() {
        let error = || Error::Internal { reason: "no".into() };
        let mut failures = Failures::default();
        assert_eq!(serde_json::to_value(&failures).unwrap(), serde_json::json!({ "count": 0, "first": null }));
        failures.add(error());
        failures.add(error());
        let problem = serde_json::to_value(error().problem()).unwrap();
        assert_eq!(serde_json::to_value(&failures).unwrap(), serde_json::json!({ "count": 2, "first": problem }));
    }
}
