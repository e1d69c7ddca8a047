//! Watches a pool's processes during a run: what they and the whole machine used from one moment to another.

use super::machine::{CpuTicks, Machine, cores, cpu_time, own};
use crate::{
    Pool, Result, Timestamp, WorkerId, WorkerRef, WorkerState,
    concurrency::{CpuTime, Interval, ObservedWorker, Operation},
};
use std::time::Duration;

/// Counters as they stood when the watch began.
pub(super) struct UsageWatch {
    began: Timestamp,
    machine: Option<CpuTicks>,
    own: Option<CpuTime>,
    workers: Vec<ProcessUsage>,
}

/// One worker's process and what it had used.
struct ProcessUsage {
    worker: WorkerRef,
    pid: Option<u32>,
    ready: bool,
    used: Option<CpuTime>,
}

/// What the watch saw.
pub(super) struct WatchResult {
    pub(super) workers: Vec<ObservedWorker>,
    pub(super) machine: Machine,
}

impl WatchResult {
    /// What all workers did, where the system tells.
    pub(super) fn cpu_time(&self) -> Option<CpuTime> {
        let counted = self.workers.iter().filter_map(|seen| seen.cpu_time);
        counted.reduce(|sum, one| CpuTime { used: sum.used + one.used, waited: sum.waited + one.waited })
    }
}

impl UsageWatch {
    pub(super) async fn begin(pool: &Pool) -> Result<Self> {
        let workers = counted(pool).await?;
        Ok(Self { began: crate::now(), machine: CpuTicks::now(), own: own(), workers })
    }

    /// `operations`: what ran since, within `window`.
    pub(super) async fn end(self, pool: &Pool, window: Interval, operations: &[Operation]) -> Result<WatchResult> {
        let (lasted, ticks, own) = (crate::now().since(self.began), CpuTicks::now(), own());
        let after = counted(pool).await?;
        let concurrency = pool.config().settings().concurrency as usize;
        let workers: Vec<ObservedWorker> = after
            .iter()
            .map(|now| ObservedWorker {
                worker: now.worker.id,
                concurrency,
                starting: starting(now.worker.id, self.was_ready(now.worker.id), window, operations),
                cpu_time: now.since(&self.workers),
            })
            .collect();
        let ours = workers.iter().filter_map(|seen| seen.cpu_time).map(|cpu_time| cpu_time.used).sum::<Duration>();
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
    /// A process that was not there before has used all of it since.
    fn since(&self, before: &[Self]) -> Option<CpuTime> {
        let then =
            before.iter().find(|then| (then.worker, then.pid) == (self.worker, self.pid)).and_then(|then| then.used);
        since(self.used, Some(then.unwrap_or_default()))
    }
}

fn since(now: Option<CpuTime>, then: Option<CpuTime>) -> Option<CpuTime> {
    let (now, then) = (now?, then?);
    // A thread that has ended takes its time with it.
    Some(CpuTime { used: now.used.saturating_sub(then.used), waited: now.waited.saturating_sub(then.waited) })
}

async fn counted(pool: &Pool) -> Result<Vec<ProcessUsage>> {
    let workers = pool.workers().await?;
    let counted = |info: &crate::WorkerInfo| {
        let ready = matches!(info.state, WorkerState::Ready | WorkerState::Busy);
        ProcessUsage { worker: info.process(), pid: info.pid, ready, used: info.pid.and_then(cpu_time) }
    };
    Ok(workers.iter().map(counted).collect())
}

/// When a slot had no process that was ready: until its first call was sent if it was not ready when the watch began, and from the last
/// answer of one process until the next was sent a call. (Calls wait while a worker starts, so that it is sent one at once.)
fn starting(worker: WorkerId, was_ready: bool, window: Interval, operations: &[Operation]) -> Vec<Interval> {
    let mut own: Vec<&Operation> = operations.iter().filter(|operation| operation.worker.id == worker).collect();
    own.sort_by_key(|operation| operation.sent);
    let first = own.first().map_or(window.ended, |operation| operation.sent.0);
    let start = (!was_ready).then_some((window.started, first));
    let changes =
        own.windows(2).filter(|pair| pair[0].worker != pair[1].worker).map(|pair| (pair[0].answered.0, pair[1].sent.0));
    start.into_iter().chain(changes).filter_map(|(from, to)| Interval::new(from, to).ok()).collect()
}
