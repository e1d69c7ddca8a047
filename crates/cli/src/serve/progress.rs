//! Logs how many workers of each pool are ready. A failed start is logged by the pool itself. Only reads.

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
    let mut told = 0;
    while let Ok(PoolHealth { ready_workers, wanted_workers, .. }) = pool.health().await {
        if ready_workers != told {
            tracing::info!(pool = %pool.name(), "ready: {ready_workers} of {wanted_workers} workers");
        }
        if ready_workers >= wanted_workers {
            return;
        }
        told = ready_workers;
        actix_rt::time::sleep(LOOK).await;
    }
}
