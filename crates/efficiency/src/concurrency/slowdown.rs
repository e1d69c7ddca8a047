//! What makes operations longer than they would be alone: too few cores, one interpreter, or something they share.

use super::{Interval, ObservedRun, ObservedWorker, interval_set::IntervalSet};
use std::time::Duration;

/// A worker that was on a processor for this part of the time in which it had work was bound by its interpreter: it did nothing else.
const COMPUTES: f64 = 0.8;

/// By how much all operations together took longer than alone, by cause.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slowdown {
    pub(super) cores: Duration,
    pub(super) gil: Duration,
    pub(super) slowed: Duration,
    /// Waits for a core that did not happen in operations: before they began or after they ended.
    pub(super) outside_operations: Duration,
}

impl Slowdown {
    pub(super) fn total(&self) -> Duration {
        self.cores + self.gil + self.slowed
    }

    /// `work`: the time of all operations as they ran.
    pub(super) fn of(observed: &ObservedRun, work: Duration) -> Self {
        let waited = processors(observed).map(|cpu_time| cpu_time.waited).sum::<Duration>();
        let side_by_side: Duration = observed.workers.iter().map(|seen| gil_slowdown(observed, seen)).sum();
        let count = u32::try_from(observed.operations.len()).unwrap_or(u32::MAX);
        let total = match observed.uncontended {
            Some(uncontended) => work.saturating_sub(uncontended.saturating_mul(count)),
            None => (waited + side_by_side).min(work),
        };
        let cores = waited.min(total);
        let rest = total - cores;
        let gil = if side_by_side.is_zero() { Duration::ZERO } else { rest };
        Self { cores, gil, slowed: rest - gil, outside_operations: waited - cores }
    }
}

fn processors(observed: &ObservedRun) -> impl Iterator<Item = super::CpuTime> {
    observed.workers.iter().filter_map(|seen| seen.cpu_time)
}

/// How much longer a worker's operations took together than it had any: zero unless it computed all that time, or waited for a core.
fn gil_slowdown(observed: &ObservedRun, seen: &ObservedWorker) -> Duration {
    let own = || observed.operations.iter().filter(|operation| operation.worker.id == seen.worker);
    let intervals = || own().map(|operation| operation.interval());
    let (all, some) = (intervals().map(Interval::length).sum::<u64>(), IntervalSet::of(intervals()).length());
    let cpu_share = seen
        .cpu_time
        .is_some_and(|cpu_time| (cpu_time.used + cpu_time.waited).as_nanos() as f64 >= COMPUTES * some as f64);
    if cpu_share { Duration::from_nanos(all - some) } else { Duration::ZERO }
}
