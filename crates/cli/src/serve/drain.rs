//! Graceful shutdown: no new connections are accepted, and a worker is restarted only if a call waits for it. Requests
//! finish, then the pools shut down. Takes at most the shutdown timeout, and a little more for the last responses.

use crate::{logs::PROGRAM, units::counted};
use herder::{
    Pool,
    http::{Connections, access_log_emitted},
};
use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

/// How long the last responses may take after the shutdown timeout, such as those of calls that were not finished in
/// time.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Stops the HTTP server gracefully. From the call on, no further connection is accepted. The future waits until the
/// server has stopped.
pub(crate) type StopServer = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>>>;

/// The parts of the server to shut down.
pub(crate) struct Drain {
    pub(crate) stop: StopServer,
    pub(crate) connections: Connections,
    pub(crate) pools: Vec<Pool>,
    pub(crate) timeout: Duration,
}

impl Drain {
    /// Shuts everything down. A call that is not finished in time fails with `PoolClosed`, and its response is still
    /// written.
    #[expect(clippy::disallowed_methods, reason = "the user sets how long draining may take")]
    pub(crate) async fn run(self) {
        let Self { stop, connections, pools, timeout } = self;
        let started = Instant::now();
        // Prepare the pools first: from here on they restart no idle workers. A service manager often signals the whole
        // process group, so all workers may be exiting now.
        prepare(&pools).await;
        let mut stopped = stop();
        // `stop` takes effect when it is called: no further connections are accepted. Only then are idle connections
        // closed, so that a client that reconnects is not accepted again.
        connections.drain();
        let in_time = tokio::time::timeout(timeout, &mut stopped).await.is_ok();
        // The pools end after the requests, or when the time is over. Ending them earlier would fail calls that could
        // still finish.
        let ends: Vec<_> = pools
            .into_iter()
            .map(|pool| actix_rt::spawn(end(pool, timeout.saturating_sub(started.elapsed()))))
            .collect();
        for end in ends {
            _ = end.await;
        }
        if !in_time && tokio::time::timeout(FLUSH_TIMEOUT, stopped).await.is_err() {
            let open = counted(connections.open() as u64, "connection");
            tracing::warn!(target: PROGRAM, "closed {open} before all requests were answered");
        }
        access_log_emitted().await;
    }
}

/// Announces the shutdown to the pools. A service manager may have signalled all workers, too. A pool that has already
/// ended needs no preparation.
async fn prepare(pools: &[Pool]) {
    for pool in pools {
        _ = pool.prepare_shutdown().await;
    }
}

/// Shuts a pool down. The pool logs the result.
async fn end(pool: Pool, timeout: Duration) {
    if let Err(error) = pool.shutdown(timeout).await {
        tracing::warn!(target: PROGRAM, pool = %pool.name(), %error, "pool shutdown failed");
    }
}
