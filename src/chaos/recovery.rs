//! How long a pool takes to be whole again after a worker was killed: until its slot has a ready one, and until all slots have.

use super::Spans;
use crate::{Pool, Result, WorkerInfo, WorkerRef, WorkerState};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two looks at the workers: the times are that much too long at most.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Watches one pool.
#[derive(Debug)]
pub struct RecoveryTracker {
    pool: Pool,
    seen: Mutex<RecoveryState>,
}

#[derive(Debug, Default)]
struct RecoveryState {
    /// Killed, and the pool was not whole since.
    outages: Vec<Outage>,
    /// From a kill until its slot has a ready worker, and until all have.
    slots: Vec<Duration>,
    recoveries: Vec<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    worker: WorkerRef,
    since: Instant,
    replaced: bool,
}

impl RecoveryTracker {
    /// Of a pool that is whole now.
    pub fn new(pool: Pool) -> Self {
        Self { pool, seen: Mutex::default() }
    }

    /// This process was killed at that moment.
    pub fn record_kill(&self, worker: WorkerRef, since: Instant) {
        self.with(|seen| seen.outages.push(Outage { worker, since, replaced: false }));
    }

    /// Looks again and again; ends with the pool.
    #[expect(clippy::disallowed_methods, reason = "polls, the pool has no event for it")]
    pub async fn watch(&self) {
        while self.poll().await.is_ok() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until it is whole; false if it is gone.
    #[expect(clippy::disallowed_methods, reason = "polls, the pool has no event for it")]
    pub async fn wait_recovered(&self) -> bool {
        loop {
            match self.poll().await {
                Ok(true) => return true,
                Ok(false) => tokio::time::sleep(POLL_INTERVAL).await,
                Err(_) => return false,
            }
        }
    }

    /// Looks once: whether it is whole now.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn poll(&self) -> Result<bool> {
        let workers = self.pool.workers().await?;
        let base = workers.iter().filter(|worker| !worker.overflow);
        let ready = base.filter(|worker| is_ready(worker)).count() >= self.pool.config().pool_size() as usize;
        Ok(self.with(|seen| {
            seen.replaced(&workers);
            if ready {
                seen.record_recovery(&workers);
            }
            ready && seen.outages.is_empty()
        }))
    }

    /// The times so far: until the killed worker's slot had a ready one, and until all slots had.
    pub fn spans(&self) -> [Spans; 2] {
        self.with(|seen| [Spans::of(&mut seen.slots), Spans::of(&mut seen.recoveries)])
    }

    fn with<T>(&self, change: impl FnOnce(&mut RecoveryState) -> T) -> T {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RecoveryState {
    fn replaced(&mut self, workers: &[WorkerInfo]) {
        for killed in self.outages.iter_mut().filter(|killed| !killed.replaced) {
            let (slot, before) = (killed.worker.id, killed.worker.generation);
            killed.replaced = workers.iter().any(|it| it.id == slot && it.generation > before && is_ready(it));
            if killed.replaced {
                self.slots.push(killed.since.elapsed());
            }
        }
    }

    fn record_recovery(&mut self, workers: &[WorkerInfo]) {
        let wholes = &mut self.recoveries;
        self.outages.retain(|killed| {
            let there = workers.iter().any(|worker| worker.process() == killed.worker);
            if !there {
                wholes.push(killed.since.elapsed());
            }
            there
        });
    }
}

fn is_ready(worker: &WorkerInfo) -> bool {
    matches!(worker.state, WorkerState::Ready | WorkerState::Busy)
}
