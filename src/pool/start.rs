//! The start of a pool, on a separate thread or on the current arbiter.

use super::handle::Pool;
use actix_rt::{Arbiter, System};
use herder_actors::{Error, InvalidConfig, PoolClient, PoolConfig, PoolSupervisor, Result, thread_builder};
use std::{
    future::{Future, IntoFuture},
    io,
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;

/// A pool that has not been started yet; it starts when this is awaited.
#[derive(Debug)]
#[must_use = "a pool starts when this is awaited"]
pub struct Start {
    config: PoolConfig,
    thread: StartThread,
    wait: bool,
}

#[derive(Debug)]
enum StartThread {
    OwnThread,
    CurrentArbiter,
}

impl Pool {
    /// Starts a pool on a separate thread. Awaiting the returned value waits until every base worker is ready or has
    /// failed to start. If a pool with the same name is shutting down, the start waits for its end first, for at most
    /// `start_timeout`.
    ///
    /// # Errors
    /// - [`Error::PoolNameTaken`] if a pool with this name is running.
    /// - [`Error::PoolEnding`] if a pool with this name did not end in time.
    /// - [`Error::StartFailed`] if no worker became ready. The pool is ended.
    pub fn start(config: PoolConfig) -> Start {
        Start { config, thread: StartThread::OwnThread, wait: true }
    }
}

impl Start {
    /// Starts the pool's actors on the arbiter of the thread that awaits this, instead of on a separate thread.
    ///
    /// Awaiting this fails with [`Error::Config`] on a thread that has no arbiter of a running actix `System`. If a
    /// `System` was created on the thread but is not running yet, the start waits until it runs.
    ///
    /// A call from a task of the same arbiter then passes through no other thread, which makes small calls faster. With
    /// the feature `http`, `http::Server::run_on_current_arbiter` serves HTTP on the same arbiter.
    ///
    /// Code that blocks the arbiter blocks the pool: while a handler of the application sleeps or computes, no call is
    /// dispatched or answered, deadlines pass unnoticed, and workers get no pings. In particular, `block_on` of a call on this thread (such as
    /// `futures::executor::block_on` in an actor of that arbiter) never returns, not even at the call's deadline,
    /// because the pool cannot answer while its thread is blocked.
    pub fn on_current_arbiter(mut self) -> Self {
        self.thread = StartThread::CurrentArbiter;
        self
    }

    /// Returns without waiting for workers. They start in the background; calls wait for them in the queue.
    pub fn without_waiting(mut self) -> Self {
        self.wait = false;
        self
    }

    async fn run(self) -> Result<Pool> {
        let client = match self.thread {
            StartThread::OwnThread => on_own_thread(self.config.clone(), PoolSupervisor::new).await?,
            StartThread::CurrentArbiter => on_current_arbiter(self.config.clone()).await?,
        };
        let pool = Pool::new(client, self.config);
        // The start reports no error if the name is taken: the supervisor then answers every message with that error.
        // The request for the health makes it visible here.
        pool.health().await?;
        if self.wait {
            wait_for_workers(&pool).await?;
        }
        Ok(pool)
    }
}

/// Starts a pool on a separate thread with a supervisor from `supervise`. Does not wait for workers.
#[cfg(feature = "testing")]
pub(crate) async fn supervised(
    config: PoolConfig,
    supervise: impl FnOnce(PoolConfig) -> PoolSupervisor + Send + 'static,
) -> Result<Pool> {
    let client = on_own_thread(config.clone(), supervise).await?;
    let pool = Pool::new(client, config);
    // As in `Start::run`: fails if the name is taken.
    pool.health().await?;
    Ok(pool)
}

impl IntoFuture for Start {
    type Output = Result<Pool>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Pool>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Waits until all base workers have started or failed. A worker that cannot start ends neither the others nor the pool
/// (R13).
async fn wait_for_workers(pool: &Pool) -> Result<()> {
    let Err(error) = pool.ready().await else {
        pool.client().log_ready(pool.name(), pool.config().pool_size());
        return Ok(());
    };
    if pool.health().await?.ready_workers > 0 {
        pool.client().log_partial_start(pool.name(), error);
        return Ok(());
    }
    let _ = pool.shutdown(Duration::ZERO).await;
    Err(error)
}

/// Starts the supervisor on the current arbiter.
async fn on_current_arbiter(config: PoolConfig) -> Result<PoolClient> {
    // The arbiter starts the supervisor in a task of its `LocalSet`. A task that was spawned with `tokio::spawn` runs
    // on the same runtime, but outside of the `LocalSet`: starting an actor there panics.
    let (started, client) = oneshot::channel();
    let start = move || drop(started.send(PoolClient::start(PoolSupervisor::new(config))));
    let is_running = Arbiter::try_current().is_some_and(|arbiter| arbiter.spawn_fn(start));
    // `spawn_fn` is true even if the arbiter ends before it runs the closure. The sender is then dropped, and the
    // receiver reports it.
    let client = if is_running { client.await.ok() } else { None };
    client.ok_or_else(|| {
        let given = "used on a thread without a running actix `System`";
        let allowed = "within a `System`, or not at all: then the pool gets a separate thread";
        InvalidConfig::new("on_current_arbiter", given, allowed).into()
    })
}

/// How long a thread that has copied large arguments waits for the next ones before it ends.
const BLOCKING_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Starts the supervisor on a new thread, which ends when the supervisor has stopped.
async fn on_own_thread(
    config: PoolConfig,
    supervise: impl FnOnce(PoolConfig) -> PoolSupervisor + Send + 'static,
) -> Result<PoolClient> {
    let (started, client) = oneshot::channel();
    let name = format!("herder-{}", config.name());
    let body = move || {
        // The runtime needs three descriptors. Build it here instead of in `System::new`, which would panic if there
        // are none.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = match runtime.enable_all().thread_keep_alive(BLOCKING_KEEP_ALIVE).build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(not_started(&error)))),
        };
        System::with_tokio_rt(move || runtime).block_on(async move {
            let (supervisor, gone) = supervise(config).with_exit_signal();
            // If the caller dropped the start, the client cannot be delivered and is dropped. The thread must
            // not wait: the pool ends with it.
            if started.send(Ok(PoolClient::start(supervisor))).is_ok() {
                gone.await;
            }
        });
    };
    let thread = thread_builder(name).spawn(body);
    thread.map_err(|error| Error::Internal { reason: format!("cannot start the pool's thread: {error}").into() })?;
    client.await.map_err(|_| Error::Internal { reason: "the pool's thread ended before the pool started".into() })?
}

fn not_started(error: &io::Error) -> Error {
    let reason =
        format!("the runtime of the pool's thread cannot be started: {}", herder_actors::explain_io_error(error));
    Error::StartFailed { worker: None, reason: reason.into(), report: Arc::default() }
}
