//! Graceful shutdown: no new connections, and no worker is started again unless a call waits for it. Requests finish, then the pools end. Takes the drain time at most, and a little more for
//! the last responses.

use super::FLUSH_TIMEOUT;
use actix_web::dev::ServerHandle;
use herder::{Pool, http::Connections};
use std::time::{Duration, Instant};

/// What is to end.
pub(super) struct Drain {
    pub(super) handle: ServerHandle,
    pub(super) connections: Connections,
    pub(super) pools: Vec<Pool>,
    pub(super) timeout: Duration,
}

impl Drain {
    /// Ends it. What is not finished in time is answered `PoolClosed` by its pool, and that answer still goes out.
    #[expect(clippy::disallowed_methods, reason = "the user sets how long draining may take")]
    pub(super) async fn run(self) {
        let Self { handle, connections, pools, timeout: within } = self;
        let started = Instant::now();
        prepare(&pools).await;
        let mut stopped = Box::pin(handle.stop(true));
        connections.drain();
        let in_time = tokio::time::timeout(within, &mut stopped).await.is_ok();
        let ends: Vec<_> = pools
            .into_iter()
            .map(|pool| actix_rt::spawn(end(pool, within.saturating_sub(started.elapsed()))))
            .collect();
        for end in ends {
            _ = end.await;
        }
        if !in_time && tokio::time::timeout(FLUSH_TIMEOUT, stopped).await.is_err() {
            tracing::warn!("closed {} connections before their requests finished", connections.open());
        }
    }
}

/// A service manager may have ended all workers with the same signal. A pool that is gone has nothing to prepare.
async fn prepare(pools: &[Pool]) {
    for pool in pools {
        _ = pool.prepare_shutdown().await;
    }
}

/// The pool reports its end in the log itself.
async fn end(pool: Pool, within: Duration) {
    if let Err(error) = pool.shutdown(within).await {
        tracing::warn!(pool = %pool.name(), %error, "pool shutdown failed");
    }
}
