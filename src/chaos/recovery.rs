//! Measures how long a pool takes to recover after a worker was killed: until the worker's slot has a ready worker, and
//! until all base workers are ready.

use super::Spans;
use crate::Pool;
use herder_actors::{Result, WorkerInfo, WorkerRef, WorkerState};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The interval between two polls of the workers. Measured times are too long by at most this.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Tracks the recovery of one pool.
#[derive(Debug)]
pub struct RecoveryTracker {
    pool: Pool,
    state: Mutex<RecoveryState>,
}

#[derive(Debug, Default)]
struct RecoveryState {
    /// The kills that the pool has not recovered from yet.
    outages: Vec<Outage>,
    /// The times from a kill until its slot had a ready worker.
    slots: Vec<Duration>,
    /// The times from a kill until all base workers were ready.
    recoveries: Vec<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    worker: WorkerRef,
    since: Instant,
    replaced: bool,
}

impl RecoveryTracker {
    /// Creates a tracker for a pool whose base workers are all ready.
    pub fn new(pool: Pool) -> Self {
        Self { pool, state: Mutex::default() }
    }

    /// Records that `worker` was killed. The outage is measured from `since`.
    pub fn record_kill(&self, worker: WorkerRef, since: Instant) {
        self.with(|state| state.outages.push(Outage { worker, since, replaced: false }));
    }

    /// Polls the pool until it has ended.
    #[expect(clippy::disallowed_methods, reason = "polls, the pool has no event for it")]
    pub async fn watch(&self) {
        while self.poll().await.is_ok() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until all base workers are ready. Returns false if the pool has ended.
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

    /// Polls the workers once and returns whether the pool has recovered.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn poll(&self) -> Result<bool> {
        let workers = self.pool.workers().await?;
        let base = workers.iter().filter(|worker| !worker.overflow);
        let ready = base.filter(|worker| is_ready(worker)).count() >= self.pool.config().pool_size() as usize;
        Ok(self.with(|state| {
            state.record_replacements(&workers);
            if ready {
                state.record_recovery(&workers);
            }
            ready && state.outages.is_empty()
        }))
    }

    /// Returns the times until a killed worker's slot had a ready worker, and until all base workers were ready.
    pub fn spans(&self) -> [Spans; 2] {
        self.with(|state| [Spans::of(&mut state.slots), Spans::of(&mut state.recoveries)])
    }

    fn with<T>(&self, change: impl FnOnce(&mut RecoveryState) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RecoveryState {
    fn record_replacements(&mut self, workers: &[WorkerInfo]) {
        for killed in self.outages.iter_mut().filter(|killed| !killed.replaced) {
            let (slot, before) = (killed.worker.id, killed.worker.generation);
            killed.replaced = workers.iter().any(|it| it.id == slot && it.generation > before && is_ready(it));
            if killed.replaced {
                self.slots.push(killed.since.elapsed());
            }
        }
    }

    fn record_recovery(&mut self, workers: &[WorkerInfo]) {
        let recoveries = &mut self.recoveries;
        // The pool notices a kill a little later than the tracker. A killed process that is still listed has not been
        // replaced yet, even if all base workers are listed as ready.
        self.outages.retain(|killed| {
            let still_listed = workers.iter().any(|worker| worker.process() == killed.worker);
            if !still_listed {
                recoveries.push(killed.since.elapsed());
            }
            still_listed
        });
    }
}

fn is_ready(worker: &WorkerInfo) -> bool {
    matches!(worker.state, WorkerState::Ready | WorkerState::Busy)
}
