//! Logs how many workers of each pool are ready, and detects that no worker of any pool will start. A failed start is logged by the pool itself.
//! Only reads.

use crate::error::{CommandError, Outcome};
use herder::{Pool, PoolHealth, PoolState};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};
use tokio::task::JoinSet;

const LOOK: Duration = Duration::from_millis(100);

/// What is known of the starts of all pools.
#[derive(Clone, Debug, Default)]
pub(super) struct StartTracker(Rc<RefCell<StartState>>);

#[derive(Debug, Default)]
struct StartState {
    /// Whether a worker of any pool was ready.
    any: bool,
    /// Why the last start of each pool failed.
    errors: BTreeMap<String, String>,
    /// Pools that had not failed yet.
    pending: usize,
}

impl StartTracker {
    /// Returns when every pool had all its workers ready once; or with a failure once each pool has used up its restarts and no worker of any
    /// was ready. A pool that failed would go on trying after `restart.cooldown`, but a server of which nothing works looks alive to
    /// whoever started it, and a new start of it is theirs to decide.
    pub(super) async fn watch(&self, pools: Vec<Pool>) -> Outcome {
        self.0.borrow_mut().pending = pools.len();
        let mut watched = JoinSet::new();
        pools.into_iter().for_each(|pool| _ = watched.spawn_local(one(pool, self.clone())));
        while let Some(ended) = watched.join_next().await {
            if let Ok(StartOutcome::AllFailed) = ended {
                return self.outcome();
            }
        }
        tracing::info!("all pools are ready");
        Ok(())
    }

    /// Looks once: what is known then is what [`outcome`](Self::outcome) goes by.
    pub(super) async fn poll(&self, pools: &[Pool]) {
        for pool in pools {
            if let Ok(health) = pool.health().await {
                self.note(pool, &health);
            }
        }
    }

    /// A failure if starts failed and no worker was ever ready.
    pub(super) fn outcome(&self) -> Outcome {
        let seen = self.0.borrow();
        if seen.any || seen.errors.is_empty() {
            return Ok(());
        }
        let errors: Vec<_> = seen.errors.iter().map(|(pool, error)| format!("pool `{pool}`: {error}")).collect();
        Err(CommandError::failed(format_args!("no worker of any pool could be started\n  {}", errors.join("\n  "))))
    }

    fn note(&self, pool: &Pool, health: &PoolHealth) {
        let mut seen = self.0.borrow_mut();
        seen.any |= health.ready_workers > 0;
        if let Some(error) = &health.last_start_error {
            seen.errors.insert(pool.name().to_string(), error.clone());
        }
    }

    /// Whether this pool, that failed for the first time, was the last one.
    fn all_failed(&self) -> bool {
        let mut seen = self.0.borrow_mut();
        seen.pending -= 1;
        seen.pending == 0 && !seen.any
    }
}

/// How the start of a pool ended.
enum StartOutcome {
    Ready,
    AllFailed,
}

#[expect(clippy::disallowed_methods, reason = "polls, the pool has no event for it")]
async fn one(pool: Pool, starts: StartTracker) -> StartOutcome {
    let (mut told, mut failed) = (0, false);
    while let Ok(health) = pool.health().await {
        starts.note(&pool, &health);
        let PoolHealth { ready_workers, wanted_workers, state, .. } = health;
        if ready_workers != told {
            tracing::info!(pool = %pool.name(), "ready: {ready_workers} of {wanted_workers} workers");
        }
        if ready_workers >= wanted_workers {
            break;
        }
        if state == PoolState::Failed && !std::mem::replace(&mut failed, true) && starts.all_failed() {
            return StartOutcome::AllFailed;
        }
        told = ready_workers;
        actix_rt::time::sleep(LOOK).await;
    }
    StartOutcome::Ready
}
