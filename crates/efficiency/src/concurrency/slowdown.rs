//! Computes by how much operations took longer than alone, by cause: too few cores, the GIL, or another shared resource.

use super::{Interval, ObservedRun, ObservedWorker, interval_set::IntervalSet};
use std::time::Duration;

/// The fraction of a worker's busy time from which on its operations count as compute-bound. Operations that compute in one
/// interpreter at the same time wait for its GIL.
const COMPUTE_BOUND: f64 = 0.8;

/// The time by which all operations together took longer than alone, by cause.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slowdown {
    pub(super) cores: Duration,
    pub(super) gil: Duration,
    pub(super) slowed: Duration,
    /// Waits for a core that happened before operations started or after they ended.
    pub(super) outside_operations: Duration,
}

impl Slowdown {
    pub(super) fn total(&self) -> Duration {
        self.cores + self.gil + self.slowed
    }

    /// Computes the slowdown of a run. `work` is the sum of the measured durations of all operations.
    pub(super) fn of(observed: &ObservedRun, work: Duration) -> Self {
        let waited = cpu_times(observed).map(|cpu_time| cpu_time.waited).sum::<Duration>();
        let in_interpreter: Duration = observed.workers.iter().map(|worker| gil_slowdown(observed, worker)).sum();
        let count = u32::try_from(observed.operations.len()).unwrap_or(u32::MAX);
        let total = match observed.uncontended {
            Some(uncontended) => work.saturating_sub(uncontended.saturating_mul(count)),
            None => (waited + in_interpreter).min(work),
        };
        // Waits for a core are measured, so they are attributed first. The rest is only inferred: it is attributed to the GIL if
        // any worker was compute-bound, otherwise to an unknown shared resource.
        let cores = waited.min(total);
        let rest = total - cores;
        let gil = if in_interpreter.is_zero() { Duration::ZERO } else { rest };
        Self { cores, gil, slowed: rest - gil, outside_operations: waited - cores }
    }
}

fn cpu_times(observed: &ObservedRun) -> impl Iterator<Item = super::CpuTime> {
    observed.workers.iter().filter_map(|worker| worker.cpu_time)
}

/// Returns the time that a worker's operations spent waiting for each other: the sum of their durations minus the time in which
/// any of them ran. The result is zero unless the worker computed, or waited for a core, for nearly all of that time.
fn gil_slowdown(observed: &ObservedRun, worker: &ObservedWorker) -> Duration {
    let own = || observed.operations.iter().filter(|operation| operation.worker.id == worker.id);
    let intervals = || own().map(|operation| operation.interval());
    let (work, busy) = (intervals().map(Interval::length).sum::<u64>(), IntervalSet::of(intervals()).length());
    let compute_bound = worker
        .cpu_time
        .is_some_and(|cpu_time| (cpu_time.used + cpu_time.waited).as_nanos() as f64 >= COMPUTE_BOUND * busy as f64);
    if compute_bound { Duration::from_nanos(work - busy) } else { Duration::ZERO }
}
