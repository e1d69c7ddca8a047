//! Measures the CPU time of a pool's processes and of the whole machine during a run.

use super::machine::{CpuTicks, Machine, cores, cpu_time, own};
use crate::Pool;
use herder_actors::{Result, Timestamp, WorkerId, WorkerRef, WorkerState};
use herder_efficiency::concurrency::{CpuTime, Interval, ObservedWorker, Operation};
use std::time::Duration;

/// The counters at the start of a measurement.
pub(super) struct UsageWatch {
    began: Timestamp,
    machine: Option<CpuTicks>,
    own: Option<CpuTime>,
    workers: Vec<ProcessUsage>,
}

/// The process of a worker, and its CPU time.
struct ProcessUsage {
    worker: WorkerRef,
    pid: Option<u32>,
    ready: bool,
    used: Option<CpuTime>,
}

/// The differences between the counters at the end and at the start.
pub(super) struct WatchResult {
    pub(super) workers: Vec<ObservedWorker>,
    pub(super) machine: Machine,
}

impl WatchResult {
    /// Returns the CPU time of all workers, if the system reports it.
    pub(super) fn cpu_time(&self) -> Option<CpuTime> {
        let counted = self.workers.iter().filter_map(|seen| seen.cpu_time);
        counted.reduce(|sum, one| CpuTime { used: sum.used + one.used, waited: sum.waited + one.waited })
    }
}

impl UsageWatch {
    pub(super) async fn begin(pool: &Pool) -> Result<Self> {
        let workers = usage_of_workers(pool).await?;
        Ok(Self { began: herder_actors::now(), machine: CpuTicks::now(), own: own(), workers })
    }

    /// Ends the measurement. `operations` are the calls that ran in `window`.
    pub(super) async fn end(self, pool: &Pool, window: Interval, operations: &[Operation]) -> Result<WatchResult> {
        let (lasted, ticks, own) = (herder_actors::now().since(self.began), CpuTicks::now(), own());
        let after = usage_of_workers(pool).await?;
        let concurrency = pool.config().settings().concurrency as usize;
        let workers: Vec<ObservedWorker> = after
            .iter()
            .map(|now| ObservedWorker {
                id: now.worker.id,
                concurrency,
                starting: starting(now.worker.id, self.was_ready(now.worker.id), window, operations),
                cpu_time: now.since(&self.workers),
            })
            .collect();
        let ours = workers.iter().filter_map(|worker| worker.cpu_time).map(|cpu_time| cpu_time.used).sum::<Duration>();
        let ours = ours + since(own, self.own).map_or(Duration::ZERO, |own| own.used);
        let cores = cores();
        let other_load = ticks.zip(self.machine).and_then(|(now, then)| now.others_since(then, lasted, ours, cores));
        let steal = ticks.zip(self.machine).and_then(|(now, then)| now.stolen_since(then));
        Ok(WatchResult { workers, machine: Machine { cores, other_load, steal } })
    }

    fn was_ready(&self, worker: WorkerId) -> bool {
        self.workers.iter().any(|then| then.worker.id == worker && then.ready)
    }
}

impl ProcessUsage {
    /// Returns the CPU time since the start of the measurement. A process that was started later has used all of its
    /// CPU time since then.
    fn since(&self, before: &[Self]) -> Option<CpuTime> {
        let then =
            before.iter().find(|then| (then.worker, then.pid) == (self.worker, self.pid)).and_then(|then| then.used);
        since(self.used, Some(then.unwrap_or_default()))
    }
}

fn since(now: Option<CpuTime>, then: Option<CpuTime>) -> Option<CpuTime> {
    let (now, then) = (now?, then?);
    // The counters of a thread disappear with the thread, so a difference can be negative.
    Some(CpuTime { used: now.used.saturating_sub(then.used), waited: now.waited.saturating_sub(then.waited) })
}

/// Returns the CPU time of each worker of the pool.
async fn usage_of_workers(pool: &Pool) -> Result<Vec<ProcessUsage>> {
    let workers = pool.workers().await?;
    let usage = |info: &herder_actors::WorkerInfo| {
        let ready = matches!(info.state, WorkerState::Ready | WorkerState::Busy);
        ProcessUsage { worker: info.process(), pid: info.pid, ready, used: info.pid.and_then(cpu_time) }
    };
    Ok(workers.iter().map(usage).collect())
}

/// Returns the intervals in which a slot had no ready process: until its first call was sent, if it was not ready at
/// the start of the measurement, and from the last answer of one process until the first call of the next. Calls wait
/// while a worker starts, so a new worker gets a call immediately.
fn starting(worker: WorkerId, was_ready: bool, window: Interval, operations: &[Operation]) -> Vec<Interval> {
    let mut own: Vec<&Operation> = operations.iter().filter(|operation| operation.worker.id == worker).collect();
    own.sort_by_key(|operation| operation.sent);
    let first = own.first().map_or(window.ended, |operation| operation.sent.0);
    let start = (!was_ready).then_some((window.started, first));
    let changes =
        own.windows(2).filter(|pair| pair[0].worker != pair[1].worker).map(|pair| (pair[0].answered.0, pair[1].sent.0));
    start.into_iter().chain(changes).filter_map(|(from, to)| Interval::new(from, to).ok()).collect()
}
