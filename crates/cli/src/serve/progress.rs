//! Logs how many workers of each pool are ready, and detects that no worker of any pool will start. The pools log
//! failed starts themselves. Changes nothing in the pools.

use crate::{
    error::{CommandError, Outcome},
    logs::PROGRAM,
};
use herder::{
    Pool,
    status::{PoolHealth, PoolState},
};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};
use tokio::task::JoinSet;

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The progress of the starts of all pools.
#[derive(Clone, Debug, Default)]
pub(super) struct StartTracker(Rc<RefCell<StartState>>);

#[derive(Debug, Default)]
struct StartState {
    /// Whether any worker of any pool has been ready.
    any: bool,
    /// The error of the last failed start of each pool.
    errors: BTreeMap<String, String>,
    /// The number of pools that have not failed yet.
    pending: usize,
}

impl StartTracker {
    /// Returns `Ok` when each pool is idle or has had all its workers ready at least once. Returns an error once each pool has
    /// used up its restarts and no worker of any pool has been ready.
    ///
    /// A failed pool tries again after `restart.cooldown`. However, a server on which nothing works would look alive to
    /// whoever started it, who should decide whether to start it again.
    pub(super) async fn watch(&self, pools: Vec<Pool>) -> Outcome {
        self.0.borrow_mut().pending = pools.len();
        let mut watched = JoinSet::new();
        pools.into_iter().for_each(|pool| _ = watched.spawn_local(watch_pool(pool, self.clone())));
        while let Some(ended) = watched.join_next().await {
            if let Ok(StartOutcome::AllFailed) = ended {
                return self.outcome();
            }
        }
        tracing::info!(target: PROGRAM, "all pools are ready");
        Ok(())
    }

    /// Queries the health of each pool once, for [`outcome`](Self::outcome).
    pub(super) async fn poll(&self, pools: &[Pool]) {
        for pool in pools {
            if let Ok(health) = pool.health().await {
                self.record(pool, &health);
            }
        }
    }

    /// Returns an error if starts failed and no worker has ever been ready.
    pub(super) fn outcome(&self) -> Outcome {
        let state = self.0.borrow();
        if state.any || state.errors.is_empty() {
            return Ok(());
        }
        let errors: Vec<_> = state.errors.iter().map(|(pool, error)| format!("pool `{pool}`: {error}")).collect();
        Err(CommandError::failed(format_args!("no worker of any pool could be started\n  {}", errors.join("\n  "))))
    }

    fn record(&self, pool: &Pool, health: &PoolHealth) {
        let mut state = self.0.borrow_mut();
        state.any |= health.ready_workers > 0;
        if let Some(error) = &health.last_start_error {
            state.errors.insert(pool.name().to_string(), error.clone());
        }
    }

    /// Records the first failure of a pool. Returns whether it was the last pool, and no worker has been ready.
    fn all_failed(&self) -> bool {
        let mut state = self.0.borrow_mut();
        state.pending -= 1;
        state.pending == 0 && !state.any
    }
}

/// The result of the start of a pool.
enum StartOutcome {
    Ready,
    AllFailed,
}

#[expect(clippy::disallowed_methods, reason = "polls, the pool has no event for it")]
/// Logs the number of ready workers until all are ready, or the pool waits for its first call. Returns early if this pool is the last one to fail.
async fn watch_pool(pool: Pool, starts: StartTracker) -> StartOutcome {
    let (mut logged, mut failed) = (0, false);
    while let Ok(health) = pool.health().await {
        starts.record(&pool, &health);
        let PoolHealth { ready_workers, pool_size, state, .. } = health;
        if ready_workers != logged {
            tracing::info!(target: PROGRAM, pool = %pool.name(), "workers ready: {ready_workers} of {pool_size}");
        }
        if ready_workers >= pool_size || state == PoolState::Idle {
            break;
        }
        if state == PoolState::Failed && !std::mem::replace(&mut failed, true) && starts.all_failed() {
            return StartOutcome::AllFailed;
        }
        logged = ready_workers;
        actix_rt::time::sleep(POLL_INTERVAL).await;
    }
    StartOutcome::Ready
}
