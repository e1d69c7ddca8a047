//! Tells in the log how the workers of each pool come up. Only reads.

use herder::{Pool, PoolHealth};
use std::time::Duration;
use tokio::task::JoinSet;

const LOOK: Duration = Duration::from_millis(100);

/// Until every pool had all its workers ready once.
pub(super) async fn told(pools: Vec<Pool>) {
    let mut watched = JoinSet::new();
    pools.into_iter().for_each(|pool| _ = watched.spawn_local(one(pool)));
    while watched.join_next().await.is_some() {}
    tracing::info!("all pools are ready");
}

#[expect(clippy::disallowed_methods, reason = "polls, the pool has no event for it")]
async fn one(pool: Pool) {
    let mut told = (0, None);
    while let Ok(PoolHealth { ready_workers, wanted_workers, last_start_error, .. }) = pool.health().await {
        if last_start_error.is_some() && last_start_error != told.1 {
            tracing::warn!(pool = %pool.name(), error = last_start_error.as_deref(), "a worker could not be started");
        }
        if ready_workers != told.0 {
            tracing::info!(pool = %pool.name(), "ready: {ready_workers} of {wanted_workers} workers");
        }
        if ready_workers >= wanted_workers {
            return;
        }
        told = (ready_workers, last_start_error);
        actix_rt::time::sleep(LOOK).await;
    }
}
